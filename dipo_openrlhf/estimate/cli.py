"""The commands `dipo doctor` and `dipo recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.recipe.command_options import takes_options


@takes_options(Assumptions)
def doctor_command(
    context: typer.Context,
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe: estimate its memory and time, with the arithmetic.")
    ] = None,
    rollouts: Annotated[
        Path | None,
        typer.Option("--rollouts", help="A run's rollouts.jsonl: compare how often DiPO would have acted."),
    ] = None,
    compare: Annotated[
        str, typer.Option("--compare", help="With --rollouts: the switch whose values are compared.")
    ] = "group_space",
    as_json: Annotated[
        bool, typer.Option("--json", help="The machine's state as JSON, for scripts.")
    ] = False,
    measured: Annotated[
        Path | None,
        typer.Option(
            "--measured",
            help="With RECIPE: speeds from `dipo check-gpu`. Default: where it wrote them, if it did.",
        ),
    ] = None,
    *,
    options: Assumptions,
) -> None:
    """Show whether this machine is ready, and everything this project changes in OpenRLHF.

    On a machine with GPUs: driver, CUDA, compilers, flash-attn, NCCL, memory, each with a remedy where it is missing.
    With a RECIPE: what it needs of each GPU and how long a step takes, by arithmetic that is shown, and what this machine
    lacks for it; nothing is started. The exit status is 1 where something is missing or does not fit. Any key of the
    recipe can be overridden as --section.key value.

    With --rollouts: the fire rate of every value of dipo.group_space (or another switch) on stored rollouts, the other
    switches as the run used them or as given. Examples:

        dipo doctor math_qwen3_8b+4x8 --response-tokens 4000 --train.max_tokens_per_gpu 16384

        dipo doctor --rollouts runs/quickstart/rollouts.jsonl --dipo.min_side_samples 50
    """
    from rich.console import Console

    from dipo_openrlhf.recipe.yaml_lines import parse_overrides

    console = Console()
    rest = list(context.args)
    if recipe is not None and recipe.startswith("--"):  # an override that came first
        rest.insert(0, recipe)
        recipe = None
    if rollouts is not None:
        if recipe is not None:
            raise UserError(f"RECIPE {recipe!r} and --rollouts are two questions: ask one")
        from dipo_openrlhf.estimate.doctor import fire_rates

        fire_rates(console, rollouts, compare.removeprefix("dipo."), parse_overrides(rest))
        return
    if recipe is None:
        if rest:
            raise UserError(f"unexpected argument {rest[0]!r}: switches go with a RECIPE or --rollouts")
        from dipo_openrlhf.estimate.doctor import doctor

        if not doctor(console, as_json):
            raise typer.Exit(1)
        return
    from dipo_openrlhf.estimate.doctor import doctor_recipe
    from dipo_openrlhf.estimate.measured import read_measured, with_measured
    from dipo_openrlhf.recipe.load import load_recipe

    by, values = read_measured(measured)
    options, names = with_measured(options, values, lambda name: _given(context, name))
    loaded = load_recipe(recipe, parse_overrides(rest))
    if not doctor_recipe(console, loaded, options, as_json, names, by):
        raise typer.Exit(1)


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def recipes_command(
    show: Annotated[
        str | None,
        typer.Option(
            "--show",
            help="Every setting of RECIPE or RECIPE+VARIANT, and where it is written.",
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print a JSON schema of recipes, for editors.")
    ] = False,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference", help="Print every key with type, default, range and meaning, as Markdown."
        ),
    ] = False,
) -> None:
    """List the recipes of this package, and their variants.

    Add variants to a recipe's name with `+`; several can be combined: math_qwen3_4b+dapo+4x8.
    """
    if show is not None:
        from dipo_openrlhf.recipe.load import shown_recipe
        from dipo_openrlhf.recipe.resolved import resolved_lines

        for line in resolved_lines(shown_recipe(show), openrlhf=True):
            typer.echo(line)
        return
    if schema or reference:
        import json

        from dipo_openrlhf.recipe import reference as made

        text = json.dumps(made.schema(), indent=1) + "\n" if schema else made.reference()
        typer.echo(text, nl=False)
        return
    from rich.console import Console

    from dipo_openrlhf.estimate.listing import print_recipes

    print_recipes(Console())
