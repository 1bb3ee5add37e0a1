"""What the rows read: metrics, dumps, windows and states of the check's runs; and the model of the comparison, on CPU.

Tensor suffixes: B responses in group order, T tokens of prompt and response, A = T - 1 (a mask over all but the first
token), P prompts, G responses to one.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad

from dipo_eval.files.step_log import read_metrics
from dipo_openrlhf.algorithm.reference import score_tokens
from dipo_openrlhf.gpu_check.settings import CheckSettings
from dipo_openrlhf.recipe.recipe import Recipe

CHUNK_TOKENS = 2048  # of one forward pass on CPU: its logits are 0.4 GB for a vocabulary of 49,152


class MissingEvidenceError(Exception):
    """A file or a figure that a row needs is not there."""


@dataclass(frozen=True)
class Evidence:
    """The folder of a check whose parts have run. Every method raises MissingEvidenceError for what is not there."""

    settings: CheckSettings

    @functools.cached_property
    def recipe(self) -> Recipe:
        from dipo_openrlhf.gpu_check.prepare import main_recipe

        return main_recipe(self.settings)

    @property
    def dtype(self) -> torch.dtype:
        """Of the actor's weights."""
        names = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
        return names[self.recipe.get("ds.param_dtype")]

    def metrics(self, run_dir: Path) -> dict[int, dict[str, Any]]:
        """Metrics by step; of one that was logged twice, the later."""
        found = {row["step"]: row for row in read_metrics(run_dir)}
        if not found:
            raise MissingEvidenceError(f"{run_dir.name}: no step was logged")
        return found

    def rollouts(self, step: int) -> list[dict[str, Any]]:
        """The groups of rollouts.jsonl, in order; of a step that was logged twice, the later."""
        path = self.settings.run_dir / "rollouts.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        rows = {row["group"]: row for row in map(json.loads, lines) if row["step"] == step}
        if not rows:
            raise MissingEvidenceError(f"{path.name}: nothing of step {step}")
        return [rows[group] for group in sorted(rows)]

    def dump(self, step: int) -> list[dict[str, Any]]:
        """The micro-batches of experiences/step_N.pt."""
        return list(self.load(self.settings.run_dir / "experiences" / f"step_{step}.pt"))

    def load(self, path: Path) -> Any:
        if not path.is_file():
            raise MissingEvidenceError(f"{path.relative_to(self.settings.root)} was not written")
        return torch.load(path, weights_only=True, map_location="cpu")

    def export(self, step: int) -> Path:
        """The model after a step; the starting model for step 0."""
        path = self.settings.ckpt / f"global_step{step}_hf" if step else self.settings.start_model()
        if not (path / "config.json").is_file():
            raise MissingEvidenceError(f"{path.name}: no export of step {step}")
        return path

    def model(self, step: int) -> Any:
        """The model after a step on CPU in float32, its weights rounded as the actor holds them."""
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(self.export(step), dtype=self.dtype)
        return model.float().eval()


def rows_of(parts: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Tensors [B, ...] of some fields of all micro-batches, padded on the right to one width, in the dump's order."""
    width = max(part["sequences"].shape[1] for part in parts)
    found = {}
    for name in names:
        values = [part[name] for part in parts]
        if values[0].dim() == 2:
            full = width if name in ("sequences", "attention_mask") else width - 1
            values = [pad(value, (0, full - value.shape[1])) for value in values]
        found[name] = torch.cat(values)
    return found


def reference_log_probs(model: Any, rows: dict[str, torch.Tensor], temperature: float) -> torch.Tensor:
    """log p [B, A] of every token but the first, by the model of the comparison; a few rows at a time."""
    tokens_BT, attention_BT = rows["sequences"], rows["attention_mask"]
    width = tokens_BT.shape[1] - 1
    some = max(1, CHUNK_TOKENS // (width + 1))
    parts = [
        score_tokens(model, tokens_BT[i : i + some], attention_BT[i : i + some], width, temperature)[0]
        for i in range(0, len(tokens_BT), some)
    ]
    return torch.cat(parts)
