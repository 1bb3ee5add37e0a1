"""Environment that torch and vLLM want, above all without a GPU. Defaults only: what the user has set stays."""

from __future__ import annotations

import os
from pathlib import Path

# Must be set before torch is imported. Threads that wait by spinning take the core that the one they wait for needs:
# with one other busy process on 2 cores, 512 rollouts took 4 s with PASSIVE and 6 to 20 s without.
# The last one makes torch ask NVML whether there is a GPU: asking CUDA keeps processes forked later from using it.
PROCESS_DEFAULTS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}

# vLLM's workers are started anew: whatever has been done to CUDA in this process does not reach them.
VLLM_ON_GPU = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}

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


def has_gpu() -> bool:
    """Whether torch sees an accelerator; False means that the CPU defaults apply. Does not initialise CUDA."""
    set_process_env()
    import torch

    return torch.cuda.is_available()


def set_process_env() -> None:
    """What a command that will import torch sets first; a second call changes nothing."""
    _defaults(PROCESS_DEFAULTS)


def set_engine_env(model: Path) -> None:
    """Set what must be set before vllm is imported; a second call changes nothing.

    On any machine: quiet logs, and no network where the model is a local folder. Without a GPU also
    `VLLM_ON_CPU` and one thread a core, with one `VLLM_ON_GPU`.
    """
    # WARNING prints a dozen lines a load, none of use to an evaluation.
    _defaults({"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CONFIGURE_LOGGING": "1", "VLLM_NO_USAGE_STATS": "1"})
    _defaults({"TOKENIZERS_PARALLELISM": "false"})
    if model.exists():
        _defaults({"HF_HUB_OFFLINE": "1"})
    if has_gpu():
        _defaults(VLLM_ON_GPU)
    else:
        _defaults({**VLLM_ON_CPU, **PROCESS_DEFAULTS, "OMP_NUM_THREADS": str(usable_cores())})


def usable_cores() -> int:
    """CPU cores that this process may run on (a container's share, where the system tells)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _defaults(values: dict[str, str]) -> None:
    for name, value in values.items():
        os.environ.setdefault(name, value)
