"""Which failures are tried again, from where and how often."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.openrlhf_patch.failures import may_restart
from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.run.restarts import RunFailedError, failure_of, with_restarts


class Attempts:
    """A run that fails as told, and saves a checkpoint before each failure but the first `unsaved` ones."""

    def __init__(self, failures: list[Exception], unsaved: int = 0) -> None:
        self.failures = failures
        self.unsaved = unsaved
        self.resumed: list[bool] = []
        self.lines: list[str] = []

    def run(self, resume: bool) -> Path:
        self.resumed.append(resume)
        if len(self.resumed) <= len(self.failures):
            raise self.failures[len(self.resumed) - 1]
        return Path("run")

    def step(self) -> int | None:
        return None if len(self.resumed) <= self.unsaved else 4 * len(self.resumed)

    def go(self, most: int) -> Path:
        return with_restarts(
            self.run, resume=False, most=most, resumable=self.step, say=self.lines.append
        )  # fmt: skip


def test_goes_on_from_the_newest_checkpoint_until_it_is_through():
    subject = Attempts([RunFailedError("engine died", True), RunFailedError("node died", True)])
    assert subject.go(3) == Path("run")
    assert subject.resumed == [False, True, True]
    assert subject.lines == [
        "restart 1 of 3 from step 4: engine died",
        "restart 2 of 3 from step 8: node died",
    ]


def test_begins_anew_where_nothing_was_saved():
    subject = Attempts([RunFailedError("engine died", True)], unsaved=1)
    subject.go(1)
    assert subject.resumed == [False, False]
    assert subject.lines == ["restart 1 of 1 from the beginning: engine died"]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_gives_up_after_so_many(most):
    subject = Attempts([RunFailedError(f"failure {n}", True) for n in range(9)])
    with pytest.raises(RunFailedError, match=f"failure {most}"):
        subject.go(most)
    assert len(subject.resumed) == most + 1


@pytest.mark.parametrize(
    "error", [RunFailedError("the disk is full", False), UserError("a key"), KeyboardInterrupt()]
)
def test_what_would_fail_again_is_not_tried_again(error):
    subject = Attempts([error])
    with pytest.raises(type(error)):
        subject.go(5)
    assert subject.resumed == [False]


def test_a_failure_says_what_the_driver_said(tmp_path):
    write_event(tmp_path, "failed", error="ActorDiedError: gone", may_restart=True)
    failure = failure_of(tmp_path, 1)
    assert str(failure).startswith("ActorDiedError: gone (log: ")
    assert failure.may_restart


def test_a_killed_driver_says_nothing_and_is_restarted(tmp_path):
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
