"""Training with tools over several turns on the real stack: the shipped recipe of the pantry, sixteen steps.

The agent is the shipped one, behind a recorder of the engine's requests (recording_agent.py); the actor is the one that
`dipo check-gpu` observes, which keeps the first window that its loss gets. Everything else is as a user's run has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from recording_agent import EPISODES
from stack import rollouts
from transformers import AutoTokenizer

from dipo_openrlhf.data.pantry import write_prompts
from dipo_openrlhf.gpu_check.observed_files import window_files
from dipo_openrlhf.openrlhf_patch.experiences import DUMP_FOLDER
from dipo_openrlhf.quickstart.lessons.pantry import LESSON
from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.record.run_log import read_metrics
from dipo_openrlhf.record.user_cache import cache_dir
from dipo_openrlhf.rewards.episode import ENDS

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(2400)]

STEPS = 16
SAMPLES, WINDOW = 256, 64  # a step, and of them an update; in groups of 8
Sample = tuple[tuple[int, ...], tuple[bool, ...], tuple[float, ...]]
"""Of an episode: its tokens, which of them the model said, and the engine's log-probabilities of those in float32."""
PROGRAM = """
import json, sys
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.run.supervisor import train

given = {key: Setting(value, "test") for key, value in json.loads(sys.argv[1]).items()}
train(load_recipe("quickstart_pantry", given), driver="dipo_openrlhf.gpu_check.driver")
"""
LOSS = """
import json, sys, torch
from dipo_openrlhf.openrlhf_patch.cpu import changes
changes.install()
from openrlhf.models.loss import PolicyLoss

said = others = 0
for part in torch.load(sys.argv[1], weights_only=True)["micro_batches"]:
    old, mask = part["action_log_probs"], part["action_mask"].bool()
    now = old.clone().requires_grad_()
    PolicyLoss()(now, old, torch.ones_like(old), mask.float())[0].backward()
    said += int((now.grad[mask] != 0).sum())
    others += int((now.grad[~mask] != 0).sum())
print(json.dumps([said, others]))
"""


@dataclass(frozen=True)
class ToolRun:
    """A finished run: its folder, its model, and what its engine was asked, an episode at a time."""

    run_dir: Path
    model: Path
    episodes: list[list[dict[str, Any]]]

    def samples(self, step: int) -> list[tuple[Sample, dict[str, torch.Tensor], int]]:
        """Of a step's dump: what was trained on, its micro-batch, and its row there; in the order of the data."""
        parts = torch.load(self.run_dir / DUMP_FOLDER / f"step_{step}.pt", weights_only=True)
        found = {
            index: (sample_of(part, row), part, row)
            for part in parts
            for row, index in enumerate(part["index"])
        }
        return [found[index] for index in sorted(found)]


def sample_of(part: dict[str, Any], row: int) -> Sample:
    """A row of a micro-batch without its padding."""
    real = part["attention_mask"][row].bool()
    said = torch.cat([torch.zeros(1, dtype=torch.bool), part["action_mask"][row].bool()])
    log_probs = part["rollout_log_probs"][row][said[1:]]
    return tuple(part["sequences"][row][real].tolist()), tuple(said[real].tolist()), tuple(log_probs.tolist())


def recorded_sample(turns: list[dict[str, Any]]) -> Sample:
    """What is to be trained on, by the engine's requests alone: the last one, and in it what was sampled."""
    tokens = [*turns[-1]["prompt"], *turns[-1]["sampled"]]
    said = [False] * len(tokens)
    for turn in turns:
        start = len(turn["prompt"])
        assert tokens[:start] == turn["prompt"]
        assert tokens[start : start + len(turn["sampled"])] == turn["sampled"], "tokenized again"
        said[start : start + len(turn["sampled"])] = [True] * len(turn["sampled"])
    log_probs = torch.tensor([one for turn in turns for one in turn["log_probs"]], dtype=torch.float32)
    return tuple(tokens), tuple(said), tuple(log_probs.tolist())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ToolRun:
    folder = tmp_path_factory.mktemp("tools")
    model = pretrained_model(cache_dir(), progress=False, lesson=LESSON)
    write_prompts(folder / "pantry.jsonl", STEPS * SAMPLES // 8, 42)
    given = {
        "run.dir": str(folder / "run"),
        "run.dump_experiences": True,
        "actor.model_name_or_path": str(model),
        "data.prompt_dataset": str(folder / "pantry.jsonl"),
        "train.agent_func_path": str(Path(__file__).with_name("recording_agent.py")),
    }
    recorded = folder / "episodes.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(given)],
        env={**os.environ, EPISODES: str(recorded)},
        capture_output=True,
        text=True,
        timeout=2100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    episodes = [json.loads(line) for line in recorded.read_text().splitlines()]
    return ToolRun(folder / "run", model, episodes)


def test_every_step_has_episodes_of_several_turns_that_end_for_a_known_reason(run: ToolRun) -> None:
    rows = read_metrics(run.run_dir)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    for row in rows:
        assert row["rollout/num_samples"] == SAMPLES
        assert row["episode/turns"] > 2
        assert row["episode/calls"] > 1
        assert sum(row[f"episode/ended/{end}"] for end in ENDS) == pytest.approx(1)
        assert row["episode/ended/answer"] > 0.8
        assert row["episode/ended/environment"] == 0
        assert row["verifier/error_rate"] == 0
    turns = Counter(len(episode) for episode in run.episodes)
    assert sum(turns.values()) == STEPS * SAMPLES
    assert sum(count for number, count in turns.items() if number >= 2) > 0.9 * STEPS * SAMPLES


def test_dipo_acts_on_groups_of_episodes(run: ToolRun) -> None:
    rows = read_metrics(run.run_dir)
    assert sum(row["dipo/fired_hard"] for row in rows) > 0
    assert sum(row["dipo/fired_easy"] for row in rows) > 0
    for row in rows:
        assert (row["dipo/fired_hard"] + row["dipo/fired_easy"] > 0) == (row["dipo/adv_abs_share"] > 0)
    # And those groups have a gradient, all of whose rewards are equal.
    for step, groups in rollouts(run.run_dir).items():
        samples = run.samples(step)
        for number, group in enumerate(groups):
            if group["fired"]:
                assert len(set(group["rewards"])) == 1
                assert any(bool(part["advantages"][row].any()) for _, part, row in samples[8 * number :][:8])


def test_the_reward_rises(run: ToolRun) -> None:
    """By more than its standard error; the groups of a step are independent, the samples of a group are not."""
    by_step = {
        step: torch.tensor([group["rewards"] for group in groups]).mean(1)
        for step, groups in rollouts(run.run_dir).items()
    }
    first, last = (torch.cat([by_step[step] for step in steps]) for steps in ((1, 2, 3), (14, 15, 16)))
    error = (first.var() / len(first) + last.var() / len(last)).sqrt()
    assert last.mean() - first.mean() > error


def test_training_gets_exactly_the_sampled_tokens(run: ToolRun) -> None:
    """With the engine's log-probabilities of them, and without having tokenized anything again."""
    expected = Counter(map(recorded_sample, run.episodes))
    found = Counter(sample for step in range(1, STEPS + 1) for sample, _, _ in run.samples(step))
    assert found == expected
    # The loss's own batch, as the first update got it.
    (window,) = window_files(run.run_dir)
    parts = torch.load(window, weights_only=True)["micro_batches"]
    trained = Counter(sample_of(part, row) for part in parts for row in range(len(part["sequences"])))
    assert trained.total() == WINDOW
    assert trained <= Counter(sample for sample, _, _ in run.samples(1))
    # Some messages would be other tokens if their text were tokenized.
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    sampled = [turn["sampled"] for turns in run.episodes for turn in turns]
    texts = tokenizer.batch_decode(sampled, skip_special_tokens=False)
    assert tokenizer(texts, add_special_tokens=False)["input_ids"] != sampled
    # What lies between the messages is what the tools said, and the model has said none of it.
    for (tokens, said, _), _, _ in run.samples(1):
        opening = said.index(True)
        between = [token for token, own in zip(tokens[opening:], said[opening:], strict=True) if not own]
        own_text = tokenizer.decode([token for token, own in zip(tokens, said, strict=True) if own])
        assert "tool\n" not in own_text
        assert not between or "tool\n" in tokenizer.decode(between)


def test_no_token_of_a_tool_enters_perplexity_or_loss(run: ToolRun) -> None:
    groups = rollouts(run.run_dir)
    assert all(abs(row["vllm_kl"]) < 1e-3 for row in read_metrics(run.run_dir))
    for step in range(1, STEPS + 1):
        logged = [log_ppl for group in groups[step] for log_ppl in group["log_ppl"]]
        for (_, part, row), log_ppl in zip(run.samples(step), logged, strict=True):
            mask = part["action_mask"][row].bool()
            assert log_ppl == pytest.approx(-float(part["action_log_probs"][row][mask].mean()), abs=1e-5)
    # OpenRLHF's own loss on its own first batch: the gradient by token, exactly zero between the messages.
    (window,) = window_files(run.run_dir)
    done = subprocess.run(
        [sys.executable, "-c", LOSS, str(window)],
        env={**os.environ, "DIPO_CPU": "1", "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said, others = json.loads(done.stdout.splitlines()[-1])
    parts = torch.load(window, weights_only=True)["micro_batches"]
    assert said == sum(int(part["action_mask"].sum()) for part in parts) > 10 * WINDOW
    assert others == 0
