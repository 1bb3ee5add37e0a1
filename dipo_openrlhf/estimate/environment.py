"""Whether this machine and environment can run a recipe on GPUs: gpu_checks.py and what is installed, line by line."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

from dipo_eval.engines.device import is_cpu_build
from dipo_eval.errors import UserError
from dipo_openrlhf.estimate import gpu_checks, memory
from dipo_openrlhf.estimate.gpu_checks import Check
from dipo_openrlhf.estimate.host import host_memory
from dipo_openrlhf.estimate.machine import Machine
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.workload import GIB, uses_flash_attn, workload_of
from dipo_openrlhf.recipe.placement import needs_of
from dipo_openrlhf.recipe.recipe import Recipe

_ASK_TORCH = """
import json, torch
nccl = torch.cuda.nccl.version() if torch.distributed.is_nccl_available() else ()
print(json.dumps({"cuda": torch.version.cuda, "nccl": list(nccl), "devices": torch.cuda.device_count()}))
"""
_TIMEOUT = 120.0  # seconds: the first import of torch from shared storage


def machine_checks(machine: Machine) -> list[Check]:
    """Of a machine with an NVIDIA device, whatever it is to run."""
    checks = [gpu_checks.driver(machine), gpu_checks.gpus(machine), *_installed()]
    checks += [gpu_checks.compiler(machine), gpu_checks.python_headers(machine), gpu_checks.ninja(machine)]
    why = "FlashInfer with vllm.tensor_parallel_size above 1, and ds.adam_offload; nothing else compiles CUDA at run time"
    return [*checks, gpu_checks.nvcc(machine, why, required=False), gpu_checks.shared_memory(machine)]


def recipe_checks(machine: Machine, recipe: Recipe, assume: Assumptions) -> list[Check]:
    """machine_checks, and what this recipe needs of it."""
    checks = {check.name: check for check in machine_checks(machine)}
    if uses_flash_attn(recipe):
        checks["flash_attn"] = _flash_attn(required=True)
    if reason := _compiles_cuda(recipe):
        checks["nvcc"] = gpu_checks.nvcc(machine, reason)
    found = machine.gpus()
    if found and recipe.run.nodes and len(found) < recipe.run.gpus_per_node:
        wanted = f"the recipe counts on {recipe.run.gpus_per_node} a node: set run.gpus_per_node"
        checks["GPUs"] = Check("GPUs", False, f"{len(found)} x {found[0].name}", wanted, required=False)
    try:
        work = workload_of(recipe, assume)
    except UserError:  # a model whose shape is not known here
        return list(checks.values())
    need = host_memory(recipe, needs_of(recipe).layout, work, assume).total.value / GIB
    asleep = memory.host_bytes(work).value / GIB
    return [*checks.values(), gpu_checks.host_memory(machine, need, asleep, recipe.name)]


def _compiles_cuda(recipe: Recipe) -> str:
    if recipe.get("ds.adam_offload"):
        return "ds.adam_offload, for which DeepSpeed compiles its Adam for the CPU against CUDA"
    if recipe.get("vllm.tensor_parallel_size") > 1:
        return "vllm.tensor_parallel_size above 1, for which FlashInfer compiles its all-reduce"
    return ""


def check_gpu_run(recipe: Recipe, machine: Machine | None = None) -> None:
    """Raise UserError with the first thing that a GPU run here lacks. Not for a cluster: its nodes are others."""
    machine = machine or Machine()
    if is_cpu_build():
        found = "this environment's torch is the CPU build"
        raise UserError(
            f"run.device: gpu: {found}: run make gpu, then .venv-gpu/bin/dipo, or set run.device: cpu"
        )
    for check in recipe_checks(machine, recipe, Assumptions()):
        if check.required and not check.ok:
            raise UserError(f"run.device: gpu: {check} (dipo doctor shows all)")


def _installed() -> list[Check]:
    found = _ask_torch()
    remedy = "run make gpu, then .venv-gpu/bin/dipo; this environment runs on the CPU (run.device: cpu)"
    built = (
        f"built for CUDA {found['cuda']}"
        if found.get("cuda")
        else "the CPU build"
        if found
        else "not installed"
    )
    checks = [Check("torch", bool(found.get("cuda")), built, remedy)]
    if found.get("cuda"):
        devices = f"torch sees {found['devices']}"
        checks.append(
            Check("CUDA devices", found["devices"] > 0, devices, "see the driver, and CUDA_VISIBLE_DEVICES")
        )
    nccl = ".".join(map(str, found.get("nccl", [])))
    checks.append(Check("NCCL", bool(nccl), nccl or "none", "it comes with torch's CUDA build: run make gpu"))
    return [*checks, _flash_attn(required=False)]


def _ask_torch() -> dict[str, Any]:
    text = _python(_ASK_TORCH)
    return json.loads(text.splitlines()[-1]) if text else {}


def _flash_attn(required: bool) -> Check:
    remedy = "run make gpu, or train RECIPE+no_flash_attn (docs/gpu.md)"
    if importlib.util.find_spec("flash_attn") is None:
        return Check("flash_attn", False, "not installed", remedy, required)
    found = _python("import flash_attn, flash_attn_2_cuda; print(flash_attn.__version__)").strip()
    return Check(
        "flash_attn", bool(found), found or "its import fails: built for another torch?", remedy, required
    )


def _python(code: str) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""
