"""A node with an NVIDIA device and nothing that belongs to it: every command says in one line what it needs, or works.

A mount namespace has a real device node, no driver, nvcc or ninja; a network namespace reaches no index. What stand-ins
of driver and compiler let through is installed from a folder of made-up wheels, by the real script.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NODE = Path(__file__).with_name("gpu_node.sh")
DIPO = [sys.executable, "-m", "dipo_openrlhf.cli"]


def on_node(*command: str, limit: float = 300, **environment: str) -> tuple[int, str]:
    """(exit status, output) of a command there."""
    done = subprocess.run(
        ["unshare", "-m", "-n", "bash", str(NODE), *command],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'eval'}", "COLUMNS": "200", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit, cwd=ROOT, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    """Skips where this user may make none, as in most containers."""
    if on_node("test", "-c", "/dev/nvidia0")[0] != 0:
        pytest.skip("needs root and mount namespaces")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for stand-ins of the programs of a driver and of CUDA."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def driver_580(folder: Path) -> None:
    program(
        folder,
        "nvidia-smi",
        'case "$1" in *driver_version*) echo 580.65.06 ;; *) echo "NVIDIA H100 80GB HBM3, 81559, Disabled" ;; esac',
    )
    program(folder, "nvcc", 'echo "Cuda compilation tools, release 13.0, V13.0.48"')


def test_make_gpu_names_everything_that_is_missing_and_installs_nothing(tmp_path):
    venv = tmp_path / "gpu"
    status, output = on_node("make", "gpu", f"GPU_VENV={venv}", f"PYTHON={sys.executable}")
    lines = output.splitlines()
    assert status == 2
    assert [
        line
        for line in lines
        if line.startswith("missing: driver: no driver answers: install NVIDIA driver 580")
    ]
    assert [
        line for line in lines if line.startswith("missing: nvcc: not found: install the CUDA 13 toolkit")
    ]
    assert "error: nothing was installed: see the lines above" in lines
    assert not venv.exists()


def test_an_old_driver_is_named_with_its_version(tmp_path, tools):
    program(tools, "nvidia-smi", "echo 550.54.15")
    path = f"{tools}:/usr/bin:/bin"
    arguments = ("make", "gpu", f"GPU_VENV={tmp_path / 'gpu'}", f"PYTHON={sys.executable}")
    status, output = on_node(*arguments, NODE_PATH=path, DIPO_FLASH_ATTN="no")
    assert status == 2
    assert "missing: driver: 550.54.15: install NVIDIA driver 580 or newer, which CUDA 13 needs" in output
    assert "nvcc" not in output  # which nothing compiles then


def test_doctor_shows_each_with_a_remedy_and_the_cpu_environment_is_ready():
    status, output = on_node(*DIPO, "doctor")
    assert status == 0, output
    assert "for this machine's GPUs: make gpu" in output
    for text in (
        "no driver answers",
        "nvidia-smi must be on PATH",
        "the CPU build",
        "install the CUDA 13 toolkit",
    ):
        assert text in output, text
    assert "ninja is beside it" not in output  # the command has put its environment's programs on PATH
    status, output = on_node(*DIPO, "doctor", "--json")
    found = json.loads(output)
    assert (status, found["ready"], found["device"]) == (0, True, "cpu")
    checks = {check["name"]: check for check in found["gpu"]}
    assert not checks["driver"]["ok"]
    assert checks["ninja"]["ok"]
    assert checks["flash_attn"] == {
        "name": "flash_attn", "ok": False, "found": "not installed", "required": False,
        "remedy": "run make gpu, or train RECIPE+no_flash_attn (docs/gpu.md)",
    }  # fmt: skip


def test_doctor_of_a_gpu_recipe_fails_there_and_says_why():
    status, output = on_node(*DIPO, "doctor", "math_qwen3_4b", "--prompts", "1000")
    assert status == 1
    assert "no driver answers" in output
    assert "of them for what sleeps" in output  # host memory against the estimate


def test_train_takes_the_cpu_environment_to_the_cpu(tmp_path):
    """`run.device: auto` was GPU wherever a device node is: "vllm.num_engines: None: rollouts need at least one"."""
    (tmp_path / "prompts.jsonl").write_text('{"input": "1+1=", "label": "2"}\n')
    (tmp_path / "mine.yaml").write_text(
        f"actor.model_name_or_path: Qwen/Qwen3-0.6B\ndata.prompt_dataset: {tmp_path}/prompts.jsonl\n"
        "rollout: {batch_size: 4, n_samples_per_prompt: 4}\ntrain: {batch_size: 16, micro_batch_size: 4}\n"
    )
    status, output = on_node(*DIPO, "train", str(tmp_path / "mine.yaml"), "--dry-run")
    assert status == 0, output
    assert "--vllm.num_engines 1" in output
    assert "DIPO_CPU=1" in output


def test_train_on_gpus_says_what_is_missing_in_one_line():
    status, output = on_node(*DIPO, "train", "math_qwen3_4b")
    assert status == 2
    assert output.strip() == (
        "error: run.device: gpu: this environment's torch is the CPU build: run make gpu, then .venv-gpu/bin/dipo, "
        "or set run.device: cpu"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_make_quickstart_works_there(tmp_path):
    """The installed environment is taken as it is (make -o): no index is reachable."""
    stamp = Path(sys.prefix, ".installed-cpu")
    status, output = on_node(
        "make", "-o", str(stamp), "quickstart", f"VENV={sys.prefix}", f"ARGS=--steps 2 --run-dir {tmp_path / 'run'}",
        limit=840,
    )  # fmt: skip
    assert status == 0, output
    assert "board: " in output
    assert not list(
        (tmp_path / "run/torch_extensions").rglob("*.so")
    )  # nothing was compiled for the optimizer


def made_up_wheel(folder: Path, name: str, version: str, files: dict[str, str] | None = None) -> None:
    """A wheel that is installed like any other and holds `files`."""
    name = name.replace("-", "_").replace(".", "_")
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {
            **(files or {}),
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }.items():
            wheel.writestr(path, text)


def real_wheel(folder: Path, name: str) -> None:
    """The installed package as a wheel again."""
    found = importlib.metadata.distribution(name)
    with zipfile.ZipFile(folder / f"{name}-{found.version}-py3-none-any.whl", "w") as wheel:
        for path in found.files or []:
            if ".." not in path.parts and "__pycache__" not in path.parts:
                wheel.write(path.locate(), str(path))


# What flash-attn's own build imports; it records what it was built with.
SETUP = """
import os, sys, psutil, torch, ninja, packaging
from setuptools import setup
import wheel
with open(os.environ["BUILD_LOG"], "w") as log:
    on_path = os.path.dirname(sys.executable) in os.environ["PATH"].split(":")
    log.write(f"{torch.VERSION} {os.environ['MAX_JOBS']} {on_path}")
setup(name="flash_attn", version="2.8.3", py_modules=["flash_attn"])
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as requirements/wheels.sh fills it: the lock, flash-attn as source; what its build uses is real."""
    folder = tmp_path_factory.mktemp("wheels")
    for line in (ROOT / "requirements/gpu.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        if line.startswith("#") or name in ("flash-attn", "setuptools", "packaging"):
            continue
        modules = ("torch", "psutil", "ninja", "vllm", "openrlhf")
        files = {f"{name}.py": f"VERSION = {version.lstrip('=')!r}\n"} if name in modules else {}
        made_up_wheel(folder, name, version.lstrip("="), files)
    for name in ("setuptools", "packaging"):
        real_wheel(folder, name)
    source = tmp_path_factory.mktemp("source") / "flash_attn-2.8.3"
    source.mkdir()
    (source / "setup.py").write_text(SETUP)
    (source / "flash_attn.py").write_text("")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: flash_attn\nVersion: 2.8.3\n")
    with tarfile.open(folder / "flash_attn-2.8.3.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    return folder


def gpu_venv(folder: Path) -> Path:
    """An environment with the installer, which is no part of what is tested."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    shutil.copy(Path(sys.prefix, "bin/uv"), folder / "bin/uv")
    return folder


def test_make_gpu_installs_from_a_wheel_folder_flash_attn_last_and_against_its_torch(tmp_path, tools, wheels):
    driver_580(tools)
    venv, log = gpu_venv(tmp_path / "gpu"), tmp_path / "built"
    given = {"NODE_PATH": f"{tools}:/usr/bin:/bin", "DIPO_WHEELS": str(wheels), "BUILD_LOG": str(log)}
    make = ("make", "gpu", f"GPU_VENV={venv}", f"PYTHON={Path(sys.prefix, 'bin/python')}")
    status, output = on_node(*make, **given, MAX_JOBS="3")
    assert status == 0, output
    assert log.read_text() == "2.13.0 3 True"
    (site,) = venv.glob("lib/python3*/site-packages")
    assert {"flash_attn.py", "vllm.py", "openrlhf.py", "torch.py"} <= {path.name for path in site.iterdir()}
    assert (venv / ".installed-gpu").is_file()
    # The CPU environment is not put over it.
    status, output = on_node("make", "setup", f"VENV={venv}", f"PYTHON={sys.executable}", **given)
    assert status == 2
    assert f"error: {venv} holds the gpu environment: name another folder" in output
