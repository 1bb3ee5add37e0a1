"""`dipo watch`: evaluate the checkpoints of a training as they appear, from the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from dipo_eval.errors import UserError

# Reads a recipe: its path -> values of the options below. Set by the package that knows recipes.
read_recipe: Callable[[str], dict[str, Any]] | None = None


def _set(text: str, *names: str, **limits: Any) -> typer.models.OptionInfo:
    return typer.Option(*names, help=text, show_default=False, **limits)


# An option that is None was not given: then the recipe's value counts, else the default of WatchOptions or EvalOptions.
def watch_command(
    target: Annotated[
        str, typer.Argument(help="A training's checkpoint folder, its run folder, or its recipe.")
    ],
    suites: Annotated[str | None, _set("Suites, separated by commas.")] = None,
    results: Annotated[Path | None, _set("Folder of the results. Default: results.")] = None,
    run: Annotated[
        str | None, _set("Name of the run in the results. Default: the training's folder.")
    ] = None,
    start_model: Annotated[
        str | None, _set("Also evaluate the starting model, a folder or hub name, as step 0.")
    ] = None,
    once: Annotated[bool, _set("End when all that is there is evaluated.", "--once")] = False,
    until_done: Annotated[
        bool, _set("End once training has ended and all is evaluated.", "--until-done")
    ] = False,
    every: Annotated[
        int | None, _set("Every N-th checkpoint, and always the last. Default: 1.", min=1)
    ] = None,
    order: Annotated[str | None, _set("oldest (default) or newest: which of a backlog comes first.")] = None,
    best: Annotated[
        str | None, _set("SUITE or SUITE:METRIC that marks the best. Default: the first suite.")
    ] = None,
    engine: Annotated[str | None, _set("What generates, as in dipo eval. Default: vllm.")] = None,
    samples: Annotated[int | None, _set("Samples a problem. Default: 1.", min=1)] = None,
    limit: Annotated[int | None, _set("At most so many problems a suite.", min=1)] = None,
    temperature: Annotated[float | None, _set("Default: 0, greedy.", min=0.0)] = None,
    top_p: Annotated[float | None, _set("Nucleus sampling. Default: 1.")] = None,
    max_new_tokens: Annotated[int | None, _set("Tokens of one response. Default: 1024.", min=1)] = None,
    max_model_len: Annotated[
        int | None, _set("Tokens of prompt and response. Default: what is needed.", min=2)
    ] = None,
    dtype: Annotated[str | None, _set("As in dipo eval. Default: auto.")] = None,
    seed: Annotated[int | None, _set("Fixes sampling, --limit and generated suites.")] = None,
    data_dir: Annotated[Path | None, _set("Folder of the suites' files.", envvar="DIPO_DATA_DIR")] = None,
    deadline: Annotated[
        float | None,
        _set("Seconds without a finished response after which an evaluation is ended. Default: 7200.", min=1),
    ] = None,
    attempts: Annotated[int | None, _set("Attempts at a failing checkpoint. Default: 2.", min=1)] = None,
    stale_after: Annotated[
        float | None, _set("Seconds without a heartbeat before a lease is taken over. Default: 60.", min=0.5)
    ] = None,
    idle_timeout: Annotated[
        float | None, _set("End after this many seconds without a new checkpoint. Default: never.", min=0)
    ] = None,
    wandb: Annotated[str | None, _set("wandb project to log to.")] = None,
    wandb_id: Annotated[str | None, _set("wandb run to continue.")] = None,
    wandb_group: Annotated[str | None, _set("wandb group.")] = None,
    wandb_entity: Annotated[str | None, _set("wandb team.")] = None,
    tensorboard: Annotated[Path | None, _set("Folder for TensorBoard.")] = None,
    nice: Annotated[int, _set("Niceness, 0 to 19. Default: 0.", min=0, max=19)] = 0,
    with_parent: Annotated[
        bool, _set("End when standard input is closed.", "--with-parent", hidden=True)
    ] = False,
) -> None:
    """Evaluate every checkpoint of a training once it is complete, beside the training or after it.

    Each is evaluated once, however many watchers run on the same storage, in a process of its own. Example:

        dipo watch runs/quickstart/ckpt --suites arithmetic-control --results runs/quickstart/results --once

    Exit status: 0; 1 where a checkpoint was given up; 2 for a mistake; 130 when interrupted.
    """
    given = {key: value for key, value in locals().items() if value is not None and value is not False}
    from dipo_eval.files.processes import end_with_parent
    from dipo_eval.watch.loop import watch
    from dipo_eval.watch.options import watch_options

    options = watch_options(target, given, read_recipe)
    if with_parent:
        end_with_parent()
    os.nice(nice)
    try:
        summary = watch(options, typer.echo)
    except KeyboardInterrupt:
        raise UserError("interrupted; the lease is released and what was evaluated is kept") from None
    except OSError as error:
        raise UserError(f"{error.filename or options.ckpt_path}: {error.strerror or error}") from None
    given_up = f", given up: {', '.join(summary.given_up)}" if summary.given_up else ""
    typer.echo(f"{len(summary.evaluated)} evaluated{given_up}")
    raise typer.Exit(1 if summary.given_up else 0)
