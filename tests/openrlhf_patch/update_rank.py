"""One of two ranks that train windows of several micro-batches with DeepSpeed's ZeRO (test_update_zero.py).

    python update_rank.py RANK PORT FOLDER

FOLDER holds a model. For each ZeRO stage and type, the same windows once in micro-batches of 70 tokens and once whole, at
learning rate 0; and with most rows idle, with dynamic batches and without, those rows trained and left out. Rank 0 leaves
norms.json: case -> [gradient norm of each window, one list each way].
"""

# ruff: noqa: E402  # the changes for CPU come before what they change
from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

RANK, PORT, FOLDER = sys.argv[1:]

from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu

os.environ |= cpu.environment(1)
os.environ |= {
    "RANK": RANK,
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": PORT,
}
cpu.install()
sys.path.insert(0, str(Path(__file__).parent))

import openrlhf.trainer.ray.ppo_actor as ppo_actor
import torch
from openrlhf.models import Actor
from openrlhf.utils.config import hierarchize
from openrlhf.utils.deepspeed.deepspeed import DeepspeedStrategy
from window_batches import order_of, samples, scored

from dipo_openrlhf.openrlhf_patch import fused_adam, update
from dipo_openrlhf.openrlhf_patch.windows import WindowRules, make_windows
from dipo_openrlhf.recipe.openrlhf_args import openrlhf_parser

GROUP, SAMPLES = 4, 16
LENGTHS = [1, 9, 30, 4, 17, 2, 26, 8, 3, 12, 5, 21, 6, 28, 2, 14] * 2


class Strategy(DeepspeedStrategy):
    """OpenRLHF's, which records the norm of each window's gradient."""

    norms: list[float]

    def optimizer_step(self, optimizer: Any, model: Any, *arguments: Any, **named: Any) -> None:
        super().optimizer_step(optimizer, model, *arguments, **named)
        self.norms.append(float(self.get_grad_norm(model)))


def norms_of(
    stage: int, dtype: str, max_tokens: int | None, idle: tuple[int, ...] = (), skip_idle: bool = False
) -> list[float]:
    """`max_tokens`: None without dynamic batches. `idle`: groups without an advantage."""
    options = [
        "--ds.zero_stage", str(stage), "--train.batch_size", str(SAMPLES), "--train.micro_batch_size", "2",
        "--ds.packing_samples",
    ]  # fmt: skip
    if max_tokens is not None:
        options += ["--train.dynamic_batch_enable", "--train.max_tokens_per_gpu", str(max_tokens)]
    args = hierarchize(openrlhf_parser().parse_args(options))
    args.ds.param_dtype = dtype
    args.algo.advantage.is_correction_threshold = [0.5, 5.0]
    args.actor.eps_clip_low_high = [0.2, 0.28]
    args.train.colocate_all = False
    strategy = Strategy(
        seed=1, micro_train_batch_size=2, train_batch_size=SAMPLES, zero_stage=stage, args=args
    )
    strategy.norms = []
    strategy.setup_distributed()
    actor = Actor(
        FOLDER, "flash_attention_2", dtype, ds_config=strategy.get_ds_train_config(), packing_samples=True
    )
    adam = {"lr": 0.0, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0}
    config = {"optim": "adam", "adam": adam, "lr_scheduler": "constant", "scheduler_steps": 10}
    actor, _, scheduler = strategy.prepare((actor, config))
    trainer = ppo_actor.ActorPPOTrainer(
        strategy, actor, None, None, scheduler, micro_train_batch_size=2, dataloader_pin_memory=False
    )
    rules = WindowRules(
        samples=SAMPLES,
        group_size=GROUP,
        ranks=2,
        max_tokens=max_tokens,
        token_mean=True,
        skip_idle=skip_idle,
    )
    parts = scored(samples(LENGTHS), 5, torch.arange(len(LENGTHS)))
    for part in parts:
        if idle:  # no group is clipped whole
            part.advantages.abs_()
        part.advantages[torch.tensor([row // GROUP in idle for row in part.index])] = 0
    groups = torch.ones(len(LENGTHS) // GROUP, dtype=torch.bool)
    windows = make_windows(parts, order_of(parts), groups, rules, seed=1)
    for window in windows[int(RANK) * len(windows) // 2 :][: len(windows) // 2]:
        trainer.replay_buffer.append(window)
    trainer.ppo_train(0.0)
    ends = trainer.replay_buffer.dynamic_optimizer_step
    assert skip_idle or (len(ends) > len(windows) // 2) == (max_tokens is None or max_tokens < 1000)
    assert not skip_idle or sum(map(len, trainer.replay_buffer.lengths)) == len(LENGTHS) // 2 - 2 * len(idle)
    if max_tokens is not None:  # OpenRLHF steps at a window's last pass alone
        return strategy.norms
    return [norm for norm, last in zip(strategy.norms, ends, strict=True) if last]


fused_adam.install()  # as the actor does
update.install()
found = {
    f"{stage}_{dtype}": [norms_of(stage, dtype, 70), norms_of(stage, dtype, 10_000)]
    for stage in (1, 2, 3)
    for dtype in ("bf16", "fp32")
}
IDLE = (2, 3, 5, 6, 7)  # of 8 groups: the windows have fewer micro-batches than DeepSpeed would count
for stage in (1, 2, 3):
    for name, limit in (("dynamic", 70), ("even", None)):
        found[f"idle_{stage}_{name}"] = [
            norms_of(stage, "fp32", limit, IDLE, skip_idle) for skip_idle in (False, True)
        ]
        found[f"idle_{stage}_{name}_bf16"] = [
            norms_of(stage, "bf16", limit, IDLE, skip_idle) for skip_idle in (False, True)
        ]
if RANK == "0":
    (Path(FOLDER) / "norms.json").write_text(json.dumps(found))
