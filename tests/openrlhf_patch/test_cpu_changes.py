"""Each run-time change has its effect, on the real modules."""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from two_ranks import run_two_ranks

from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
from dipo_openrlhf.openrlhf_patch.overrides import resolve


@pytest.mark.parametrize("change", cpu.CHANGES, ids=lambda change: change.what)
def test_what_is_replaced_exists(change):
    assert change.overrides
    for override in change.overrides:
        assert resolve(override.path) is not None, override.path


def test_the_device_is_both_a_device_and_an_index():
    device = torch.cuda.current_device()
    assert torch.ones(2).to(device).device.type == "cpu"
    assert torch.device(f"cuda:{device}") == torch.device("cuda", 0)


def test_cuda_calls_do_nothing():
    """In a process of its own: vLLM replaces our current_stream once it is imported."""
    code = (
        "from dipo_openrlhf.openrlhf_patch.cpu import changes; changes.install(); import torch; "
        "print(torch.cuda.set_device(0), torch.cuda.synchronize(), torch.cuda.current_stream())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.split() == ["None"] * 3, run.stderr


def test_flash_attn_does_not_stay():
    importlib.import_module("openrlhf.models.ring_attn_utils")
    assert not [name for name in sys.modules if name.split(".")[0] == "flash_attn"]
    assert importlib.util.find_spec("flash_attn") is None


def test_ring_attention_refuses_to_work():
    ring = importlib.import_module("openrlhf.models.ring_attn_utils")
    with pytest.raises(RuntimeError, match="needs flash-attn and a GPU"):
        ring.all_gather(None)


def test_float32_needs_no_mixed_precision():
    module = importlib.import_module("openrlhf.utils.deepspeed.deepspeed")
    config = module.get_train_ds_config(False, False, 2, "fp32")
    assert config["bf16"]["enabled"] is False
    assert config["fp16"]["enabled"] is False


def test_float32_is_a_dtype():
    module = importlib.import_module("openrlhf.utils.utils")
    assert module.convert_to_torch_dtype("fp32") is torch.float32
    assert module.convert_to_torch_dtype("bf16") is torch.bfloat16


def test_packed_weights_are_off():
    assert importlib.import_module("vllm._custom_ops")._supports_onednn is False
    assert (
        importlib.import_module("vllm.model_executor.layers.utils").check_cpu_sgl_kernel(
            32, 32, torch.float32
        )
        is False
    )


@pytest.mark.parametrize("level", [1, 2])
def test_a_sleeping_engine_has_no_memory_and_wakes_as_it_was(level):
    """Level 1 keeps the weights, level 2 the buffers alone; tied weights stay tied and the KV cache is emptied."""
    worker_class = importlib.import_module("vllm.v1.worker.cpu_worker").CPUWorker
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(4, 3))
    model[2].weight = model[0].weight
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cache = torch.ones(2, 8)
    worker = SimpleNamespace(model_runner=SimpleNamespace(model=model, kv_caches=[cache, cache[1:]]))
    worker_class.sleep(worker, level=level)
    everything = [*model.parameters(), *model.buffers(), cache]
    assert sum(one.untyped_storage().nbytes() for one in everything) == 0
    worker_class.wake_up(worker, tags=["weights"])
    assert cache.untyped_storage().nbytes() == 0
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, value in model.state_dict().items():
        if level == 2 and name in parameters:
            assert value.isnan().all(), name  # until they are loaded
        else:
            assert torch.equal(value, before[name]), name
    assert model[2].weight.data_ptr() == model[0].weight.data_ptr()
    worker_class.wake_up(worker, tags=["kv_cache"])
    assert torch.equal(cache, torch.zeros(2, 8))
    worker_class.wake_up(worker)  # awake: nothing happens


_PEER = """
import sys, torch
from dipo_openrlhf.openrlhf_patch.cpu.gloo_sync import init_gloo_group
port, rank = int(sys.argv[1]), int(sys.argv[2])
group = init_gloo_group("127.0.0.1", port, rank, 2, None)
weight = torch.arange(6.0).reshape(2, 3) if rank == 0 else torch.zeros(2, 3)
group.broadcast(weight, src=0, stream=None)
print(weight.tolist())
"""


def test_weights_travel_over_gloo_between_processes():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    peers = [
        subprocess.Popen([sys.executable, "-c", _PEER, port, str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    try:
        for peer in peers:
            output, _ = peer.communicate(timeout=120)
            assert output.strip() == "[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"
    finally:
        for peer in peers:
            peer.kill()


def test_without_the_switch_only_a_missing_flash_attn_is_replaced():
    """Without DIPO_CPU=1 nothing else is registered: on a GPU machine OpenRLHF runs as it is."""
    code = (
        "from dipo_openrlhf.openrlhf_patch.cpu import changes; changes.install(); changes.install(); import torch, sys; "
        "print(torch.cuda.current_device.__module__, len([f for f in sys.meta_path if 'dipo' in type(f).__module__])); "
        "import openrlhf.models.ring_attn_utils"
    )
    environment = {"PATH": "/usr/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "DIPO_CPU": "0"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment
    )
    assert run.stdout.splitlines()[0] == "torch.cuda 1", run.stderr  # DeepSpeed logs below it
    assert run.returncode == 0, run.stderr


def test_gathered_parameters_are_there():
    """Several at once: DeepSpeed itself waits for the last alone, which under gloo may end first."""
    outputs = run_two_ranks("zero_3_gather.py", seconds=120)
    assert all("missing 0" in output for output in outputs), outputs
