"""Weights from an actor to a real vLLM engine, an actor of Ray, on CPU: in buckets, and by OpenRLHF's own sync.

    python benchmarks/weight_sync.py [--layers 36] [--hidden 128] [--repeats 5] [--out FILE.json]

A Qwen3 with the number of parameters of Qwen3-8B (399 for 36 layers) and small ones, so that the calls are measured and
not the bytes, which are the same. Both run in turns on the same engine and over gloo; compared is the fastest of each.
OpenRLHF's code for the receiver names "cuda", so its place is taken by the same lines for CPU memory.
"""

from __future__ import annotations

# ruff: noqa: E402  # the changes for CPU come before what they change
import os
import socket
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ |= {"DIPO_CPU": "1", "DS_ACCELERATOR": "cpu"}

from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu

cpu.install()

import ray
import torch
import torch.distributed as dist
from common import best_of, command, header, machine, row, save

from dipo_openrlhf.openrlhf_patch.cpu.gloo_sync import init_gloo_group
from dipo_openrlhf.openrlhf_patch.weight_sync import sender
from dipo_openrlhf.openrlhf_patch.weight_sync.worker import BucketWorker


class Worker(BucketWorker):
    """With OpenRLHF's sync by parameters for CPU memory."""

    def update_weight(self, name: str, dtype: Any, shape: Any, empty_cache: bool = False) -> None:
        weight = torch.empty(shape, dtype=dtype)
        self._model_update_group.broadcast(weight, src=0)
        self.model_runner.model.load_weights(weights=[(name, weight)])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def qwen3(layers: int, hidden: int) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=1024, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        head_dim=hidden // 4, intermediate_size=3 * hidden, max_position_embeddings=128, tie_word_embeddings=False,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).to(torch.bfloat16)


def start_engine(model: Path) -> Any:
    from dipo_openrlhf.openrlhf_patch.engine import CheckedEngine

    engine = ray.remote(CheckedEngine).options(num_cpus=0).remote(
        model=str(model), dtype="bfloat16", worker_extension_cls="weight_sync.Worker", enforce_eager=True,
        max_model_len=64, skip_tokenizer_init=True, distributed_executor_backend="uni", num_gpus=1,
    )  # fmt: skip
    ray.get(engine.get_num_unfinished_requests.remote())
    return engine


def connect(engine: Any) -> Any:
    port = free_port()
    joined = engine.init_process_group.remote("127.0.0.1", port, 1, 2, "sync", "gloo", False)
    group = init_gloo_group("127.0.0.1", port, 0, 2, None)
    ray.get(joined)
    return group


def main(layers: int = 36, hidden: int = 128, repeats: int = 5, out: Path | None = None) -> None:
    from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer

    from dipo_openrlhf.openrlhf_patch.ray_start import start_simulated

    model = qwen3(layers, hidden)
    paths = [str(Path(__file__).parent), *(path for path in sys.path if path)]
    environment = {**cpu.environment(1), "PYTHONPATH": os.pathsep.join(paths), "VLLM_CPU_KVCACHE_SPACE": "1"}
    start_simulated(1, environment)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{free_port()}", rank=0, world_size=1)
    with tempfile.TemporaryDirectory(prefix="dipo_weight_sync_") as folder:
        model.save_pretrained(folder)
        engine = start_engine(Path(folder))
    ds = SimpleNamespace(zero_stage=2, tensor_parallel_size=1)
    args = SimpleNamespace(ds=ds, vllm=SimpleNamespace(enable_prefix_caching=False, sync_with_ray=False))
    actor = SimpleNamespace(model=SimpleNamespace(module=model))
    trainer = SimpleNamespace(
        vllm_engines=[engine], use_cuda_ipc=False, args=args, actor=actor, _model_update_group=connect(engine),
        strategy=SimpleNamespace(args=args),
    )  # fmt: skip
    (single, _), (buckets, count) = best_of(
        [
            lambda: ActorPPOTrainer.broadcast_to_vllm(trainer),
            lambda: sender.send_weights(trainer, sender.full_parameters(actor, args)),
        ],
        repeats,
    )
    ray.shutdown()
    parameters = list(model.parameters())
    size = sum(one.numel() * one.element_size() for one in parameters) / 1e6
    print(f"{len(parameters)} parameters, {size:.1f} MB, one engine; {machine()}\n")
    header("sync", "calls of the engine", "seconds", "ratio")
    row(["OpenRLHF, one parameter at a time", len(parameters), f"{single:.2f}", "1"])
    row(["buckets", count, f"{buckets:.3f}", f"{single / buckets:.1f}x"])
    save(out, {"parameters": len(parameters), "single": single, "buckets": buckets, "calls": count})


if __name__ == "__main__":
    command(main, __doc__)
