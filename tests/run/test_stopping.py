"""What signals do to a run that is followed: the first asks it to save, the second ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.record.stop_request import STOP, StopRequest, ask_to_stop, asked_to_stop, withdraw_stop
from dipo_openrlhf.run import progress
from dipo_openrlhf.run.stopping import NothingToWaitForError, StopNotice, pause


@pytest.fixture
def driver() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_the_first_signal_asks_and_the_second_interrupts(tmp_path, capsys, number):
    write_event(tmp_path, "training")
    before = signal.getsignal(number)
    with StopNotice(tmp_path, 600) as notice:
        notice.check()
        assert notice.request is None
        signal.raise_signal(number)
        notice.check()
        notice.check()
        assert asked_to_stop(tmp_path) == notice.request == StopRequest(number.name)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(number) is before
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        f"asked to stop ({number.name}): at most 600 s to end this step and save it; a second"
    )


@pytest.mark.parametrize(("stage", "save_before"), [("loading the model", 600), ("training", 0)])
def test_where_nothing_can_be_saved_it_ends_at_once(tmp_path, stage, save_before):
    write_event(tmp_path, stage)
    with StopNotice(tmp_path, save_before) as notice:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(NothingToWaitForError):
            notice.check()
    assert asked_to_stop(tmp_path) is None


def test_a_request_in_the_folder_is_followed_with_its_own_limit(tmp_path, capsys):
    write_event(tmp_path, "training")
    ask_to_stop(tmp_path, StopRequest("Ray drains 10.0.0.2", 40.0, may_restart=True))
    with StopNotice(tmp_path, 600) as notice:
        notice.check()
        assert notice.request is not None
        assert notice.request.may_restart
    assert "asked to stop (Ray drains 10.0.0.2): at most 40 s" in capsys.readouterr().out


def test_a_step_that_takes_too_long_is_given_up_in_one_line(tmp_path, driver, capsys):
    write_event(tmp_path, "training")
    ask_to_stop(tmp_path, StopRequest("SIGTERM", 0.1))
    with StopNotice(tmp_path, 600) as notice, pytest.raises(NothingToWaitForError):
        progress.show_progress(driver, tmp_path, 50, 50, verbose=False, check=notice.check)
    assert "the step and its checkpoint were not done in time: ending without them" in capsys.readouterr().out


def test_a_signal_that_was_not_passed_on_is_known(tmp_path):
    """The driver may die of what sent the signal: then the run is not restarted."""
    with StopNotice(tmp_path, 600) as notice:
        signal.raise_signal(signal.SIGTERM)
        assert notice.request == StopRequest("SIGTERM")


def test_a_request_that_cannot_be_written_ends_at_once(tmp_path, capsys):
    """As on a full disk: the trainer would never hear of it."""
    write_event(tmp_path, "training")
    (tmp_path / STOP).mkdir()
    with StopNotice(tmp_path, 600) as notice:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(NothingToWaitForError):
            notice.check()
        assert notice.request == StopRequest("SIGTERM")
    assert "the trainer cannot be told" in capsys.readouterr().out


def test_the_pause_before_a_restart_ends_where_the_run_is_asked_to_stop(tmp_path):
    pause(tmp_path, 0.0)
    ask_to_stop(tmp_path, StopRequest("maintenance"))
    with pytest.raises(KeyboardInterrupt):
        pause(tmp_path, 300.0)
    withdraw_stop(tmp_path)
    ask_to_stop(tmp_path, StopRequest("Ray drains 10.0.0.2", may_restart=True))
    pause(tmp_path, 0.0)  # the restart is what that one asked for
