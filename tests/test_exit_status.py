"""The command's exit status: 1 is only a command's own verdict, 2 any error, 130 an interruption."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from dipo_eval.errors import UserError
from dipo_openrlhf import cli

Ended = Callable[[BaseException | None], tuple[int, str]]
RAISING = """
import sys
from dipo_openrlhf import cli
@cli.app.command("raise")
def command():
    {body}
sys.argv = ["dipo", "raise"]
cli.main()
"""


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Ended]:
    """Runs main() with a command of this body; its exit status and standard error."""

    def run(body: BaseException | None) -> tuple[int, str]:
        def command() -> None:
            if body is not None:
                raise body

        app = typer.Typer(pretty_exceptions_enable=False)
        app.command()(command)
        monkeypatch.setattr(cli, "app", app)
        monkeypatch.setattr(sys, "argv", ["dipo"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("two\nlines"), RecursionError("deep"), MemoryError(), KeyError("missing"), AssertionError(),
        OSError(errno.ENOSPC, "No space left on device"), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_unexpected_error_is_one_line_and_2(ended: Ended, error: Exception) -> None:
    status, errors = ended(error)
    assert status == 2
    (line,) = errors.splitlines()
    assert line.startswith(f"error: {type(error).__name__}: ")
    assert line.endswith("; DIPO_TRACEBACK=1 shows where")


def test_the_traceback_is_there_for_those_who_ask(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPO_TRACEBACK", "1")
    status, errors = ended(KeyError("missing"))
    assert status == 2
    assert "Traceback (most recent call last)" in errors
    assert errors.splitlines()[-1] == "error: KeyError: 'missing'; DIPO_TRACEBACK=1 shows where"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (typer.Exit(1), 1), (typer.Exit(3), 3), (None, 0), (KeyboardInterrupt(), 130), (EOFError(), 2),
        (SystemExit(1), 2), (SystemExit(3), 3), (BrokenPipeError(errno.EPIPE, "gone"), 2), (typer.Abort(), 2),
        (UserError("interrupted; kept"), 130),
    ],
)  # fmt: skip
def test_1_is_only_a_commands_own_verdict(ended: Ended, error: BaseException | None, status: int) -> None:
    assert ended(error)[0] == status


def test_a_mistake_is_one_line_and_2(ended: Ended) -> None:
    assert ended(UserError("a.yaml: margin: fix it")) == (2, "error: a.yaml: margin: fix it\n")


def test_an_error_holds_nothing_that_acts_on_the_terminal(ended: Ended) -> None:
    said = "x\nerror: \x1b]0;owned\x07\x1b[2J\u202edone"
    expected = "error: the server says x\\nerror: \\u001b]0;owned\\u0007\\u001b[2J\\u202edone\n"
    assert ended(UserError(f"the server says {said}")) == (2, expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_an_interruption_is_130(number: signal.Signals) -> None:
    body = "import time; print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", RAISING.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(60) == 130


def test_a_gate_whose_reader_has_gone_still_ends_with_its_verdict(tmp_path: Path) -> None:
    """`dipo gate ... | head -1`: a closed pipe is no regression."""
    baselines = Path(__file__).parents[1] / "ci" / "baselines"
    name = "quickstart/global_step0"
    same = tmp_path / "results" / "candidate" / "global_step0"
    shutil.copytree(baselines / name, same)
    command = [
        sys.executable,
        "-m",
        "dipo_openrlhf.cli",
        "gate",
        "--results",
        str(same.parents[1]),
        "--candidate",
        "global_step0",
        "--baseline-results",
        str(baselines),
    ]
    report = tmp_path / "gate.json"
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*command, "--baseline", name, "--margin", "1e-9", "--json", str(report)],
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=120,
        )
    finally:
        os.close(write)
    assert '"verdict": "inconclusive"' in report.read_text()
    assert (done.returncode, done.stderr) == (3, b"")


def test_a_folder_that_was_deleted_is_one_line(tmp_path: Path) -> None:
    """torch's MKL ends a process that starts in one with "Cannot load libtorch_cpu.so"."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); from dipo_openrlhf import cli; cli.main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "recipes"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: the current folder has been deleted: change to another one\n"
