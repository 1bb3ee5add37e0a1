"""The `dipo` command: a table of commands, each in the package it belongs to.

Heavy packages are imported inside the commands, so that --help is instant. A new command is one entry of COMMANDS.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import typer

from dipo_eval.board.cli import board_command
from dipo_eval.cli import eval_command
from dipo_eval.engines.device import set_process_env
from dipo_eval.errors import UserError, one_line
from dipo_eval.export.cli import export_command
from dipo_eval.gate.cli import gate_command
from dipo_eval.printable import visible
from dipo_eval.runner.regrade_cli import grade_command
from dipo_eval.secrets.masking import mask_text
from dipo_eval.watch import cli as watch_cli
from dipo_eval.workers.garbage import collect_seldom
from dipo_openrlhf.compare.cli import compare_command
from dipo_openrlhf.data.cli import data_command
from dipo_openrlhf.estimate.cli import doctor_command, recipes_command
from dipo_openrlhf.gpu_check.cli import check_gpu_command
from dipo_openrlhf.launchers.cli import submit_command
from dipo_openrlhf.quickstart.cli import quickstart_command
from dipo_openrlhf.rehearse.cli import rehearse_command
from dipo_openrlhf.run.cli import train_command, watched_recipe

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train_command,
    "quickstart": quickstart_command,
    "rehearse": rehearse_command,
    "doctor": doctor_command,
    "check-gpu": check_gpu_command,
    "recipes": recipes_command,
    "data": data_command,
    "eval": eval_command,
    "grade": grade_command,
    "board": board_command,
    "gate": gate_command,
    "export": export_command,
    "watch": watch_cli.watch_command,
    "submit": submit_command,
    "compare": compare_command,
}
"""A command with a parameter `context` also takes any key of a recipe as --section.key value, from context.args."""

LONGEST_MESSAGE = 2000  # characters of an error

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"dipo {version('dipo_openrlhf')}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Show the version and stop.", callback=_version, is_eager=True
    ),
) -> None:
    """DiPO on OpenRLHF: train with verifiable rewards, evaluate every checkpoint, tell a gain from luck."""


for _name, _command in COMMANDS.items():
    _more = "context" in inspect.signature(_command).parameters
    app.command(_name, context_settings={"allow_extra_args": _more, "ignore_unknown_options": _more})(
        _command
    )
watch_cli.read_recipe = watched_recipe


def main() -> None:
    """Entry point: a UserError is one line and status 2, Ctrl-C is status 130.

    Status 1 is reserved for a command's own verdict (a regression, a changed verdict): an unexpected error is one line
    and status 2, with DIPO_TRACEBACK=1 and its traceback. SIGTERM and SIGUSR1, with which a cluster's scheduler ends a
    job, are handled as Ctrl-C: what was started is ended first (run/stopping.py: a training is saved before).
    """
    collect_seldom()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.default_int_handler)
    set_process_env()
    try:
        os.getcwd()
    except FileNotFoundError:  # torch's MKL would end the process with a message of its own
        _end("error: the current folder has been deleted: change to another one", 2)
    try:
        app()
    except UserError as error:
        _end(f"error: {error}", 130 if str(error).startswith("interrupted") else 2)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except SystemExit as end:
        # Not typer's own 1 (a closed pipe, no input): a command's comes from typer.Exit.
        if end.code == 1 and not isinstance(end.__context__, typer.Exit):
            sys.exit(2)
        raise
    except Exception as error:
        if os.environ.get("DIPO_TRACEBACK"):  # without this environment's keys
            typer.echo(mask_text(traceback.format_exc()), err=True, nl=False)
        _end(f"error: {one_line(error)}; DIPO_TRACEBACK=1 shows where", 2)


def _end(message: str, status: int) -> NoReturn:
    """One line, in which nothing that a server, a model or a file has said can act on the terminal."""
    with contextlib.suppress(OSError):  # a closed pipe
        typer.echo(visible(message, LONGEST_MESSAGE), err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
