"""The production trainer and algorithm/reference.py on the same rollouts: equal, step by step, for 20 steps.

Production is the real stack (Ray, vLLM, DeepSpeed, OpenRLHF's loss). Its stored batches, tokens and verdicts alone,
are what the reference gets; everything else (its own log-probabilities, perplexities, queue, threshold, advantages,
loss and AdamW step) is computed anew on a second copy of the model.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from stack import run_dipo, write_recipe
from transformers import AutoModelForCausalLM

from dipo_openrlhf.algorithm import DipoConfig, PerplexityQueue
from dipo_openrlhf.algorithm.reference import Batch, ReferenceConfig, learn, new_optimizer, score_tokens
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]

STEPS, LR = 20, 3.0e-4


def stored(path: Path) -> list[dict]:
    return torch.load(path, weights_only=True)


def whole(parts: list[dict], name: str) -> torch.Tensor:
    """[B, ...] in prompt order; micro-batches of unequal width are padded on the right."""
    width = max(part[name].shape[-1] for part in parts) if parts[0][name].dim() > 1 else 0
    rows = [
        torch.nn.functional.pad(part[name], (0, width - part[name].shape[-1])) if width else part[name]
        for part in parts
    ]
    index = torch.tensor([row for part in parts for row in part["index"]])
    values = torch.cat(rows)
    result = torch.empty_like(values)
    result[index] = values
    return result


def as_batch(parts: list[dict], model: torch.nn.Module) -> Batch:
    """Tokens and verdicts from the stored step, log-probabilities from the reference's own model."""
    tokens, attention = whole(parts, "sequences"), whole(parts, "attention_mask")
    action_mask = whole(parts, "action_mask").bool()
    with torch.no_grad():
        log_probs, entropy = score_tokens(model, tokens, attention, action_mask.shape[1], 1.0)
    return Batch(tokens, attention, action_mask, log_probs, entropy, whole(parts, "scores").float())


def test_twenty_steps_are_equal(small_model, tmp_path):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=STEPS)
    status, output = run_dipo(
        "train", str(recipe),
        "--run.dump_experiences", "true",
        "--actor.adam.lr", str(LR),
        "--train.max_epochs", "2",  # the second pass has ratios other than 1
        "--algo.advantage.is_correction_level", "off",
        "--ckpt.save_steps", "1000",
    )  # fmt: skip
    assert status == 0, output
    rows = read_metrics(run_dir)
    assert len(rows) == STEPS

    config = ReferenceConfig(
        eos_token_id=2, pad_token_id=0, dipo=DipoConfig(min_side_samples=10), lr=LR, epochs=2
    )
    model = AutoModelForCausalLM.from_pretrained(small_model, dtype=torch.float32).eval()
    optimizer, queue = new_optimizer(model, config), PerplexityQueue(2)
    generator = torch.Generator().manual_seed(0)
    fired = thresholds = 0
    for row in rows:
        parts = stored(run_dir / "experiences" / f"step_{row['step']}.pt")
        batch = as_batch(parts, model)
        mask = batch.action_mask_BA
        torch.testing.assert_close(
            batch.log_probs_BA[mask], whole(parts, "action_log_probs")[mask], rtol=1e-3, atol=2e-4
        )
        metrics, advantages = learn(model, optimizer, batch, config, queue, generator)
        torch.testing.assert_close(advantages[mask], whole(parts, "advantages")[mask], rtol=1e-5, atol=1e-6)
        assert metrics["loss"] == pytest.approx(row["policy_loss"], rel=1e-3, abs=2e-5)
        for key in ("dipo/fired_hard", "dipo/fired_easy", "dipo/feasible", "dipo/queue_size"):
            assert metrics[key] == row[key]
        if row["dipo/threshold_ppl"] is None:
            assert math.isnan(metrics["dipo/threshold_ppl"])
        else:
            assert metrics["dipo/threshold_ppl"] == pytest.approx(row["dipo/threshold_ppl"], rel=1e-4)
            thresholds += 1
        fired += int(row["dipo/fired_hard"] + row["dipo/fired_easy"])
    assert thresholds >= 5
    assert fired >= 1
