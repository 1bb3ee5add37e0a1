"""One owner at a time: races between processes, a dead owner, a paused owner, and no trust in any clock."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dipo_eval.files import lease as leases
from dipo_eval.files.atomic import create_once
from dipo_eval.files.lease import BEATS, LeaseObserver, acquire, heartbeat, is_held, tail
from dipo_eval.files.processes import is_gone, process_identity

# Takes and releases the lease over and over; with the lease it adds one to a counter, which is safe only alone.
_RACER = """
import sys, time
from pathlib import Path
from dipo_eval.files.lease import LeaseObserver, acquire
base, counter, wanted = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
observer, got = LeaseObserver(), 0
while got < wanted:
    lease = acquire(base, observer, 60.0)
    if lease is None:
        continue
    value = int(counter.read_text())
    time.sleep(0.0005)
    counter.write_text(str(value + 1))
    lease.release()
    got += 1
"""

_HOLDER = """
import sys, time
from pathlib import Path
from dipo_eval.files.lease import LeaseObserver, acquire
assert acquire(Path(sys.argv[1]), LeaseObserver(), 60.0)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "EVALUATING"


def test_held_by_one_until_released(base: Path) -> None:
    first = acquire(base, LeaseObserver())
    assert first is not None
    assert acquire(base, LeaseObserver()) is None
    assert tail(base).holder.endswith(f"process {os.getpid()}")
    first.release()
    second = acquire(base, LeaseObserver())
    assert second is not None
    assert second.path.name == "EVALUATING.1"
    # A late release of the first writes to its own file alone.
    first.release()
    assert acquire(base, LeaseObserver()) is None
    assert not list(base.parent.glob("*.tmp"))


def test_processes_that_race_are_never_in_together(base: Path, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    arguments = [sys.executable, "-c", _RACER, str(base), str(counter), "40"]
    racers = [subprocess.Popen(arguments) for _ in range(4)]
    assert [racer.wait(60) for racer in racers] == [0] * 4
    assert counter.read_text() == "160"


@pytest.mark.parametrize("links", [True, False], ids=["links", "no_links"])
def test_one_of_many_wins(base: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """Also where the file system has no hard links."""
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    won = [create_once(base, b"x" * 512) for _ in range(3)]
    assert won == [True, False, False]
    assert base.read_bytes() == b"x" * 512


def test_a_killed_owner_is_succeeded_at_once_on_the_same_machine(base: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(base)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert acquire(base, LeaseObserver()) is None
    holder.kill()
    holder.wait()
    assert acquire(base, LeaseObserver()) is not None


@pytest.fixture
def on_another_host(base: Path, monkeypatch: pytest.MonkeyPatch) -> leases.Lease:
    """A lease whose owner cannot be looked up here."""
    with monkeypatch.context() as patch:
        patch.setattr(leases, "process_identity", lambda pid: "another-boot/pid:[1]/1/1")
        lease = acquire(base, LeaseObserver())
    assert lease is not None
    return lease


@pytest.mark.usefixtures("on_another_host")
def test_a_lease_is_stale_only_after_it_was_seen_unchanged(base: Path) -> None:
    """The file's own time says nothing: a clock that is a year off changes nothing."""
    os.utime(tail(base).path, (0, 0))
    observer = LeaseObserver()
    assert acquire(base, observer, 0.3) is None
    time.sleep(0.2)
    assert acquire(base, observer, 0.3) is None
    time.sleep(0.2)
    assert acquire(base, LeaseObserver(), 0.3) is None  # another observer has to look for as long itself
    assert acquire(base, observer, 0.3) is not None


def test_beats_keep_a_lease(base: Path, on_another_host: leases.Lease) -> None:
    observer = LeaseObserver()
    lost: list[bool] = []
    with heartbeat(on_another_host, BEATS * 0.05, lambda: lost.append(True)):
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert is_held(tail(base), observer, 0.5)
            time.sleep(0.02)
    assert lost == []


def test_a_paused_owner_learns_that_it_was_succeeded(base: Path, on_another_host: leases.Lease) -> None:
    observer = LeaseObserver()
    assert acquire(base, observer, 0.1) is None
    time.sleep(0.15)
    successor = acquire(base, observer, 0.1)
    assert successor is not None
    lost: list[bool] = []
    with heartbeat(on_another_host, BEATS * 0.02, lambda: lost.append(True)):
        time.sleep(0.2)
    assert lost == [True]
    assert successor.beat()


def test_an_owner_cut_off_from_the_storage_gives_up(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = acquire(base, LeaseObserver(), stale_after=0.1)
    assert lease is not None

    def unavailable(*_: object) -> None:
        raise OSError(errno.EIO, "storage is away")

    monkeypatch.setattr(os, "pwrite", unavailable)
    assert lease.beat()
    time.sleep(0.15)
    assert not lease.beat()


def test_a_lease_goes_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "global_step1_hf"
    folder.mkdir()
    lease = acquire(folder / "EVALUATING", LeaseObserver())
    assert lease is not None
    tail(folder / "EVALUATING").path.unlink()
    folder.rmdir()
    assert not lease.beat()
    lease.release()
    with pytest.raises(FileNotFoundError):
        acquire(folder / "EVALUATING", LeaseObserver())


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff" * 40], ids=["empty", "half", "list", "noise"])
def test_a_lease_that_cannot_be_read_is_held_until_it_is_stale(base: Path, content: bytes) -> None:
    base.with_name("EVALUATING.0").write_bytes(content)
    observer = LeaseObserver()
    assert acquire(base, observer, 0.1) is None
    time.sleep(0.15)
    assert acquire(base, observer, 0.1) is not None


def test_only_a_process_of_this_machine_can_be_known_to_be_gone() -> None:
    mine = process_identity(os.getpid())
    boot, namespace, pid, started = mine.split("/")
    assert not is_gone(mine)
    assert is_gone("/".join([boot, namespace, pid, str(int(started) + 1)]))
    assert not is_gone("/".join(["other", namespace, pid, "1"]))
    assert not is_gone("/".join([boot, "pid:[1]", pid, "1"]))
    assert not is_gone("")


def test_storage_that_is_away_for_a_moment_does_not_end_the_heartbeat(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = acquire(base, LeaseObserver())
    assert lease is not None

    def stale(path: Path) -> bool:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as away:
        away.setattr(Path, "exists", stale)
        assert lease.beat()
    assert lease.beat()


def test_what_a_lease_says_of_its_owner_is_shown_harmless(base: Path) -> None:
    content = {"host": "\x1b[2Jerror: fake", "pid": "x" * 10_000, "note": "\x1b[2J" * 1000}
    (base.parent / "EVALUATING.0").write_text(json.dumps(content))
    found = tail(base)
    assert "\x1b" not in found.holder + found.note
    assert len(found.holder + found.note) < 2000
