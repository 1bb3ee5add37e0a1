"""What a machine is read to have, from stand-ins of the files and programs, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate import environment, gpu_checks
from dipo_openrlhf.estimate.machine import Machine
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.recipe.files import recipe_names
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import Setting

KERNEL = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: 12.3.0\n"
)
OLDER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n"


def machine(root: Path, **programs: str) -> Machine:
    """A machine under `root`, with these programs: name -> what it prints."""
    folder = root / "bin"
    folder.mkdir(exist_ok=True)
    for name, text in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\ncat <<'TEXT'\n{text}\nTEXT\n")
        path.chmod(0o755)
    return Machine(root, {"PATH": f"{folder}:/usr/bin:/bin"})


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_the_driver_is_read_from_the_kernel_or_nvidia_smi(tmp_path):
    bare = Machine(tmp_path, {"PATH": str(tmp_path)})
    assert bare.driver() == ""
    assert "no NVIDIA device" in str(gpu_checks.driver(bare))
    write(tmp_path, "dev/nvidia0", "")
    assert bare.devices() == 1
    assert "no driver answers" in str(gpu_checks.driver(bare))
    assert gpu_checks.driver(machine(tmp_path, nvidia_smi="581.1")).ok
    write(tmp_path, "proc/driver/nvidia/version", KERNEL)
    assert bare.driver() == "580.65.06"
    assert gpu_checks.driver(bare).ok
    write(tmp_path, "proc/driver/nvidia/version", OLDER)
    check = gpu_checks.driver(bare)
    assert not check.ok
    assert str(check) == "driver: 550.54.15: install NVIDIA driver 580 or newer, which CUDA 13 needs"


@pytest.mark.parametrize(
    ("rows", "ok", "says"),
    [
        (
            "NVIDIA H100 80GB HBM3, 81559, Disabled\nNVIDIA H100 80GB HBM3, 81559, Disabled",
            True,
            "2 x NVIDIA H100",
        ),
        ("NVIDIA RTX 4090, 24564, [N/A]", True, "1 x NVIDIA RTX 4090, 24 GiB"),
        ("NVIDIA GB10, [N/A], [N/A]", True, "1 x NVIDIA GB10, no memory of its own stated"),
        ("NVIDIA GH200, 480GB, 97871, Disabled", True, "1 x NVIDIA GH200, 480GB, 96 GiB"),
        ("evil\x1b[2J, 81559, Disabled", True, "1 x evil[2J, 80 GiB"),
        ("a row of one cell", False, "nvidia-smi shows none"),
        ("NVIDIA A100, 40960, Enabled", False, "split by MIG"),
        ("", False, "nvidia-smi shows none"),
    ],
)
def test_gpus_and_mig(tmp_path, rows, ok, says):
    check = gpu_checks.gpus(machine(tmp_path, nvidia_smi=rows))
    assert check.ok is ok
    assert says in check.found


def test_nvcc_is_looked_for_where_torch_looks(tmp_path):
    release = "Cuda compilation tools, release 13.0, V13.0.48"
    assert Machine(tmp_path, {"PATH": str(tmp_path)}).nvcc() == ""
    on_path = machine(tmp_path, nvcc=release)
    assert on_path.nvcc() == "13.0"
    assert gpu_checks.nvcc(on_path, "x").ok
    home = tmp_path / "cuda-12"
    write(home, "bin/nvcc", "#!/bin/sh\necho release 12.8,\n")
    (home / "bin/nvcc").chmod(0o755)
    older = Machine(tmp_path, {**on_path.environment, "CUDA_HOME": str(home)})
    assert older.nvcc() == "12.8"
    assert not gpu_checks.nvcc(older, "x").ok


def test_a_containers_limit_is_its_memory(tmp_path):
    write(tmp_path, "proc/meminfo", "MemTotal:       1048576000 kB\nMemAvailable:   524288000 kB\n")
    bare = Machine(tmp_path, {})
    assert bare.memory() == 1000
    assert bare.available_memory() == 500
    write(tmp_path, "sys/fs/cgroup/memory.max", "max\n")
    assert bare.memory() == 1000
    write(tmp_path, "sys/fs/cgroup/memory.max", str(128 * 2**30))
    assert bare.memory() == bare.available_memory() == 128
    assert 1 <= gpu_checks.jobs(bare) <= 14  # 9 GiB a compiler
    write(tmp_path, "sys/fs/cgroup/memory.max", str(2**30))
    assert gpu_checks.jobs(bare) == 1


def test_what_is_missing_has_a_remedy(tmp_path):
    bare = Machine(tmp_path, {"PATH": str(tmp_path)})
    found = [
        *gpu_checks.to_install(bare, tmp_path / "none/there", flash_attn=True),
        gpu_checks.ninja(bare),
        gpu_checks.shared_memory(bare),
        gpu_checks.host_memory(bare, 479, 244, "mine"),
    ]
    assert [check.name for check in found] == [
        "driver", "nvcc", "C and C++ compiler", "Python.h", "disk", "ninja", "/dev/shm", "host memory",
    ]  # fmt: skip
    for check in found:
        assert check.ok or check.remedy, check.name
        assert "\n" not in str(check)
    assert not any(check.ok for check in found if check.name != "disk")
    assert "nvcc" not in [check.name for check in gpu_checks.to_install(bare, tmp_path, flash_attn=False)]


@pytest.mark.parametrize(
    ("gib", "ok", "required"), [(500, True, False), (400, False, False), (200, False, True)]
)
def test_host_memory_is_compared_with_the_estimates_sum(tmp_path, gib, ok, required):
    """As `dipo doctor math_qwen3_8b` shows it: 479 GiB, of which 244 for what sleeps."""
    write(tmp_path, "proc/meminfo", f"MemTotal:       {gib * 2**20} kB\n")
    checks = environment.recipe_checks(machine(tmp_path), recipe(), Assumptions())
    (check,) = [each for each in checks if each.name == "host memory"]
    assert (check.ok, check.required) == (ok, required)
    assert check.found == f"{gib} GiB; 479 needed, 244 of them for what sleeps"


def recipe(**changes: object):
    settings = {key.replace("__", "."): Setting(value, "a test") for key, value in changes.items()}
    return load_recipe("math_qwen3_8b", settings)


def test_a_recipe_asks_for_what_it_needs(tmp_path):
    write(tmp_path, "proc/meminfo", "MemTotal:       134217728 kB\n")
    node = machine(tmp_path, nvidia_smi="NVIDIA H100 80GB HBM3, 81559, Disabled")
    checks = {check.name: check for check in environment.recipe_checks(node, recipe(), Assumptions())}
    assert checks["flash_attn"].required
    assert not checks["nvcc"].required
    assert not checks["host memory"].ok  # 8B: more than 128 GiB sleep on a host
    assert "the recipe counts on 8 a node" in str(checks["GPUs"])
    checks = {
        check.name: check
        for check in environment.recipe_checks(
            node,
            load_recipe("math_qwen3_8b+no_flash_attn", {"ds.adam_offload": Setting(True, "a test")}),
            Assumptions(),
        )
    }
    assert not checks["flash_attn"].required
    assert checks["nvcc"].required
    assert "ds.adam_offload" in checks["nvcc"].remedy


@pytest.mark.parametrize(
    "name",
    [name for name in recipe_names() if not name.startswith("quickstart") and "lora" not in name],
)
def test_every_recipe_can_do_without_flash_attn(name):
    assert environment.uses_flash_attn(load_recipe(name))
    without = load_recipe(f"{name}+no_flash_attn")
    assert not environment.uses_flash_attn(without)
    assert without.get("ds.attn_implementation") == "sdpa"


def test_a_gpu_run_in_the_cpu_environment_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"torch is the CPU build: run make gpu, then \.venv-gpu/bin/dipo"):
        environment.check_gpu_run(recipe(), machine(tmp_path))


def test_a_gpu_run_names_the_first_thing_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "is_cpu_build", lambda: False)
    write(tmp_path, "dev/nvidia0", "")
    with pytest.raises(
        UserError, match=r"run.device: gpu: driver: no driver answers: install NVIDIA driver 580"
    ):
        environment.check_gpu_run(recipe(), machine(tmp_path))
