"""A container's share of the processor counts, not the machine's cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dipo_eval.workers.cores import one_for_two_cores, usable_cores

ALLOWED = len(os.sched_getaffinity(0))
CONTROLLER = Path("/sys/fs/cgroup/cpu")


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}),  # half a core is one
        (
            "0::/kubepods/burstable/pod1\n",
            {
                "sys/fs/cgroup/kubepods/cpu.max": "100000 100000\n",
                "sys/fs/cgroup/kubepods/burstable/pod1/cpu.max": "max 100000\n",
            },
        ),
        ("0::/../outside\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}),
        (
            "4:memory:/docker/a:b\n3:cpu,cpuacct:/docker/a:b\n",
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "20000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "20000\n",
            },
        ),
        (
            "1:cpu:/mine\n0::/\n",
            {
                "sys/fs/cgroup/cpu/mine/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu/mine/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
        ),
    ],
)
def test_a_limit_of_one_core_means_one(groups, files, tmp_path):
    assert usable_cores(machine(tmp_path, groups, files)) == 1


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", {}),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "6400000 100000\n"}),  # more than there are
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "\n"}),
        ("sandbox\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}),  # not as Linux writes it
        ("5:cpuset:/mine\n", {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "1\n"}),
    ],
)
def test_no_limit_leaves_the_cores_that_it_may_run_on(groups, files, tmp_path):
    assert usable_cores(machine(tmp_path, groups, files)) == ALLOWED


def test_a_system_that_says_nothing_has_no_limit(tmp_path):
    assert usable_cores(tmp_path) == ALLOWED


def test_workers_are_one_for_two_cores_within_bounds():
    assert one_for_two_cores(1, 1) == 1
    assert one_for_two_cores(ALLOWED, 2 * ALLOWED) == ALLOWED


@pytest.mark.skipif(ALLOWED < 2, reason="needs two cores")
@pytest.mark.skipif(not os.access(CONTROLLER / "cgroup.procs", os.W_OK), reason="needs a writable cgroup")
def test_a_real_group_of_the_kernel(tmp_path):
    group = CONTROLLER / f"dipo_test_{os.getpid()}"
    ask = "from dipo_eval.workers.cores import usable_cores; print(usable_cores())"
    join = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); "
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text("100000")
        done = subprocess.run(
            [sys.executable, "-c", join + ask], capture_output=True, text=True, timeout=60, check=True
        )
    finally:
        group.rmdir()
    assert done.stdout == "1\n"
