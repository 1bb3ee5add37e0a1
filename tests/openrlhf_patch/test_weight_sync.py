"""Weights travel in buckets bit by bit as OpenRLHF's own sync sends them one by one."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_openrlhf.openrlhf_patch.weight_sync import divergence_limit, sender, worker
from dipo_openrlhf.openrlhf_patch.weight_sync.buckets import Layout, pack, views

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16])
SCRIPTS = Path(__file__).parent


def tensors(kinds: list[tuple[tuple[int, ...], torch.dtype]]) -> list[tuple[str, torch.Tensor]]:
    return [(f"w{place}", torch.randn(shape).to(dtype)) for place, (shape, dtype) in enumerate(kinds)]


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)


@settings(deadline=None)
@given(st.lists(st.tuples(SHAPES, DTYPES), max_size=12), st.integers(1, 200))
def test_buckets_hold_every_tensor_once_in_order(kinds, bucket_bytes):
    sent = tensors(kinds)
    received = []
    for layout, flat in pack(iter(sent), "cpu", bucket_bytes):
        assert flat.dtype == layout.dtype
        assert flat.numel() == layout.elements
        filled = [shape for shape in layout.shapes if math.prod(shape)]
        assert len(filled) <= 1 or flat.nbytes <= bucket_bytes
        received += views(layout, flat)
    assert [name for name, _ in received] == [name for name, _ in sent]
    for (_, one), (_, other) in zip(sent, received, strict=True):
        assert same(one, other)


def test_a_tensor_may_be_released_once_the_next_is_requested():
    """As ZeRO 3 releases what it has gathered."""

    def gathered():
        for place in range(4):
            tensor = torch.full((3,), float(place))
            yield f"w{place}", tensor
            tensor.fill_(float("nan"))

    received = [one for layout, flat in pack(gathered(), "cpu", 24) for one in views(layout, flat)]
    assert [tensor.tolist() for _, tensor in received] == [[float(place)] * 3 for place in range(4)]


def test_a_model_of_400_parameters_takes_few_buckets():
    weights = [(f"w{place}", torch.zeros(1000)) for place in range(400)]
    assert len(list(pack(weights, "cpu", 4 * 100_000))) == 4


class Engine:
    """An engine's process in this one: its `receive_bucket` is the real worker's, the model notes what it loads."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.loaded: dict[str, torch.Tensor] = {}
        self.calls = self.resets = 0
        subject: Any = object.__new__(worker.BucketWorker)
        subject.device = SimpleNamespace(index=3)
        subject.model_config = SimpleNamespace(dtype=dtype)
        subject.model_runner = SimpleNamespace(model=SimpleNamespace(load_weights=self.load))
        self.worker = subject
        self.receive_bucket = SimpleNamespace(remote=self.receive)
        self.reset_prefix_cache = SimpleNamespace(remote=self.reset)

    def load(self, weights: list[tuple[str, torch.Tensor]]) -> None:
        self.loaded |= {name: tensor.clone() for name, tensor in weights}

    def receive(self, *bucket: Any) -> None:
        self.calls += 1
        self.worker.receive_bucket(*bucket)

    def reset(self) -> None:
        self.resets += 1


def share_with(monkeypatch: pytest.MonkeyPatch, trainer: Any) -> None:
    """CUDA IPC on one process: the handle is the tensor, and its seventh argument the device of the sender."""

    def rebuild(tensor: torch.Tensor, *rest: int) -> torch.Tensor:
        assert rest[5] == 3, "the receiver's own device"
        return tensor

    def gather(handles: list[Any], own: Any) -> None:
        handles[0] = own

    monkeypatch.setattr(sender, "reduce_tensor", lambda tensor: (rebuild, (tensor, 1, 2, 3, 4, 5, 0, 7)))
    for module in (sender, worker):
        monkeypatch.setattr(module, "get_physical_gpu_id", lambda: "GPU-1")
    monkeypatch.setattr(sender, "torch_dist_barrier_and_cuda_sync", lambda: None)
    monkeypatch.setattr(sender.ray, "get", lambda refs: refs)
    monkeypatch.setattr(sender.torch.cuda, "empty_cache", lambda: None)
    for name, value in (
        ("get_rank", lambda: 0),
        ("get_world_size", lambda: 1),
        ("all_gather_object", gather),
    ):
        monkeypatch.setattr(sender.dist, name, value)


def trainer_of(engines: list[Engine], *, ipc: bool) -> Any:
    args = SimpleNamespace(vllm=SimpleNamespace(enable_prefix_caching=True))
    return SimpleNamespace(vllm_engines=engines, use_cuda_ipc=ipc, args=args, _model_update_group=None)


def test_an_engine_on_the_same_gpu_reads_the_actor_s_memory(monkeypatch):
    """The steps of the CUDA IPC path; the handles are given, since there is no GPU."""
    engines = [Engine(), Engine()]
    trainer = trainer_of(engines, ipc=True)
    share_with(monkeypatch, trainer)
    weights = tensors([((3, 4), torch.float32), ((5,), torch.float32), ((2, 2), torch.float32)])
    assert sender.send_weights(trainer, iter(weights), 70) == 2
    for engine in engines:
        assert (engine.calls, engine.resets) == (2, 1)
        assert all(same(engine.loaded[name], tensor) for name, tensor in weights)


def test_an_engine_of_another_type_is_an_error(monkeypatch):
    trainer = trainer_of([Engine(torch.bfloat16)], ipc=True)
    share_with(monkeypatch, trainer)
    with pytest.raises(TypeError, match=r"w0 is torch\.float32 in training but torch\.bfloat16 in vLLM"):
        sender.send_weights(trainer, tensors([((3,), torch.float32)]))


_PEER = """
import sys, torch
from types import SimpleNamespace
from dipo_openrlhf.openrlhf_patch.cpu.changes import install
install()
from dipo_openrlhf.openrlhf_patch.cpu.gloo_sync import init_gloo_group
from dipo_openrlhf.openrlhf_patch.weight_sync.worker import BucketWorker, broadcast
port, rank = int(sys.argv[1]), int(sys.argv[2])
group = init_gloo_group("127.0.0.1", port, rank, 2, None)
sent = torch.arange(10.0).to(torch.bfloat16)
if rank == 0:
    broadcast(group, sent)
else:
    worker = object.__new__(BucketWorker)
    worker.device, worker.bucket_group = torch.device("cpu"), group
    worker.model_config = SimpleNamespace(dtype=torch.bfloat16)
    show = lambda weights: print({name: tensor.tolist() for name, tensor in weights})
    worker.model_runner = SimpleNamespace(model=SimpleNamespace(load_weights=show))
    worker.receive_bucket(["a", "b"], [(2, 3), (4,)], torch.bfloat16)
"""


def test_a_bucket_is_broadcast_between_processes():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    peers = [
        subprocess.Popen([sys.executable, "-c", _PEER, port, str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    try:
        outputs = [peer.communicate(timeout=240)[0] for peer in peers]
    finally:
        for peer in peers:
            peer.kill()
    expected = {"a": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], "b": [6.0, 7.0, 8.0, 9.0]}
    assert outputs[1].strip().splitlines()[-1] == str(expected)


@pytest.mark.slow
def test_zero_3_and_tied_weights_on_two_ranks(tmp_path):
    """DeepSpeed's own partitions, gathered chunk by chunk: what rank 0 sends are the weights before they were divided."""
    found = _run_ranks("zero_3_sync.py", tmp_path)
    assert found[0] == {"equal": True, "names": found[0]["names"], "buckets": found[0]["buckets"]}
    assert "lm_head.weight" not in found[0]["names"]  # tied to the embedding
    assert 1 < found[0]["buckets"] < len(found[0]["names"])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_real_engine_holds_the_same_bits_as_after_openrlhf_s_own_sync(tmp_path, dtype):
    """vLLM is real. Control: without a transfer it holds other weights."""
    found = _run_ranks("engine_sync.py", tmp_path, ranks=1, arguments=[dtype])[0]
    assert found["differ_without_a_transfer"] > 0
    assert found["differ_after_buckets"] == 0
    assert found["calls"] == {"single": found["parameters"], "buckets": found["buckets"]}
    assert found["buckets"] < found["parameters"]


def _run_ranks(script: str, folder: Path, ranks: int = 2, arguments: list[str] | None = None) -> list[Any]:
    """What each rank of a script beside this file wrote as JSON."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    peers = [
        subprocess.Popen(
            [sys.executable, str(SCRIPTS / script), port, str(rank), str(folder), *(arguments or [])]
        )
        for rank in range(ranks)
    ]
    try:
        assert [peer.wait(timeout=420) for peer in peers] == [0] * ranks
    finally:
        for peer in peers:
            peer.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


@pytest.mark.parametrize("dtype", divergence_limit.FLOOR)
def test_rounding_is_not_reported_and_a_stale_engine_is(dtype):
    floor = divergence_limit.FLOOR[dtype]
    assert divergence_limit.warning(7, 0.9 * floor, dtype, floor / 10) is None
    assert divergence_limit.warning(7, None, dtype, None) is None
    for found in (1.1 * floor, -1.1 * floor):
        text = divergence_limit.warning(7, found, dtype, floor / 10)
        assert text is not None
        assert text.startswith(f"step 7: vllm_kl {found:.2g} is above {floor:.2g}")


def test_a_model_with_more_noise_has_a_limit_of_its_own():
    """Step 1 is sampled with the weights that are scored: what differs there is the noise of this model."""
    assert divergence_limit.warning(9, 0.03, "bf16", 0.01) is None
    assert divergence_limit.warning(9, 0.05, "bf16", 0.01) is not None
    assert divergence_limit.warning(1, 0.5, "bf16", None) is not None  # step 1 itself


def test_layouts_count_their_elements():
    assert Layout(["a", "b", "c"], [(2, 3), (), (0, 4)], torch.float32).elements == 7
