"""What the parts of a check leave when everything is right, computed here in one process, to be harmed by the tests."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_model import save_tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from dipo_openrlhf.algorithm import PerplexityQueue, reallocation_advantages, sequence_log_ppl
from dipo_openrlhf.gpu_check.compare import check_rows
from dipo_openrlhf.gpu_check.device import device_file
from dipo_openrlhf.gpu_check.evidence import Evidence
from dipo_openrlhf.gpu_check.greedy import greedy_file, prompt_ids
from dipo_openrlhf.gpu_check.observed_files import KEPT, actor_file, host_file, trainer_file, window_file
from dipo_openrlhf.gpu_check.prepare import main_recipe, prepare
from dipo_openrlhf.gpu_check.row import Row
from dipo_openrlhf.gpu_check.settings import KILLED_AFTER, STEPS, CheckSettings

PROMPTS, SAMPLES, TOKENS, WINDOW = 4, 4, 10, 8


class MadeCheck:
    """`settings` of the folder. `row(name)` checks it as it now is; `edit_*` harm it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        model = save_tiny_model(folder / "model")
        self.settings = CheckSettings(
            str(folder),
            True,
            1,
            str(model),
            PROMPTS,
            SAMPLES,
            TOKENS,
            WINDOW,
            overrides={"data.max_len": 128},
        )
        self.settings.write()
        prepare(self.settings)
        self.evidence = Evidence(self.settings)
        self.run_dir = self.settings.run_dir
        for path in (self.run_dir / "experiences", self.run_dir / "observed", self.settings.control_dir):
            path.mkdir(parents=True)
        self._exports()
        self._steps()
        self._resumed()
        self._greedy()
        device_file(self.settings).write_text(json.dumps({"bandwidth_tbs": 0.02}))

    def rows(self) -> dict[str, Row]:
        return {row.name: row for row in check_rows(Evidence(self.settings))}

    def row(self, name: str) -> Row:
        return self.rows()[name]

    def edit(self, path: Path, change: Callable[[Any], Any]) -> None:
        """Rewrite a file of torch.save; `change` returns the new content, or None for one changed in place."""
        content = torch.load(path, weights_only=False)
        changed = change(content)
        torch.save(content if changed is None else changed, path)

    def dump_file(self, step: int) -> Path:
        return self.run_dir / "experiences" / f"step_{step}.pt"

    def edit_metrics(self, folder: Path, step: int, **values: Any) -> None:
        path = folder / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            if row["step"] == step:
                row.update(values)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def shift_weights(self, step: int) -> None:
        """The export of a step becomes another model."""
        path = self.evidence.export(step)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        model.save_pretrained(path)

    def _exports(self) -> None:
        tokenizer = AutoTokenizer.from_pretrained(self.settings.model)
        model = AutoModelForCausalLM.from_pretrained(self.settings.model, dtype=torch.float32)
        for step in range(1, STEPS + 1):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1.001)
            folder = self.settings.ckpt / f"global_step{step}_hf"
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

    def _steps(self) -> None:
        rng, recipe = random.Random(0), main_recipe(self.settings)
        self.queue, self.states = PerplexityQueue(batches=recipe.dipo.queue_batches), {}
        metrics, rollouts = [], []
        for step in range(1, STEPS + 1):
            rows = self._rows(step, rng)
            # A group of each sort: mixed, all wrong, all wrong, all correct.
            scores_PG = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
            log_ppl_PG = sequence_log_ppl(rows["action_log_probs"], rows["action_mask"]).reshape(-1, SAMPLES)
            result = reallocation_advantages(scores_PG, scores_PG > 0.5, log_ppl_PG, recipe.dipo, self.queue)
            advantages_B = (result.base_PG + result.advantages_r_PG).reshape(-1, 1)
            rows |= {"advantages": advantages_B * rows["action_mask"]}
            rows |= {"scores": scores_PG.reshape(-1), "rewards": scores_PG.reshape(-1)}
            order = rng.sample(range(PROMPTS * SAMPLES), PROMPTS * SAMPLES)
            halves = (order[: len(order) // 2], order[len(order) // 2 :])
            torch.save(
                [{**{k: v[half] for k, v in rows.items()}, "index": half} for half in halves],
                self.dump_file(step),
            )
            self.states[step] = self.queue.state_dict()
            metrics.append({
                "step": step, "vllm_kl": 1e-6, "throughput/generated_per_second": 100.0,
                "throughput/trained_per_second": 50.0, "timing/phases/sync": 0.5, "timing/phases/sleep_wake": 0.25,
            })  # fmt: skip
            rollouts += [
                {"step": step, "group": group, "prompt": f"{step}-{group}", "fired": bool(fired)}
                for group, fired in enumerate(result.fired_P)
            ]
            if step == 1:
                self._window({name: rows[name][order[:WINDOW]] for name in KEPT})
        (self.run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
        (self.run_dir / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rollouts))
        control = [{"step": 1, "vllm_kl": 1e-6}, {"step": 2, "vllm_kl": 0.4}]
        (self.settings.control_dir / "metrics.jsonl").write_text(
            "".join(json.dumps(r) + "\n" for r in control)
        )

    def _rows(self, step: int, rng: random.Random) -> dict[str, torch.Tensor]:
        """A batch in group order, padded on the right, scored in one forward pass by the model of the step before."""
        width = 8 + TOKENS
        sequences = torch.zeros(PROMPTS * SAMPLES, width, dtype=torch.long)
        attention, mask = torch.zeros_like(sequences), torch.zeros(PROMPTS * SAMPLES, width - 1).long()
        for row in range(len(sequences)):
            length = 8 + rng.randint(2, TOKENS)
            sequences[row, :length] = torch.tensor([rng.randint(3, 200) for _ in range(length)])
            attention[row, :length] = 1
            mask[row, 7 : length - 1] = 1
        log_probs = token_log_probs(self.evidence.model(step - 1), sequences, attention).detach() * mask
        return {
            "sequences": sequences, "attention_mask": attention, "action_mask": mask,
            "action_log_probs": log_probs, "rollout_log_probs": log_probs + 1e-6 * mask,
        }  # fmt: skip

    def _window(self, rows: dict[str, torch.Tensor]) -> None:
        """The gradient of the token-mean loss at a ratio of 1, in one backward pass over the padded window."""
        model = self.evidence.model(0)
        new = token_log_probs(model, rows["sequences"], rows["attention_mask"])
        loss = -(new * rows["advantages"] * rows["action_mask"]).sum() / rows["action_mask"].sum()
        loss.backward()
        norm = torch.cat([p.grad.reshape(-1) for p in model.parameters()]).norm().item()
        parts = [{name: value[half] for name, value in rows.items()} for half in (slice(0, 4), slice(4, 8))]
        torch.save({"micro_batches": parts, "grad_norm": norm}, window_file(self.run_dir, 0))
        host_file(self.run_dir, 0).write_text(json.dumps({"peak": 2**30, "offloaded": 2**20}))

    def _resumed(self) -> None:
        rng = {"python": (3, (1, 2), None), "torch": torch.arange(4)}
        folder = self.settings.ckpt / "_actor" / f"global_step{KILLED_AFTER}"
        folder.mkdir(parents=True)
        queue = self.states[KILLED_AFTER]
        client = {"global_step": KILLED_AFTER, "dipo": {"queue": queue, "rng": rng}}
        torch.save(client, folder / "zero_pp_rank_0_mp_rank_00_model_states.pt")
        torch.save({"torch": torch.arange(5)}, folder / "rng_rank0.pt")
        torch.save({"torch": torch.arange(5)}, actor_file(self.run_dir, KILLED_AFTER + 1, 0))
        torch.save({"queue": queue, "rng": rng}, trainer_file(self.run_dir, KILLED_AFTER + 1))

    def _greedy(self) -> None:
        tokenizer, model = AutoTokenizer.from_pretrained(self.settings.model), self.evidence.model(STEPS)
        rows = []
        for prompt in prompt_ids(self.evidence, tokenizer):
            out = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=TOKENS)
            rows.append({"prompt": prompt, "answer": out[0, len(prompt) :].tolist()})
        greedy_file(self.settings).write_text(json.dumps(rows))


def token_log_probs(model: Any, sequences: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    """log p [B, T - 1] of every token but the first."""
    logits = model(input_ids=sequences, attention_mask=attention).logits[:, :-1]
    return -torch.nn.functional.cross_entropy(
        logits.transpose(1, 2).float(), sequences[:, 1:], reduction="none"
    )
