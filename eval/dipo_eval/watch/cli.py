"""`dipo watch`: evaluate the checkpoints of a training as they appear, from the command line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from dipo_eval.errors import UserError
from dipo_eval.files.lease import STALE_AFTER
from dipo_eval.results.store import safe_name
from dipo_eval.subject.checkpoints import default_run
from dipo_eval.watch.backlog import ORDERS
from dipo_eval.watch.best import BestRule
from dipo_eval.watch.loop import Summary, WatchOptions, watch
from dipo_eval.watch.parent import end_with_parent
from dipo_eval.watch.plan import EvalOptions, make_plan
from dipo_eval.watch.tracking import Trackers

# Reads a recipe: its path -> values of the options below. Set by the package that knows recipes.
read_recipe: Callable[[str], dict[str, Any]] | None = None

DEFAULTS: dict[str, Any] = {
    "results": "results", "engine": "vllm", "samples": 1, "temperature": 0.0, "top_p": 1.0,
    "max_new_tokens": 1024, "dtype": "auto", "seed": 0, "every": 1, "order": "oldest", "idle_timeout": 0.0,
    "deadline": 7200.0, "attempts": 2, "stale_after": STALE_AFTER, "nice": 0,
}  # fmt: skip


def watch_command(
    target: Annotated[
        str,
        typer.Argument(
            help="A training's checkpoint folder, its run folder, or its recipe.", show_default=False
        ),
    ],
    suites: Annotated[
        str | None, typer.Option(help="Suites, separated by commas.", show_default=False)
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Folder of the results. Default: results.")] = None,
    run: Annotated[
        str | None, typer.Option(help="Name of the run in the results. Default: the training's folder.")
    ] = None,
    start_model: Annotated[
        Path | None, typer.Option(help="Also evaluate the model that the training started from, as step 0.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when all that is there is evaluated.")] = False,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="End when the training has ended and all is evaluated.")
    ] = False,
    every: Annotated[
        int | None, typer.Option(min=1, help="Every N-th checkpoint, and always the last. Default: 1.")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="oldest (default) or newest: which of a backlog comes first.")
    ] = None,
    best: Annotated[
        str | None,
        typer.Option(help="SUITE or SUITE:METRIC that marks the best. Default: first suite, accuracy."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="What generates, as in dipo eval. Default: vllm.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Samples a problem. Default: 1.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many problems a suite.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Default: 0, greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling. Default: 1.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of one response. Default: 1024.")
    ] = None,
    max_model_len: Annotated[
        int | None, typer.Option(min=2, help="Tokens of prompt and response. Default: what is needed.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="As in dipo eval. Default: auto.")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes sampling, --limit and generated suites.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(envvar="DIPO_DATA_DIR", help="Folder of the suites' JSON-lines files.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(min=1, help="Seconds for one checkpoint. Default: 7200.")
    ] = None,
    attempts: Annotated[
        int | None, typer.Option(min=1, help="Attempts at a checkpoint that fails. Default: 2.")
    ] = None,
    stale_after: Annotated[
        float | None,
        typer.Option(min=0.5, help="Seconds without a beat after which a lease is taken over. Default: 60."),
    ] = None,
    idle_timeout: Annotated[
        float | None,
        typer.Option(min=0, help="End when nothing was new for so many seconds. Default: never."),
    ] = None,
    wandb: Annotated[str | None, typer.Option(help="wandb project to log to.", show_default=False)] = None,
    wandb_id: Annotated[str | None, typer.Option(help="wandb run to go on in.", show_default=False)] = None,
    wandb_group: Annotated[str | None, typer.Option(help="wandb group.", show_default=False)] = None,
    wandb_entity: Annotated[str | None, typer.Option(help="wandb team.", show_default=False)] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard.", show_default=False)
    ] = None,
    nice: Annotated[int | None, typer.Option(min=0, max=19, help="Give way to others by so much.")] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="End when standard input is closed.")
    ] = False,
) -> None:
    """Evaluate every checkpoint of a training once it is whole, beside the training or after it.

    Each is evaluated once, however many watchers run on the same storage, in a process of its own. Example:

        dipo watch runs/quickstart/ckpt --suites arithmetic-control --results runs/quickstart/results --once

    Exit status: 0; 1 where a checkpoint was given up; 2 for a mistake; 130 when interrupted.
    """
    given = dict(locals())
    options = _options(
        target, {key: value for key, value in given.items() if value is not None and value is not False}
    )
    if with_parent:
        end_with_parent()
    os.nice(nice or 0)
    summary = _run(options)
    typer.echo(_closing_line(summary))
    raise typer.Exit(1 if summary.given_up else 0)


def _options(target: str, given: dict[str, Any]) -> WatchOptions:
    """From the command line, then the recipe, then the defaults. Raises UserError."""
    folder = Path(target).expanduser()
    values = dict(DEFAULTS)
    if not folder.is_dir():
        values |= _from_recipe(target)
        folder = Path(values["ckpt_path"])
        folder.mkdir(parents=True, exist_ok=True)
    elif not any(folder.glob("global_step*_hf")) and (folder / "ckpt").is_dir():
        values["run"] = safe_name(folder.resolve().name)
        folder = folder / "ckpt"
    values |= given
    if not values.get("suites"):
        raise UserError("no suite named; give --suites, for example --suites gsm8k,math500")
    if values["order"] not in ORDERS:
        raise UserError(f"--order {values['order']!r}: choose one of {', '.join(ORDERS)}")
    run = values.get("run") or default_run(str(folder))
    evaluation = EvalOptions(
        **{
            key: values[key]
            for key in EvalOptions.__dataclass_fields__
            if key in values and key != "data_dir"
        },
        data_dir=str(Path(values["data_dir"]).resolve()) if values.get("data_dir") else None,
    )
    names = [name.strip() for name in str(values["suites"]).split(",") if name.strip()]
    plan = make_plan(names, Path(values["results"]).resolve(), run, evaluation)
    return WatchOptions(
        ckpt_path=folder.resolve(),
        plan=plan,
        best=_best_rule(values.get("best"), names),
        start_model=Path(values["start_model"]) if values.get("start_model") else None,
        trackers=_trackers(values, run),
        **{
            key: values[key]
            for key in (
                "every",
                "order",
                "once",
                "until_done",
                "idle_timeout",
                "stale_after",
                "deadline",
                "attempts",
            )
            if key in values
        },
    )


def _from_recipe(target: str) -> dict[str, Any]:
    if read_recipe is None or not Path(target).suffix.startswith(".y"):
        raise UserError(
            f"{target}: no such folder; name a training's checkpoint folder, run folder or recipe"
        )
    return read_recipe(target)


def _best_rule(text: str | None, suites: list[str]) -> BestRule:
    suite, _, metric = (text or suites[0]).partition(":")
    if suite not in suites:
        raise UserError(f"--best {text!r}: is none of the suites {', '.join(suites)}")
    return BestRule(suite, metric or "accuracy")


def _trackers(values: dict[str, Any], run: str) -> Trackers:
    for key in ("wandb_id", "wandb_group", "wandb_entity"):
        if values.get(key) and not values.get("wandb"):
            raise UserError(f"--{key.replace('_', '-')} needs --wandb PROJECT")
    return Trackers(
        wandb_project=values.get("wandb") or "",
        # Of its own and always the same: a watcher that is started again goes on in its run.
        wandb_id=values.get("wandb_id") or _own_wandb_id(Path(values["results"]).resolve() / run),
        wandb_name=f"{run}-eval",
        wandb_group=values.get("wandb_group") or run,
        wandb_entity=values.get("wandb_entity") or "",
        wandb_dir=str(Path(values["results"]).resolve()),
        tensorboard=str(Path(values["tensorboard"]).resolve()) if values.get("tensorboard") else "",
    )


def _own_wandb_id(folder: Path) -> str:
    return hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def _run(options: WatchOptions) -> Summary:
    try:
        return watch(options, typer.echo)
    except KeyboardInterrupt:
        raise UserError("interrupted; the lease is released and what was evaluated is kept") from None
    except OSError as error:
        raise UserError(f"{error.filename or options.ckpt_path}: {error.strerror or error}") from None


def _closing_line(summary: Summary) -> str:
    line = f"{len(summary.evaluated)} evaluated"
    return f"{line}, given up: {', '.join(summary.given_up)}" if summary.given_up else line
