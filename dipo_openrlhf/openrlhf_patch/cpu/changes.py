"""The run-time changes that let OpenRLHF's own loop run without a GPU.

OpenRLHF is written for CUDA; the loop itself is device-neutral. Each change below is applied right after the module
concerned is imported, in the driver, in every Ray worker (Ray's `worker_process_setup_hook`) and in vLLM's processes (the
`vllm.general_plugins` entry point), and only when `DIPO_CPU=1`, which `dipo train` sets when there is no GPU or with
`run.device: cpu`. ci/canary.py reads CHANGES, so this module imports neither torch nor OpenRLHF.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dipo_eval.engines.device import PROCESS_DEFAULTS, VLLM_ON_CPU, inspect_models_here
from dipo_openrlhf.openrlhf_patch.cpu import flash_attn as flash_attn_stand_in
from dipo_openrlhf.openrlhf_patch.overrides import Override

ENABLED = "DIPO_CPU"


@dataclass(frozen=True)
class Change:
    """One change: the module it waits for, what it replaces there, how, and why.

    replaces: "name(parameter, ...)" of the original, or "name" where its parameters do not matter.
    """

    module: str
    replaces: tuple[str, ...]
    what: str
    why: str
    apply: Callable[[Any], None] | None = None  # None: applied otherwise

    @property
    def overrides(self) -> tuple[Override, ...]:
        """What the change expects of the module."""
        return tuple(Override.parse(f"{self.module}:", each, self.why) for each in self.replaces)


class CpuDevice(str):
    """`torch.cuda.current_device()` on CPU: a device string that is also OpenRLHF's device index.

    `tensor.to(device)` must see "cpu"; openrlhf/trainer/ppo_utils/replay_buffer.py, NaiveReplayBuffer.__init__ builds
    f"cuda:{device}" and must see an index.
    """

    def __new__(cls) -> CpuDevice:
        return super().__new__(cls, "cpu")

    def __format__(self, spec: str) -> str:
        return "0"


def _neutral_cuda(torch: Any) -> None:
    def no_op() -> Callable[..., None]:
        return lambda device=None: None

    # One function object each: torch._dynamo keys its rules by them.
    for name in ("set_device", "synchronize", "current_stream"):
        setattr(torch.cuda, name, no_op())
    torch.cuda.current_device = CpuDevice


def _put(**values: Any) -> Callable[[Any], None]:
    """A change that sets attributes of the module."""
    return lambda module: vars(module).update(values)


def _wrap(name: str, wrapper: Callable[..., Any]) -> Callable[[Any], None]:
    """A change that replaces a function of the module: `wrapper` gets the original, then the arguments."""
    return lambda module: setattr(module, name, functools.partial(wrapper, getattr(module, name)))


def _cpu_device_mesh(original: Callable[..., Any], device_type: str, *args: Any, **kwargs: Any) -> Any:
    return original("cpu", *args, **kwargs)


def _fp32_dtype(original: Callable[..., Any], param_dtype: str) -> Any:
    import torch

    return torch.float32 if param_dtype == "fp32" else original(param_dtype)


def _gather_one_by_one(module: Any) -> None:
    def gather(self: Any, param_list: Any, hierarchy: int = 0, quantize: bool = False) -> None:
        self._allgather_params_sequential(param_list, hierarchy)

    module.Init._allgather_params_coalesced = gather


def _gloo_group(module: Any) -> None:
    from dipo_openrlhf.openrlhf_patch.cpu import gloo_sync

    module.stateless_init_process_group = gloo_sync.init_gloo_group


def _torch_attention(module: Any) -> None:
    from dipo_openrlhf.openrlhf_patch.cpu import attention

    _wrap("_lazy_imports", attention.lazy_imports)(module)


def _accept_flash_attention(module: Any) -> None:
    from dipo_openrlhf.openrlhf_patch.cpu.attention import can_dispatch

    model = module.PreTrainedModel
    model._flash_attn_can_dispatch = can_dispatch(model._flash_attn_can_dispatch)


def _real_sleep(module: Any) -> None:
    from dipo_openrlhf.openrlhf_patch.cpu import vllm_sleep

    module.CPUWorker.sleep = vllm_sleep.sleep
    module.CPUWorker.wake_up = vllm_sleep.wake_up


def _forked_processes(module: Any) -> None:
    from dipo_openrlhf.openrlhf_patch.cpu import fork_server

    _wrap("get_mp_context", fork_server.context)(module)


def _norm_kernels(module: Any) -> None:
    from dipo_openrlhf.openrlhf_patch.cpu import norms

    module.RMSNorm.forward_cpu = norms.forward_cpu


def _send_whole_outputs(module: Any) -> None:
    from dipo_openrlhf.openrlhf_patch.cpu import whole_outputs

    module.EngineCore.step = whole_outputs.whole_outputs(module.EngineCore.step)


def _noise_at_once(module: Any) -> None:
    from dipo_openrlhf.openrlhf_patch.cpu import sampling

    module.TopKTopPSampler.forward_cpu = sampling.noise_at_once(module.TopKTopPSampler.forward_cpu)


def _sleep_is_available(module: Any) -> None:
    module.CpuPlatform.is_sleep_mode_available = lambda self: True


CHANGES = (
    Change(
        flash_attn_stand_in.TARGET,
        flash_attn_stand_in.FUNCTIONS,
        "flash_attn's packing functions in plain torch, during this one import",
        "flash-attn needs CUDA; packed samples (ds.packing_samples, dynamic batches) call them",
    ),
    Change(
        "transformers.modeling_flash_attention_utils",
        (
            "_lazy_imports(implementation, attention_wrapper, allow_all_kernels)",
            "_pad_input(hidden_states, indices, batch, seqlen)",
            "_unpad_input(hidden_states, attention_mask, unused_mask)",
        ),
        "flash_attention_2 is torch's attention, one packed sequence after the other",
        "packed samples need attention that ends where a sequence ends",
        _torch_attention,
    ),
    Change(
        "transformers.modeling_utils",
        ("PreTrainedModel._flash_attn_can_dispatch(self, flash_attn_version, is_init_check)",),
        "flash_attention_2 is accepted without flash-attn",
        "the attention above takes its place",
        _accept_flash_attention,
    ),
    Change(
        "torch",
        (
            "cuda.set_device(device)",
            "cuda.synchronize(device)",
            "cuda.current_stream(device)",
            "cuda.current_device()",
        ),
        "torch.cuda.set_device, synchronize, current_stream do nothing; current_device is 'cpu'",
        "called unconditionally by OpenRLHF's actors, launcher, replay buffer and DeepSpeed strategy",
        _neutral_cuda,
    ),
    Change(
        "openrlhf.utils.deepspeed.deepspeed",
        ("init_device_mesh",),
        "init_device_mesh('cpu', ...)",
        "DeepspeedStrategy.setup_distributed names 'cuda'",
        _wrap("init_device_mesh", _cpu_device_mesh),
    ),
    Change(
        "deepspeed.ops",
        ("__compatible_ops__",),
        "the shared-memory communication op is marked incompatible",
        "a C++ build of a minute, and a killed build leaves a lock that hangs the next run; gloo does its work",
        lambda module: module.__compatible_ops__.update(deepspeed_shm_comm=False),
    ),
    Change(
        "deepspeed.runtime.zero.partition_parameters",
        (
            "Init._allgather_params_coalesced(self, param_list, hierarchy, quantize)",
            "Init._allgather_params_sequential(self, param_list, hierarchy)",
        ),
        "ZeRO 3 gathers several parameters one after the other where it blocks",
        "it starts them all and waits for the last: NCCL ends them in order, gloo does not, so a parameter might be "
        "used before it is there",
        _gather_one_by_one,
    ),
    Change(
        "openrlhf.utils.distributed_util",
        ("stateless_init_process_group(master_address, master_port, rank, world_size, device)",),
        "stateless_init_process_group makes a gloo group",
        "OpenRLHF makes an NCCL group",
        _gloo_group,
    ),
    Change(
        "vllm.v1.worker.cpu_worker",
        ("CPUWorker.sleep(self, level)", "CPUWorker.wake_up(self, tags)"),
        "a sleeping engine gives its memory back and gets it again",
        "vLLM ignores both on CPU, so that a wrong order of sleep and use would not show",
        _real_sleep,
    ),
    Change(
        "vllm.platforms.cpu",
        ("CpuPlatform.is_sleep_mode_available(self)",),
        "vllm.enable_sleep is accepted",
        "the sleep above works on CPU",
        _sleep_is_available,
    ),
    Change(
        "vllm.utils.system_utils",
        ("get_mp_context()",),
        "the engine core is a fork of the run's fork server",
        "a process of its own would import for as long as the engine has taken already",
        _forked_processes,
    ),
    Change(
        "ray._private.services",
        ("start_ray_process",),
        "Ray's workers are forks of the run's fork server",
        "each worker would start two interpreters and import everything (local_ray.py)",
    ),
    Change(
        "ray._private.node",
        ("Node.start_monitor(self)",),
        "no autoscaler",
        "a Ray on one machine does not grow (local_ray.py)",
    ),
    Change(
        "vllm.model_executor.models.registry",
        ("_run_in_subprocess(fn)",),
        "the engine looks at the model's class itself",
        "vLLM starts a process for it, lest CUDA be initialised: ten seconds of imports at the first start",
        inspect_models_here,
    ),
    Change(
        "vllm._custom_ops",
        ("_supports_onednn",),
        "oneDNN matrix products off",
        "they pack the weights once, so an updated weight would silently not be used",
        _put(_supports_onednn=False),
    ),
    Change(
        "vllm.model_executor.layers.utils",
        ("check_cpu_sgl_kernel(n, k, dtype)",),
        "SGL matrix products off",
        "the same: packed weights cannot be updated in place",
        _put(check_cpu_sgl_kernel=lambda n, k, dtype: False),
    ),
    Change(
        "vllm.model_executor.layers.layernorm",
        ("RMSNorm.forward_native(self, x, residual)",),
        "root-mean-square norms by vLLM's own kernels",
        "vLLM uses them on GPUs alone; a fifth of a small model's generation",
        _norm_kernels,
    ),
    Change(
        "vllm.v1.sample.ops.topk_topp_sampler",
        ("TopKTopPSampler.forward_cpu(self, logits, generators, k, p)",),
        "the noise of seeded samples at once, the same numbers",
        "vLLM draws it twice and takes one logarithm after the other",
        _noise_at_once,
    ),
    Change(
        "vllm.v1.engine.core",
        ("EngineCore.step(self)",),
        "a response is sent once, when it is complete",
        "vLLM sends the tokens and log-probabilities of every iteration, which are packed and unpacked one by one",
        _send_whole_outputs,
    ),
    Change(
        "openrlhf.utils.utils",
        ("convert_to_torch_dtype(param_dtype)",),
        "ds.param_dtype accepts fp32",
        "float32 is faster than bfloat16 on most CPUs (measured: 54 s a step against 70 for SmolLM2-135M)",
        _wrap("convert_to_torch_dtype", _fp32_dtype),
    ),
)


def environment(threads: int) -> dict[str, str]:
    """Environment of every process of a CPU run. `threads`: OpenMP threads of one process."""
    return {
        **PROCESS_DEFAULTS,
        **VLLM_ON_CPU,
        "OMP_NUM_THREADS": str(threads),
        ENABLED: "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "0",
    }


def install() -> None:
    """Register all changes in this process; each is applied when its module is imported. Idempotent.

    On GPUs nothing but the stand-in for flash_attn, and that only where it is not installed (`+no_flash_attn`).
    """
    if importlib.util.find_spec("flash_attn") is None:
        flash_attn_stand_in.install()
    if os.environ.get(ENABLED) != "1" or getattr(install, "done", False):
        return
    install.done = True  # type: ignore[attr-defined]
    import wrapt

    for change in CHANGES:
        if change.apply is not None:
            wrapt.register_post_import_hook(change.apply, change.module)


def vllm_plugin() -> None:
    """Entry point `vllm.general_plugins`: vLLM calls it in each of its processes."""
    install()
