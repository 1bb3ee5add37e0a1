"""`dipo doctor --rollouts`: the fire rate of every value of a switch on the very same rollouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import DipoConfig, PerplexityQueue, reallocation_advantages
from dipo_openrlhf.cli import app
from dipo_openrlhf.record.rollout_replay import compare_values, read_rollouts, replay, stored_config
from dipo_openrlhf.record.run_log import Rollouts, append_rollouts

P, G = 16, 8


def rollouts(seed: int) -> Rollouts:
    """Right answers mostly of lower perplexity; a third of the groups extreme, some on the wrong side."""
    generator = torch.Generator().manual_seed(seed)
    rates = torch.tensor([0.0, 1.0, 0.5])[torch.randint(0, 3, (P,), generator=generator)]
    correct = torch.rand(P, G, generator=generator) < rates[:, None]
    log_ppl = torch.where(correct, 0.4, 0.8) + 0.3 * torch.randn(P, G, generator=generator)
    log_ppl[0, 0] = torch.nan
    return Rollouts(
        [f"prompt {i}" for i in range(P)], correct, correct.float(), log_ppl, torch.zeros(P).bool()
    )


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for step in range(1, 7):
        append_rollouts(tmp_path, step, rollouts(step))
    return tmp_path


def test_a_replay_is_what_training_did(run_dir):
    queue, fired = PerplexityQueue(2), 0
    for step in range(1, 7):
        batch = rollouts(step)
        result = reallocation_advantages(batch.rewards, batch.correct, batch.log_ppl, DipoConfig(), queue)
        fired += int(result.fired_P.sum())
    assert fired > 0
    assert replay(read_rollouts(run_dir / "rollouts.jsonl"), DipoConfig()).fired == fired


def test_every_value_on_the_same_groups(run_dir):
    steps = read_rollouts(run_dir / "rollouts.jsonl")
    rates = compare_values(steps, DipoConfig())
    assert list(rates) == ["mean", "all", "argmax", "subset"]
    assert len({rate.extreme for rate in rates.values()}) == 1
    assert rates["all"].fired <= rates["mean"].fired <= rates["subset"].fired
    assert set(compare_values(steps, DipoConfig(), "interval")) == {"wilson", "wald", "cluster"}
    with pytest.raises(UserError, match="choose one of"):
        compare_values(steps, DipoConfig(), "alpha")


def test_a_resumed_run_counts_each_step_once(run_dir):
    path = run_dir / "rollouts.jsonl"
    whole = replay(read_rollouts(path), DipoConfig())
    for step in (5, 6):  # killed after 6, resumed from 4
        append_rollouts(run_dir, step, rollouts(step))
    assert [step.step for step in read_rollouts(path)] == [1, 2, 3, 4, 5, 6]
    assert replay(read_rollouts(path), DipoConfig()) == whole
    append_rollouts(run_dir, 6, rollouts(6))  # killed in step 6's own line, resumed from 5
    assert replay(read_rollouts(path), DipoConfig()) == whole


def test_bad_files_are_one_line_with_the_place(run_dir):
    path = run_dir / "rollouts.jsonl"
    with pytest.raises(UserError, match="no such file"):
        read_rollouts(run_dir / "none.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{", *lines[1:]]))
    with pytest.raises(UserError, match=r"rollouts\.jsonl:2: not valid JSON"):
        read_rollouts(path)
    path.write_text(lines[0] + '\n{"step": 1}\n' + lines[1] + "\n")
    with pytest.raises(UserError, match=r"rollouts\.jsonl:2: no key 'group'"):
        read_rollouts(path)
    row = json.loads(lines[1])
    row["correct"].pop()
    path.write_text(lines[0] + "\n" + json.dumps(row) + "\n")
    with pytest.raises(UserError, match="unequal size"):
        read_rollouts(path)
    path.write_text("")
    with pytest.raises(UserError, match="holds no rollouts"):
        read_rollouts(path)


def test_a_last_line_cut_short_by_a_kill_is_passed_over(run_dir):
    path = run_dir / "rollouts.jsonl"
    before = len(read_rollouts(path))
    with open(path, "a") as file:
        file.write('{"step": 7, "gro')
    assert len(read_rollouts(path)) == before


def test_the_run_s_own_switches_are_the_start(run_dir):
    (run_dir / "metrics.jsonl").write_text("")
    settings = {"dipo.min_side_samples": 5, "dipo.method": "grpo", "actor.adam.lr": 1.0}
    (run_dir / "recipe.yaml").write_text(yaml.safe_dump({"settings": settings}))
    config = stored_config(run_dir / "rollouts.jsonl")
    assert (config.min_side_samples, config.method) == (5, "dipo")


def test_the_command_prints_a_table_and_takes_switches(run_dir):
    result = CliRunner().invoke(app, ["doctor", "--rollouts", str(run_dir / "rollouts.jsonl")])
    assert result.exit_code == 0, result.output
    for value in ("mean *", "all", "argmax", "subset"):
        assert value in result.output
    arguments = ["doctor", "--rollouts", str(run_dir / "rollouts.jsonl"), "--dipo.directions", "hard_only"]
    hard_only = CliRunner().invoke(app, arguments)
    assert "0 of" in hard_only.output
    assert "direction off" in hard_only.output


def test_switches_without_rollouts_are_refused():
    result = CliRunner().invoke(app, ["doctor", "--dipo.alpha", "1"])
    assert isinstance(result.exception, UserError)
