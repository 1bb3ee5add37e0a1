"""The `dipo` command. Heavy packages are imported inside the commands, so that --help is instant."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from dipo_eval.engines.device import set_process_env
from dipo_eval.errors import UserError, one_line
from dipo_eval.secrets.masking import mask_text

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """DiPO on OpenRLHF: train with verifiable rewards, evaluate every checkpoint, tell a gain from luck."""


_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command("train", context_settings=_PASS_THROUGH)
def train_command(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(help="A YAML file or a name of `dipo recipes`, with its variants: NAME+VARIANT.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact OpenRLHF command and stop.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the newest whole checkpoint of the run's folder.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show OpenRLHF's log as well.")] = False,
) -> None:
    """Train a recipe through OpenRLHF's own loop (Ray, vLLM, DeepSpeed).

    Any key of a recipe can be overridden as --section.key value; the keys are OpenRLHF's own, plus run.*, dipo.*
    and evaluate.*. Example:

        dipo train quickstart --actor.adam.lr 1e-5 --dipo.alpha 0.2 --run.dir runs/alpha02
    """
    from dipo_eval.secrets.file import load_secrets
    from dipo_openrlhf.recipe.load import load_recipe
    from dipo_openrlhf.recipe.yaml_lines import parse_overrides
    from dipo_openrlhf.run.supervisor import command_text, interrupted_message, plan_run, train

    load_secrets()
    loaded = load_recipe(recipe, parse_overrides(context.args))
    if dry_run:
        typer.echo(command_text(plan_run(loaded, resume)))
        return
    try:
        folder = train(loaded, resume=resume, verbose=verbose)
    except KeyboardInterrupt:
        raise UserError(interrupted_message(loaded)) from None
    typer.echo(f"trained: {folder}")


@app.command("quickstart", context_settings=_PASS_THROUGH)
def quickstart_command(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(help="tiny: a million parameters, made here. smollm2: SmolLM2-135M-Instruct on GSM8K."),
    ] = "tiny",
    run_dir: Annotated[
        Path | None,
        typer.Option(
            "--run-dir",
            help="Folder of the run. Default: the first free of runs/quickstart, runs/quickstart-2, ...",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps. Default: 20, smollm2: 5.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of prompts and training.")] = 42,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", envvar="DIPO_DATA_DIR", help="Folder of gsm8k_train.jsonl, gsm8k_test.jsonl."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted quickstart.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show OpenRLHF's log as well.")] = False,
) -> None:
    """Train a small model with DiPO on this machine, evaluate every checkpoint, write the board.

    The real loop: Ray, vLLM and DeepSpeed, on two CPU cores, in minutes. Any key of the recipe can be overridden as
    --section.key value. Example:

        dipo quickstart --steps 20 --dipo.group_space argmax
    """
    from dipo_openrlhf.quickstart.run import MODELS, QuickstartOptions, quickstart
    from dipo_openrlhf.recipe.yaml_lines import parse_overrides

    if model not in MODELS:
        raise UserError(f"--model {model!r}: choose one of {', '.join(MODELS)}")
    options = QuickstartOptions(model, run_dir, steps, seed, data_dir, resume, verbose)
    quickstart(options, parse_overrides(context.args))


def _watched_recipe(path: str) -> dict[str, Any]:
    """What `dipo watch RECIPE` takes from a recipe."""
    from dipo_openrlhf.run.watcher import watch_values_of

    return watch_values_of(path)


def _register() -> None:
    """Commands that live in files of their own; the evaluation package knows nothing of training."""
    from dipo_eval.board.cli import board_command
    from dipo_eval.cli import eval_command
    from dipo_eval.export.cli import export_command
    from dipo_eval.gate.cli import gate_command
    from dipo_eval.runner.regrade_cli import grade_command
    from dipo_eval.watch import cli as watch_cli
    from dipo_openrlhf.data.cli import data_command
    from dipo_openrlhf.estimate.cli import doctor_command, recipes_command
    from dipo_openrlhf.launchers import cli as submit_cli

    app.command("doctor", context_settings=_PASS_THROUGH)(doctor_command)
    app.command("recipes")(recipes_command)
    app.command("data")(data_command)
    app.command("eval")(eval_command)
    app.command("grade")(grade_command)
    app.command("board")(board_command)
    app.command("gate")(gate_command)
    app.command("export")(export_command)
    app.command("watch")(watch_cli.watch_command)
    app.command("submit", context_settings=submit_cli.PASS_THROUGH)(submit_cli.submit_command)
    watch_cli.read_recipe = _watched_recipe


_register()


def main() -> None:
    """Entry point: a UserError is one line and status 2, Ctrl-C is status 130.

    Status 1 is only ever what a command means to say (a regression, a changed verdict): an error that nobody foresaw is
    one line and status 2, with DIPO_TRACEBACK=1 and its traceback. SIGTERM, with which a cluster's scheduler ends a
    job, is taken as Ctrl-C: what was started is ended first.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    set_process_env()
    try:
        app()
    except UserError as error:
        _end(f"error: {error}", 130 if str(error).startswith("interrupted") else 2)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except SystemExit as end:
        # typer's own 1 (a closed pipe, no input) is none of a command's: that one comes from typer.Exit.
        if end.code == 1 and not isinstance(end.__context__, typer.Exit):
            sys.exit(2)
        raise
    except Exception as error:
        if os.environ.get("DIPO_TRACEBACK"):  # without what it may hold of this environment's keys
            typer.echo(mask_text(traceback.format_exc()), err=True, nl=False)
        _end(f"error: {one_line(error)}; DIPO_TRACEBACK=1 shows where", 2)


def _end(message: str, status: int) -> NoReturn:
    with contextlib.suppress(OSError):  # nobody listens any more
        typer.echo(message, err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
