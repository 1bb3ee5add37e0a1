"""One process with a real vLLM engine: OpenRLHF's sync, ours and none, compared bit by bit (test_weight_sync.py)."""

# ruff: noqa: E402  # the changes for CPU come before what they change
from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dipo_eval.engines.device import PROCESS_DEFAULTS, VLLM_ON_CPU

os.environ |= {**PROCESS_DEFAULTS, **VLLM_ON_CPU, "DIPO_CPU": "1", "OMP_NUM_THREADS": "1"}
os.environ |= {
    "DS_ACCELERATOR": "cpu",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu

cpu.install()

import ray
import torch
import torch.distributed as dist
from small_qwen3 import small_model

from dipo_openrlhf.openrlhf_patch.cpu.gloo_sync import init_gloo_group
from dipo_openrlhf.openrlhf_patch.weight_sync import sender
from dipo_openrlhf.openrlhf_patch.weight_sync.worker import BucketWorker

BUCKET = 200_000  # bytes: several for the small model


class Worker(BucketWorker):
    """With OpenRLHF's sync by parameters for CPU memory, and hashes of what the engine holds."""

    def update_weight(self, name: str, dtype: Any, shape: Any, empty_cache: bool = False) -> None:
        weight = torch.empty(shape, dtype=dtype)
        self._model_update_group.broadcast(weight, src=0)
        self.model_runner.model.load_weights(weights=[(name, weight)])

    def hashes(self) -> dict[str, str]:
        model = self.model_runner.model
        return {
            name: hashlib.sha256(p.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
            for name, p in model.named_parameters()
        }


class Engine:
    """The handle OpenRLHF expects: `engine.method.remote(...)` runs in a thread."""

    def __init__(self, llm: Any) -> None:
        self.llm, self.calls, self.pool = llm, Counter(), ThreadPoolExecutor(1)

    def __getattr__(self, name: str) -> Any:
        def remote(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            return self.pool.submit(self.llm.collective_rpc, name, None, args, kwargs)

        return SimpleNamespace(remote=remote)


def main(port: str, rank: str, folder: str, dtype_name: str) -> None:
    from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer
    from vllm import LLM

    dtype = getattr(torch, dtype_name)
    first, second = small_model(1, dtype), small_model(2, dtype)
    first.save_pretrained(f"{folder}/model")
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    ray.get = lambda refs: [ref.result() for ref in refs]  # the engine is no Ray actor here
    llm = LLM(
        f"{folder}/model", dtype=dtype_name, skip_tokenizer_init=True, enforce_eager=True, max_model_len=64,
        worker_extension_cls="engine_sync.Worker",
    )  # fmt: skip
    engine = Engine(llm)
    joined = engine.init_process_group.remote("127.0.0.1", int(port) + 1, 1, 2, "sync", "gloo", False)
    group = init_gloo_group("127.0.0.1", int(port) + 1, 0, 2, None)
    joined.result()
    engine.calls.clear()
    ds = SimpleNamespace(zero_stage=2, tensor_parallel_size=1)
    args = SimpleNamespace(ds=ds, vllm=SimpleNamespace(enable_prefix_caching=False, sync_with_ray=False))
    trainer = SimpleNamespace(
        vllm_engines=[engine], use_cuda_ipc=False, args=args, _model_update_group=group,
        strategy=SimpleNamespace(args=args),
    )  # fmt: skip

    def actor(model: Any) -> Any:
        return SimpleNamespace(model=SimpleNamespace(module=model))

    def hashes() -> dict[str, str]:
        return llm.collective_rpc("hashes")[0]

    def differ(one: dict[str, str], other: dict[str, str]) -> int:
        assert one.keys() == other.keys()
        return sum(one[name] != other[name] for name in one)

    before = hashes()
    trainer.actor = actor(second)
    ActorPPOTrainer.broadcast_to_vllm(trainer)
    expected = hashes()
    trainer.actor = actor(first)
    ActorPPOTrainer.broadcast_to_vllm(trainer)
    assert differ(before, hashes()) == 0
    buckets = sender.send_weights(trainer, sender.full_parameters(actor(second), args), BUCKET)
    result = {
        "differ_without_a_transfer": differ(before, expected),
        "differ_after_buckets": differ(hashes(), expected),
        "buckets": buckets,
        "parameters": len(list(second.named_parameters())),
        "calls": {"single": engine.calls["update_weight"] // 2, "buckets": engine.calls["receive_bucket"]},
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
