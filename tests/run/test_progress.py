"""Following a driver: a failure that is written ends the run, whatever the driver itself waits for."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dipo_openrlhf.record.events import WARNING, write_event
from dipo_openrlhf.record.run_log import append_metrics
from dipo_openrlhf.run import progress


@pytest.fixture
def driver() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait(10)


def test_a_written_failure_ends_the_following_of_a_driver_that_waits(
    driver: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FAILED_GRACE", 1.0)
    write_event(tmp_path, "loading the model and the rollout engine")
    write_event(tmp_path, "failed", error="rollout engine 0 died", may_restart=True)
    started = time.monotonic()
    assert progress.show_progress(driver, tmp_path, 50, 50, verbose=False) is None
    assert 1.0 <= time.monotonic() - started < 20
    assert driver.poll() is None  # the caller ends it


def test_a_driver_that_says_nothing_is_told_from_one_that_failed(
    driver: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FAILED_GRACE", 0.0)
    write_event(tmp_path, "loading the model and the rollout engine")
    message = progress.show_progress(driver, tmp_path, 1.0, 50, verbose=False)
    assert message == "no progress for 1 s while loading the model and the rollout engine: the run was ended"


@pytest.mark.parametrize("earlier", [0, 3], ids=["a new run", "a resumed run"])
def test_the_first_step_has_the_time_of_a_start_and_of_a_step(
    driver: subprocess.Popen[bytes], tmp_path: Path, earlier: int
) -> None:
    for step in range(1, earlier + 1):
        append_metrics(tmp_path, step, {"policy_loss": 0.5})
    write_event(tmp_path, "loading the model and the rollout engine")
    write_event(tmp_path, "training", total_steps=9)
    message = progress.show_progress(driver, tmp_path, 1.0, 2.0, verbose=False)
    assert message == "no progress for 3 s while training: the run was ended"


def test_each_further_step_has_the_time_of_a_step(driver: subprocess.Popen[bytes], tmp_path: Path) -> None:
    write_event(tmp_path, "training", total_steps=9)
    shown = iter([0, 0, 1])

    def check() -> None:
        if next(shown, 0):
            append_metrics(tmp_path, 1, {"policy_loss": 0.5})

    message = progress.show_progress(driver, tmp_path, 500, 1.0, verbose=False, check=check)
    assert message == "no progress for 1 s while training: the run was ended"


def test_a_step_that_a_resumed_run_writes_again_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in range(1, 5):
        append_metrics(tmp_path, step, {"rollout/accuracy": 0.5})
    script = (
        "import sys; from pathlib import Path; from dipo_openrlhf.record.run_log import append_metrics\n"
        "for step in (3, 4, 5):\n    append_metrics(Path(sys.argv[1]), step, {'rollout/accuracy': 0.25})"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as process:
        assert progress.show_progress(process, tmp_path, 100, 50, verbose=False) is None
    shown = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert shown == [["step", str(step), "accuracy", "0.250"] for step in (3, 4, 5)]


def test_a_driver_that_ended_is_followed_no_longer(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        assert progress.show_progress(process, tmp_path, 50, 50, verbose=False) is None


def test_a_loss_that_is_no_number_is_said_once_at_its_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = [0.5, float("nan"), float("nan")]
    script = (
        "import sys, time; from pathlib import Path; from dipo_openrlhf.record.run_log import append_metrics\n"
        f"for step, loss in enumerate({[str(one) for one in losses]}, 1):\n"
        "    append_metrics(Path(sys.argv[1]), step, {'policy_loss': float(loss), 'dipo/threshold_ppl': float('nan')})"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as process:
        assert progress.show_progress(process, tmp_path, 100, 50, verbose=False) is None
    lines = capsys.readouterr().out.splitlines()
    (said,) = [line for line in lines if line.startswith("not a number: ")]
    assert said.startswith("not a number: policy_loss at step 2 (NaN): the model may be broken")
    assert [line.split()[1:] for line in lines if line.startswith("step ")] == [
        ["1"], ["2", "policy_loss", "NaN"], ["3", "policy_loss", "NaN"],
    ]  # fmt: skip


def test_a_warning_is_shown_and_is_no_stage(
    driver: subprocess.Popen[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_event(tmp_path, "loading the model and the rollout engine")
    write_event(tmp_path, WARNING, text="step 3: vllm_kl 0.1 is above 0.005")
    message = progress.show_progress(driver, tmp_path, 1.0, 50, verbose=False)
    assert message == "no progress for 1 s while loading the model and the rollout engine: the run was ended"
    assert capsys.readouterr().out.splitlines().count("step 3: vllm_kl 0.1 is above 0.005") == 1


def test_a_warning_does_not_act_on_the_terminal(
    driver: subprocess.Popen[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_event(tmp_path, WARNING, text="a response: \x1b]0;owned\x07\x1b[2J\u202e[bold]")
    progress.show_progress(driver, tmp_path, 0.1, 50, verbose=False)
    assert "a response: \\u001b]0;owned\\u0007\\u001b[2J\\u202e[bold]\n" in capsys.readouterr().out


def test_a_step_names_the_idle_share() -> None:
    row = {"rollout/accuracy": 0.5, "timing/step_total": 12.34, "gpu/idle_share": 0.347}
    assert progress.step_line(row) == "accuracy 0.500  12.3 s"  # of a CPU run, whose GPUs are simulated
    assert (
        progress.step_line({**row, "memory/update_peak_gib": 40.0}) == "accuracy 0.500  12.3 s  GPUs idle 35%"
    )


def test_a_log_moves_no_cursor() -> None:
    log = "\x1b[36m(actor pid=7)\x1b[0m step 1\r\n 10%\r 20%\n\x1b]0;title\x07\x1b[2Jé\t\u202e.\n"
    shown = "(actor pid=7) step 1\n 10%\n 20%\n\\u001b]0;title\\u0007\\u001b[2Jé\t\\u202e.\n"
    assert progress.shown_log(log) == shown
