"""`dipo rehearse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dipo_eval.errors import UserError


def rehearse_command(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(help="A YAML file or a name of `dipo recipes`, with its variants: NAME+VARIANT.")
    ],
    folder: Annotated[
        Path | None, typer.Option(help="Where it is written and run. Default: runs/rehearsal/RECIPE.")
    ] = None,
    write_only: Annotated[
        bool, typer.Option("--write-only", help="Write the rehearsal's recipe, model and data, and stop.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show OpenRLHF's log as well.")] = False,
) -> None:
    """Run a recipe for a GPU cluster with its own switches on this machine's CPU cores, in minutes.

    Its method, reward, placement, ZeRO stage, packing, sleep mode, checkpoints and evaluation run as they are; only the
    model, lengths, batches and counts of GPUs are small (docs/rehearsal.md). The folder then holds a recipe that can be
    sent to a cluster as well. Any key of the recipe can be overridden as --section.key value. Examples:

        dipo rehearse math_qwen3_8b+async

        dipo rehearse my_recipe.yaml --write-only

        dipo submit runs/rehearsal/my_recipe/rehearsal.yaml --address http://head:8265
    """
    from dipo_eval.engines.device import quiet_libraries
    from dipo_openrlhf.recipe.files import display_name
    from dipo_openrlhf.recipe.yaml_lines import parse_overrides
    from dipo_openrlhf.rehearse.prepare import prepare, rehearsed
    from dipo_openrlhf.run.plan import interrupted_message
    from dipo_openrlhf.run.supervisor import train

    quiet_libraries()
    folder = folder or Path("runs", "rehearsal", display_name(recipe))
    path = prepare(recipe, parse_overrides(context.args), folder)
    typer.echo(f"written: {path}")
    if write_only:
        return
    loaded = rehearsed(path)
    try:
        train(loaded, resume=False, verbose=verbose)
    except KeyboardInterrupt:
        raise UserError(interrupted_message(loaded)) from None
    typer.echo(f"rehearsed: {loaded.run_dir}")
