"""One of several ranks that divide a small model with DeepSpeed's ZeRO 3 and send it (test_weight_sync.py)."""

# ruff: noqa: E402  # the changes for CPU come before what they change
from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ |= {"DIPO_CPU": "1", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}

from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu

cpu.install()

import deepspeed
import ray
import torch
import torch.distributed as dist
from small_qwen3 import small_model

from dipo_openrlhf.openrlhf_patch.weight_sync import sender
from dipo_openrlhf.openrlhf_patch.weight_sync.buckets import Layout, views

BUCKET = 200_000  # bytes: several for the small model


def main(port: str, rank: str, folder: str) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "RANK": rank,
        "WORLD_SIZE": "2",
        "LOCAL_RANK": rank,
    }
    deepspeed.init_distributed("gloo", dist_init_required=True)
    model = small_model(1, torch.float32)
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 100},
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "torch_adam": True}},
    }
    engine, *_ = deepspeed.initialize(model=model, config=config)
    received: dict[str, torch.Tensor] = {}

    def receive(group: Any, flat: torch.Tensor) -> None:
        received.update({name: tensor.clone() for name, tensor in views(layouts[-1], flat)})

    layouts: list[Layout] = []
    note = SimpleNamespace(remote=lambda *bucket: layouts.append(Layout(*bucket)))
    sender.broadcast, ray.get = receive, lambda refs: refs
    args = SimpleNamespace(
        ds=SimpleNamespace(zero_stage=3, tensor_parallel_size=1),
        vllm=SimpleNamespace(enable_prefix_caching=False),
    )
    trainer = SimpleNamespace(
        vllm_engines=[SimpleNamespace(receive_bucket=note)],
        use_cuda_ipc=False,
        args=args,
        _model_update_group=None,
    )
    actor = SimpleNamespace(model=engine)
    divided = [p for p in engine.module.parameters() if p.numel() == 0]
    assert divided, "nothing was divided"
    buckets = sender.send_weights(trainer, sender.full_parameters(actor, args, BUCKET // 2), BUCKET)
    assert len([p for p in engine.module.parameters() if p.numel() == 0]) == len(divided), "not released"
    equal = received.keys() == expected.keys() and all(
        torch.equal(received[n], expected[n]) for n in expected
    )
    result = {"equal": equal, "names": sorted(received), "buckets": buckets}
    Path(folder, f"{rank}.json").write_text(json.dumps(result))
    dist.barrier()


if __name__ == "__main__":
    main(*sys.argv[1:])
