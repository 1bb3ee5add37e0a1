"""Device and dtype "auto" on a simulated GPU: NVML is a stub, vLLM's own code is the reference."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dipo_eval.engines import device
from dipo_eval.engines.device import NO_FLOAT16, resolve_dtype


def on_a_gpu(patch: pytest.MonkeyPatch, capability: tuple[int, int] | None) -> None:
    patch.setattr(device, "has_gpu", lambda: True)
    patch.setattr(device, "compute_capability", lambda: capability)


@pytest.mark.parametrize(
    ("config", "engine", "capability", "dtype"),
    [
        ({"dtype": "bfloat16"}, "vllm", (9, 0), "bfloat16"),
        ({"torch_dtype": "float16"}, "vllm", (9, 0), "float16"),
        ({"dtype": "float32"}, "vllm", (9, 0), "bfloat16"),
        ({"dtype": "float32"}, "hf", (9, 0), "float32"),
        ({"text_config": {"dtype": "bfloat16"}}, "hf", (9, 0), "bfloat16"),
        ({"dtype": "float16", "model_type": "gemma2"}, "vllm", (9, 0), "bfloat16"),
        ({"dtype": "float16", "model_type": "gemma2"}, "vllm", (7, 5), "float32"),
        ({"dtype": "float16", "model_type": "gemma2"}, "hf", (9, 0), "float16"),
        ({"dtype": "bfloat16"}, "vllm", (7, 5), "float16"),
        ({"dtype": "bfloat16"}, "hf", (7, 5), "float16"),
        ({"dtype": "bfloat16"}, "vllm", None, "bfloat16"),
        ({}, "vllm", (9, 0), "auto"),
        ([], "vllm", (9, 0), "auto"),
    ],
)
def test_auto_is_the_models_own_number_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any, engine: str, capability: Any, dtype: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert resolve_dtype(tmp_path, engine, "auto") == "float32"
    on_a_gpu(monkeypatch, capability)
    assert resolve_dtype(tmp_path, engine, "auto") == dtype
    assert resolve_dtype(tmp_path, engine, "float16") == "float16"


@pytest.mark.slow
def test_vllm_itself_comes_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    import torch
    from vllm.config import model as vllm_model

    assert set(vllm_model._FLOAT16_NOT_SUPPORTED_MODELS) == NO_FLOAT16
    # As in vllm/platforms/cuda.py, CudaPlatformBase.supported_dtypes, which cannot be imported without a GPU's vLLM.
    half = [torch.float16, torch.float32]
    for capability, supported in (
        ((9, 0), [torch.bfloat16, *half]), ((8, 0), [torch.bfloat16, *half]), ((7, 5), half), ((6, 0), half),
        ((5, 2), [torch.float32]),
    ):  # fmt: skip
        on_a_gpu(monkeypatch, capability)
        platform = SimpleNamespace(
            supported_dtypes=supported, get_device_name=lambda: "a GPU", get_device_capability=lambda: None
        )
        monkeypatch.setattr(vllm_model, "current_platform", platform)
        for model_type in ("qwen3", *sorted(NO_FLOAT16)):
            for stated in ("bfloat16", "float16", "float32"):
                config = {"model_type": model_type, "dtype": stated}
                (tmp_path / "config.json").write_text(json.dumps(config))
                theirs = vllm_model._resolve_auto_dtype(
                    model_type, getattr(torch, stated), is_pooling_model=False
                )
                assert f"torch.{resolve_dtype(tmp_path, 'vllm', 'auto')}" == str(theirs), (capability, config)


def nvml_of_two(shut: list[bool]) -> SimpleNamespace:
    """pynvml with two GPUs, of which the second has bfloat16."""
    return SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: shut.append(True),
        nvmlDeviceGetHandleByIndex=lambda index: (0, 1)[index],
        nvmlDeviceGetHandleByUUID=lambda uuid: {"GPU-a": 0, "GPU-b": 1}[uuid],
        nvmlDeviceGetName=lambda handle: ("NVIDIA T4", "NVIDIA H100")[handle],
        nvmlDeviceGetCudaComputeCapability=lambda handle: ((7, 5), (9, 0))[handle],
    )


@pytest.mark.parametrize(
    ("visible", "name", "capability"),
    [
        (None, "NVIDIA T4", (7, 5)), ("", "NVIDIA T4", (7, 5)), ("1,0", "NVIDIA H100", (9, 0)),
        ("GPU-b", "NVIDIA H100", (9, 0)), ("7", None, None), ("GPU-c", None, None),
    ],
)  # fmt: skip
def test_the_first_visible_gpu_is_queried(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, name: str | None, capability: Any
) -> None:
    shut: list[bool] = []
    monkeypatch.setitem(sys.modules, "pynvml", nvml_of_two(shut))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert (device.gpu_name(), device.compute_capability()) == (name, capability)
    assert len(shut) == 2


def test_without_gpu_or_package_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    if not device.has_gpu():
        assert (device.gpu_name(), device.compute_capability()) == (None, None)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (device.gpu_name(), device.compute_capability()) == (None, None)


@pytest.mark.parametrize("there", [True, False])
def test_workers_are_spawned_on_a_gpu_unless_the_user_sets_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    name = "VLLM_WORKER_MULTIPROC_METHOD"
    monkeypatch.setattr(device, "has_gpu", lambda: there)
    monkeypatch.setattr(os, "environ", {})
    device.set_engine_env(tmp_path)
    assert os.environ.get(name) == ("spawn" if there else None)
    assert ("TORCH_COMPILE_DISABLE" in os.environ) is not there
    os.environ[name] = "fork"
    device.set_engine_env(tmp_path)
    assert os.environ[name] == "fork"


def test_a_gpu_is_detected_without_cuda() -> None:
    """From any caller: torch reads the variable when it checks."""
    script = (
        "import os; os.environ.pop('PYTORCH_NVML_BASED_CUDA_CHECK', None)\n"
        "from dipo_eval.engines.device import has_gpu\n"
        "has_gpu(); import torch\n"
        "print(torch.cuda._nvml_based_avail(), torch.cuda.is_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["True", "False"], done.stderr
