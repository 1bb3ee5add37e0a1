"""What a model runs on and in: the environment, the GPU, and the number format (dtype "auto").

Nothing here initialises CUDA in this process: a process forked from it afterwards could not use a GPU.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sysconfig
from pathlib import Path
from typing import Any

from dipo_eval.workers.cores import usable_cores

# Set before torch is imported; what the user has set stays. Spinning threads take the core that the thread they wait
# for needs: with one other busy process on 2 cores, 512 rollouts took 4 s with PASSIVE and 6 to 20 s without. But threads
# that sleep at once take longer for each of a small model's products: they spin for some microseconds first (libgomp).
# The last one makes torch ask NVML whether there is a GPU, and not CUDA.
PROCESS_DEFAULTS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "10000",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}

# vLLM tries every sampler at each start (vllm/v1/worker/gpu_model_runner.py, GPUModelRunner._dummy_sampler_run), and
# FlashInfer's is compiled then, with nvcc and ninja. Seeds and plain sampling never use it.
NO_FLASHINFER_SAMPLER = {"VLLM_USE_FLASHINFER_SAMPLER": "0"}

# vLLM's workers are spawned: the state of CUDA in this process does not reach them.
VLLM_ON_GPU = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", **NO_FLASHINFER_SAMPLER}

# Measured on 2 cores: without torch.compile the first generation takes 0.5 s, not 20.7 s; without an engine process of
# its own vLLM starts in 12 to 23 s, not 41 to 87 s. Bound threads would take cores from whatever else runs.
VLLM_ON_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "DS_ACCELERATOR": "cpu",
}

# vLLM logs only errors: WARNING prints a dozen lines a load, none of use to an evaluation.
_ENGINE_DEFAULTS = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CONFIGURE_LOGGING": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

# Models that vLLM refuses in float16 (0.29.0, vllm/config/model.py, _is_valid_dtype).
NO_FLOAT16 = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
_FORMATS = ("bfloat16", "float16", "float32")

Capability = tuple[int, int]


def quiet_libraries() -> None:
    """Keep transformers' progress bars and, where there is no GPU, DeepSpeed's warning about that off the terminal."""
    if not has_gpu():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from transformers.utils import logging

    logging.disable_progress_bar()


def set_process_env() -> None:
    """Set the defaults of a command that will import torch; a second call changes nothing."""
    _defaults(PROCESS_DEFAULTS)
    tools_on_path()


def tools_on_path() -> None:
    """Put this environment's programs on PATH, also where it was not activated: what compiles at run time calls ninja."""
    folder, path = sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)
    if folder not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([folder, path])


def is_cpu_build() -> bool:
    """Whether this environment's torch is the CPU build, which can use no GPU. Reads its version alone."""
    try:
        return importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def set_engine_env(model: Path) -> None:
    """Set the defaults that vLLM needs before it is imported; a second call changes nothing.

    Quiet logs, and no network for a local model folder. Without a GPU also `VLLM_ON_CPU` and one thread a core, with
    one `VLLM_ON_GPU`.
    """
    _defaults(_ENGINE_DEFAULTS)
    if model.exists():
        _defaults({"HF_HUB_OFFLINE": "1"})
    if has_gpu():
        _defaults(VLLM_ON_GPU)
    else:
        _defaults({**VLLM_ON_CPU, **PROCESS_DEFAULTS, "OMP_NUM_THREADS": str(usable_cores())})


def inspect_models_here(registry: Any) -> None:
    """Let vLLM look at a model's class in this process (vllm/model_executor/models/registry.py). It starts one for that,
    lest CUDA be initialised: without a GPU ten seconds of imports for nothing, at the first load of an architecture.
    """
    registry._run_in_subprocess = lambda look: look()


def _defaults(values: dict[str, str]) -> None:
    for name, value in values.items():
        os.environ.setdefault(name, value)


def has_gpu() -> bool:
    """Whether torch sees an accelerator; False means that the CPU defaults apply."""
    set_process_env()
    import torch

    return torch.cuda.is_available()


def gpu_name() -> str | None:
    """Such as "NVIDIA H100 80GB HBM3", of the first GPU; None where there is none, or NVML does not know it."""
    name = _query_nvml("nvmlDeviceGetName")
    return None if name is None else str(name)


def compute_capability() -> Capability | None:
    """Such as (9, 0), of the first GPU; None where there is none, or NVML does not know it (AMD's, Jetson's)."""
    found = _query_nvml("nvmlDeviceGetCudaComputeCapability")
    return None if found is None else (int(found[0]), int(found[1]))


def _query_nvml(function: str) -> Any:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver
        return None
    try:
        # NVML counts all GPUs of the machine; CUDA_VISIBLE_DEVICES may hide some.
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
        by_index = not first or first.isdigit()
        find = pynvml.nvmlDeviceGetHandleByIndex if by_index else pynvml.nvmlDeviceGetHandleByUUID
        return getattr(pynvml, function)(find(int(first or 0) if by_index else first))
    except Exception:  # a GPU that NVML cannot find or cannot describe
        return None
    finally:
        pynvml.nvmlShutdown()


def resolve_dtype(folder: Path, engine: str, dtype: str) -> str:
    """ "auto" is float32 without a GPU, else the dtype of the model's config.json where the GPU supports it.

    Resolved before an engine is loaded, since a result is identified by it. vLLM computes float32 models in half
    precision, and some models never in float16 (vllm/config/model.py, _resolve_auto_dtype). "auto" stays where the
    config names no dtype.
    """
    if dtype != "auto":
        return dtype
    if not has_gpu():
        return "float32"
    own, model_type = _stated(folder)
    if own is None:
        return "auto"
    supported = _supported()
    if engine == "vllm":
        supported = [one for one in supported if one != "float16" or model_type not in NO_FLOAT16]
        return own if own in supported and own != "float32" else supported[0]
    return own if own in supported else supported[0]


def _supported() -> list[str]:
    """Number formats of the GPU, best first, as in vllm/platforms/cuda.py, CudaPlatformBase.supported_dtypes; all of
    them where the capability is not known, as in vllm/platforms/interface.py, Platform.supported_dtypes.
    """
    capability = compute_capability()
    if capability is None or capability >= (8, 0):
        return list(_FORMATS)
    return ["float16", "float32"] if capability >= (6, 0) else ["float32"]


def _stated(folder: Path) -> tuple[str | None, str]:
    """Number format and model type of config.json; None for the format where it names none that is known here."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parts = [config, *(part for part in config.values() if isinstance(part, dict))]
        named = [part[key] for part in parts for key in ("dtype", "torch_dtype") if part.get(key)]
    except (OSError, ValueError, AttributeError):
        return None, ""
    found = str(named[0]).removeprefix("torch.") if named else ""
    return found if found in _FORMATS else None, str(config.get("model_type", ""))
