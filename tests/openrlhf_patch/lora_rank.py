"""One of two ranks that train adapters with OpenRLHF's Actor and DeepSpeed.

    python lora_rank.py RANK PORT FOLDER

For each ZeRO stage and type: three updates, a save after the first; then the same model, loaded from it, repeats the
other two, asleep before each. In FOLDER/STAGE_TYPE, which holds the base model, rank 0 leaves result.json, the export,
and weights.pt: what the engines would get.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu

RANK, PORT, FOLDER = sys.argv[1:]
os.environ.update(cpu.environment(1))
os.environ.update(RANK=RANK, WORLD_SIZE="2", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=PORT)
cpu.install()

import torch  # noqa: E402
from openrlhf.models import Actor  # noqa: E402
from openrlhf.utils.config import hierarchize  # noqa: E402
from openrlhf.utils.deepspeed.deepspeed_utils import (  # noqa: E402
    offload_deepspeed_states,
    reload_deepspeed_states,
)

from dipo_openrlhf.openrlhf_patch import fused_adam  # noqa: E402
from dipo_openrlhf.openrlhf_patch.divergence import lost_updates  # noqa: E402
from dipo_openrlhf.openrlhf_patch.lora import LoraStrategy, merged_parameters  # noqa: E402
from dipo_openrlhf.recipe.openrlhf_args import openrlhf_parser  # noqa: E402

fused_adam.install()  # as the actor does: DeepSpeed's own would compile an extension
TOKENS = torch.arange(40).reshape(4, 10)[2 * int(RANK) : 2 * int(RANK) + 2] % 60


def trainer(stage: int, dtype: str, model: Path) -> tuple[LoraStrategy, Any]:
    options = ["--ds.zero_stage", str(stage), "--train.batch_size", "4", "--train.micro_batch_size", "2"]
    args = hierarchize(openrlhf_parser().parse_args(options))
    args.ds.param_dtype = dtype
    strategy = LoraStrategy(seed=1, micro_train_batch_size=2, train_batch_size=4, zero_stage=stage, args=args)
    strategy.setup_distributed()
    actor = Actor(
        str(model), "sdpa", dtype, lora_rank=4, lora_alpha=8, target_modules="all-linear",
        ds_config=strategy.get_ds_train_config(),
    )  # fmt: skip
    actor.gradient_checkpointing_enable()
    adam = {"lr": 0.02, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
    config = {"optim": "adam", "adam": adam, "lr_scheduler": "constant", "scheduler_steps": 10}
    actor, _, _ = strategy.prepare((actor, config))
    return strategy, actor


def update(strategy: LoraStrategy, actor: Any) -> float:
    mask = torch.ones(2, 9, dtype=torch.bool)
    loss = -actor(TOKENS, mask, torch.ones_like(TOKENS)).mean()
    strategy.backward(loss, actor, None)
    strategy.optimizer_step(None, actor, None)
    return float(loss.detach())


def own_weights(actor: Any) -> list[torch.Tensor]:
    return [getattr(p, "ds_tensor", p).detach().clone() for p in actor.model.module.parameters()]


def differ(one: list[torch.Tensor], other: list[torch.Tensor]) -> int:
    return sum(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def run(stage: int, dtype: str, folder: Path) -> None:
    strategy, actor = trainer(stage, dtype, folder / "model")
    update(strategy, actor)
    before = own_weights(actor)
    weights = {name: tensor.clone() for name, tensor in merged_parameters(actor.model.module)}
    types = {str(p.dtype) for p in actor.model.module.parameters()}
    strategy.save_model(actor, SimpleNamespace(save_pretrained=lambda path: None), str(folder / "export"))
    found: dict[str, Any] = {"types": sorted(types), "changed_by_merging": differ(before, own_weights(actor))}
    with torch.no_grad():
        logits = actor.model(TOKENS).logits.float()
    strategy.save_ckpt(actor.model, str(folder / "ckpt"), "one")
    found["losses"] = [update(strategy, actor) for _ in range(2)]
    undisturbed = own_weights(actor)

    strategy, actor = trainer(stage, dtype, folder / "model")
    strategy.load_ckpt(actor.model, str(folder / "ckpt"), "one")
    found["changed_by_resuming"] = differ(before, own_weights(actor))
    found["losses_resumed"] = []
    for _ in range(2):
        offload_deepspeed_states(actor.model)  # ds.enable_sleep
        reload_deepspeed_states(actor.model)
        found["losses_resumed"].append(update(strategy, actor))
    found["differ_in_the_end"] = differ(undisturbed, own_weights(actor))

    adapter = next(p for n, p in actor.model.module.named_parameters() if "lora_B" in n)
    found["lost"] = [lost_updates(actor.model, actor.model.skipped_steps)]
    getattr(adapter, "ds_tensor", adapter).data.flatten()[0] = float("nan")
    found["lost"].append(lost_updates(actor.model, actor.model.skipped_steps))
    if RANK == "0":
        torch.save({"weights": weights, "tokens": TOKENS, "logits": logits}, folder / "weights.pt")
        (folder / "result.json").write_text(json.dumps(found))


for stage, dtype in [(2, "bf16"), (3, "bf16"), (2, "fp32"), (3, "fp32")]:
    run(stage, dtype, Path(FOLDER) / f"{stage}_{dtype}")
