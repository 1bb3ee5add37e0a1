"""`dipo submit`: options, and which launcher they go to."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer

from dipo_eval.errors import UserError
from dipo_openrlhf.launchers import targets
from dipo_openrlhf.launchers.launcher import Options
from dipo_openrlhf.recipe.command_options import takes_options


@takes_options(Options)
def submit_command(
    context: typer.Context,
    recipe: Annotated[
        str | None, typer.Argument(help="A YAML file, or the name of a recipe of this package.")
    ] = None,
    to: Annotated[str, typer.Option(help=f"One of {', '.join(targets.names())}.")] = "ray",
    stop: Annotated[
        str | None,
        typer.Option(
            help="End the job of this ID and wait until it is gone.", rich_help_panel="A job of a Ray cluster"
        ),
    ] = None,
    logs: Annotated[
        str | None,
        typer.Option(help="Show the log of the job of this ID.", rich_help_panel="A job of a Ray cluster"),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(help="Show the status of the job of this ID.", rich_help_panel="A job of a Ray cluster"),
    ] = None,
    *,
    options: Options,
) -> None:
    """Send a recipe to a Ray cluster, Slurm, Kubernetes (KubeRay), or run it here.

    Any key of the recipe can be overridden as --section.key value. The recipe is checked before anything is sent.
    Examples:

        dipo submit my_recipe.yaml --address http://head:8265 --run.dir /shared/runs/mine

        dipo submit my_recipe.yaml --to slurm --time 24:00:00 --run.dir /shared/runs/mine --dry-run

        dipo submit --stop ID --address http://head:8265
    """
    given = {"--stop": stop, "--logs": logs, "--status": status}
    jobs = {name: job for name, job in given.items() if job is not None}
    if jobs:
        if len(jobs) > 1 or recipe or context.args:
            words = " ".join([*jobs, *([recipe] if recipe else []), *context.args])
            raise UserError(f"{words}: --stop, --logs and --status take one job's ID and nothing else")
        from dipo_openrlhf.launchers.targets.ray import existing_job

        ((name, job),) = jobs.items()
        raise typer.Exit(existing_job(name, job, options.address))
    if recipe is None:
        known = "|".join(targets.names())
        raise UserError(f"no recipe given: dipo submit RECIPE --to {known}, or --stop, --logs, --status ID")
    launcher = targets.find(to)
    _check_options(to, options)
    from dipo_openrlhf.launchers.request import make_request

    request = make_request(recipe, context.args, on_cluster=launcher.on_cluster, resume=options.resume)
    raise typer.Exit(launcher.submit(request, options))


def _check_options(target: str, options: Options) -> None:
    """An option of another launcher is a mistake of the user, not something to ignore silently."""
    launcher, unset = targets.find(target), Options()
    for each in fields(options):
        is_given = getattr(options, each.name) != getattr(unset, each.name)
        if not is_given or each.name in ("dry_run", "resume", *launcher.options):
            continue
        name = "--no-follow" if each.name == "follow" else f"--{each.name.replace('_', '-')}"
        others = ", ".join(other for other in targets.usable() if each.name in targets.find(other).options)
        hint = f"; {launcher.hints[each.name]}" if each.name in launcher.hints else ""
        raise UserError(f"{name}: does not go with --to {target}, but with {others}{hint}")
