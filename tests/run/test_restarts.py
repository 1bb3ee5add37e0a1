"""Which failures are restarted, from where and how often."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.openrlhf_patch.failures import may_restart
from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.run.supervisor import RunFailedError, extensions_folder, failure_of, with_restarts


class Attempts:
    """A run with these failures, which saves a checkpoint before each but the first `unsaved` ones."""

    def __init__(self, failures: list[Exception], unsaved: int = 0) -> None:
        self.failures = failures
        self.unsaved = unsaved
        self.resumed: list[bool] = []
        self.lines: list[str] = []
        self.pauses: list[float] = []

    def run(self, resume: bool) -> Path:
        self.resumed.append(resume)
        if len(self.resumed) <= len(self.failures):
            raise self.failures[len(self.resumed) - 1]
        return Path("run")

    def step(self) -> int | None:
        return None if len(self.resumed) <= self.unsaved else 4 * len(self.resumed)

    def go(self, max_restarts: int) -> Path:
        return with_restarts(
            self.run,
            resume=False,
            max_restarts=max_restarts,
            resumable=self.step,
            log=self.lines.append,
            pause=self.pauses.append,
        )


def test_continues_from_the_newest_checkpoint_until_it_succeeds():
    subject = Attempts([RunFailedError("engine died", True), RunFailedError("node died", True)])
    assert subject.go(3) == Path("run")
    assert subject.resumed == [False, True, True]
    assert subject.lines == [
        "restart 1 of 3 from step 4 in 10 s: engine died",
        "restart 2 of 3 from step 8 in 20 s: node died",
    ]


def test_starts_again_where_nothing_was_saved():
    subject = Attempts([RunFailedError("engine died", True)], unsaved=1)
    subject.go(1)
    assert subject.resumed == [False, False]
    assert subject.lines == ["restart 1 of 1 from the beginning in 10 s: engine died"]


def test_each_restart_waits_longer_than_the_one_before_up_to_a_limit():
    subject = Attempts([RunFailedError("node died", True)] * 7)
    subject.go(7)
    assert subject.pauses == [10, 20, 40, 80, 160, 300, 300]


@pytest.mark.parametrize("restarts", [0, 1, 2])
def test_gives_up_after_so_many(restarts):
    subject = Attempts([RunFailedError(f"failure {n}", True) for n in range(9)])
    with pytest.raises(RunFailedError, match=f"failure {restarts}"):
        subject.go(restarts)
    assert len(subject.resumed) == restarts + 1


@pytest.mark.parametrize(
    "error", [RunFailedError("the disk is full", False), UserError("a key"), KeyboardInterrupt()]
)
def test_what_would_fail_again_is_not_restarted(error):
    subject = Attempts([error])
    with pytest.raises(type(error)):
        subject.go(5)
    assert subject.resumed == [False]


def test_a_failure_is_the_one_that_the_driver_wrote(tmp_path):
    write_event(tmp_path, "failed", error="ActorDiedError: gone", may_restart=True)
    failure = failure_of(tmp_path, 1)
    assert str(failure).startswith("ActorDiedError: gone (log: ")
    assert failure.may_restart


def test_a_killed_driver_writes_nothing_and_is_restarted(tmp_path):
    failure = failure_of(tmp_path, -9)
    assert "ended with signal 9 and left no message" in str(failure)
    assert failure.may_restart


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (RuntimeError("worker died"), True),
        (OSError("[Errno 28] No space left on device"), False),
        (RuntimeError("CUDA out of memory"), False),
        (UserError("a mistake"), False),
        (SystemExit(2), False),
    ],
)
def test_only_faults_may_be_restarted(error, again):
    assert may_restart(error) is again


def test_the_lock_of_a_build_that_was_killed_does_not_hang_the_restart(tmp_path: Path) -> None:
    """torch waits for ever for the file (torch/utils/file_baton.py, FileBaton.wait)."""
    built = tmp_path / "torch_extensions/py311_cpu/cpu_adam"
    built.mkdir(parents=True)
    for name in ("lock", "cpu_adam.so"):
        (built / name).touch()
    assert extensions_folder(tmp_path) == tmp_path / "torch_extensions"
    assert [path.name for path in built.iterdir()] == ["cpu_adam.so"]
