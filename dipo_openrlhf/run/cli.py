"""`dipo train`, and what `dipo watch RECIPE` reads from a recipe."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from dipo_eval.errors import UserError


def train_command(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(help="A YAML file or a name of `dipo recipes`, with its variants: NAME+VARIANT.")
    ],
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check all that needs no engine, print what holds, OpenRLHF's arguments and the command, and stop.",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue from the newest complete checkpoint of the run's folder."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show OpenRLHF's log as well.")] = False,
) -> None:
    """Train a recipe through OpenRLHF's own loop (Ray, vLLM, DeepSpeed).

    Any key of a recipe can be overridden as --section.key value; the keys are OpenRLHF's own, plus run.*, dipo.*,
    evaluate.* and watch.*. Exit status: 0 when all is trained and evaluated, 1 when the training is done and its
    evaluation is not, 2 for an error, 130 when interrupted or stopped. Example:

        dipo train my_recipe.yaml --actor.adam.lr 5e-7 --dipo.alpha 0.2 --run.dir runs/alpha02
    """
    from dipo_eval.secrets.file import load_secrets

    load_secrets()
    if dry_run:
        _dry_run(context, recipe, resume, verbose)
        return
    from dipo_openrlhf.run.early import early_driver

    with early_driver() as early:  # before anything else is imported
        from dipo_openrlhf.recipe.load import load_recipe
        from dipo_openrlhf.recipe.yaml_lines import parse_overrides
        from dipo_openrlhf.run.plan import interrupted_message
        from dipo_openrlhf.run.supervisor import NotEvaluatedError, train

        loaded = load_recipe(recipe, parse_overrides(context.args))
        try:
            folder = train(loaded, resume=resume, verbose=verbose, early=early)
        except NotEvaluatedError as incomplete:
            typer.echo(f"trained: {incomplete.run_dir}; {incomplete}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise UserError(interrupted_message(loaded)) from None
    typer.echo(f"trained: {folder}")


def _dry_run(context: typer.Context, recipe: str, resume: bool, verbose: bool) -> None:
    from dipo_openrlhf.preflight.check import check_dry
    from dipo_openrlhf.recipe.load import load_recipe
    from dipo_openrlhf.recipe.resolved import resolved_lines
    from dipo_openrlhf.recipe.yaml_lines import parse_overrides
    from dipo_openrlhf.run.plan import command_text, plan_run, tracker_lines
    from dipo_openrlhf.run.resuming import warn_run_dir

    def note(line: str) -> None:
        typer.echo(line, err=True)

    loaded = load_recipe(recipe, parse_overrides(context.args))
    check_dry(loaded, note)
    warn_run_dir(loaded, resume, note)
    for line in (*resolved_lines(loaded), *tracker_lines(loaded)):
        typer.echo(f"# {line}")
    typer.echo(command_text(plan_run(loaded, resume)))
    more = [word for word, given in (("--resume", resume), ("--verbose", verbose)) if given]
    typer.echo(shlex.join(["dipo", "train", recipe, *context.args, *more]))


def watched_recipe(path: str) -> dict[str, Any]:
    """The options of `dipo watch` that a recipe's file names. Raises UserError."""
    from dipo_openrlhf.recipe.load import load_recipe
    from dipo_openrlhf.run.watcher import watch_values

    return watch_values(load_recipe(path))
