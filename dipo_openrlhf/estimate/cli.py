"""The commands `dipo doctor` and `dipo recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate.options import Assumptions

_DEFAULT = Assumptions()
_OF_RECIPE = "Assumptions of an estimate (with RECIPE)"


def _assumed(help_text: str, *, least: float = 0.0) -> typer.models.OptionInfo:
    return typer.Option(help=help_text, min=least, rich_help_panel=_OF_RECIPE)


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
    gpu_memory_gib: Annotated[
        float, _assumed("GiB of one GPU that programs can use.", least=1)
    ] = _DEFAULT.gpu_memory_gib,
    reserve_gib: Annotated[float, _assumed("GiB for CUDA, NCCL and fragmentation.")] = _DEFAULT.reserve_gib,
    asleep_gib: Annotated[float, _assumed("GiB that a sleeping engine keeps.")] = _DEFAULT.asleep_gib,
    engine_gib: Annotated[
        float, _assumed("GiB of an engine's activations and CUDA graphs.")
    ] = _DEFAULT.engine_gib,
    tflops: Annotated[float, _assumed("Peak TFLOP/s of one GPU, bf16.", least=1)] = _DEFAULT.tflops,
    utilization: Annotated[
        float, _assumed("Share of the peak that training reaches.", least=0.001)
    ] = _DEFAULT.utilization,
    bandwidth_tbs: Annotated[
        float, _assumed("Memory bandwidth of one GPU, TB/s.", least=0.001)
    ] = _DEFAULT.bandwidth_tbs,
    decode_utilisation: Annotated[
        float, _assumed("Share of the bandwidth that decoding reaches.", least=0.001)
    ] = _DEFAULT.decode_utilisation,
    tokens_per_second: Annotated[
        float, _assumed("New tokens a second of one engine; 0: computed.")
    ] = _DEFAULT.tokens_per_second,
    max_num_seqs: Annotated[
        int, _assumed("Sequences that an engine decodes at once.", least=1)
    ] = _DEFAULT.max_num_seqs,
    prompt_tokens: Annotated[
        int, _assumed("Mean prompt, tokens; 0: a quarter of the room for it.")
    ] = _DEFAULT.prompt_tokens,
    response_tokens: Annotated[
        int, _assumed("Mean response, tokens; 0: a quarter of rollout.max_new_tokens.")
    ] = _DEFAULT.response_tokens,
    tail: Annotated[
        float, _assumed("How much longer sampling takes than with full engines.", least=1)
    ] = _DEFAULT.tail,
    sync_gbs: Annotated[
        float, _assumed("GB/s at which weights reach the engines.", least=0.001)
    ] = _DEFAULT.sync_gbs,
    host_gbs: Annotated[float, _assumed("GB/s between a GPU and its host.", least=0.001)] = _DEFAULT.host_gbs,
    prompts: Annotated[int, _assumed("Prompts in the data; 0: counted in a local file.")] = _DEFAULT.prompts,
) -> None:
    """Show whether this machine is ready, and everything this project changes in OpenRLHF.

    With a RECIPE: what it needs of each GPU and how long a step takes, by arithmetic that is shown; nothing is started.
    The exit status is 1 where it does not fit. Any key of the recipe can be overridden as --section.key value.

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

        if not doctor(console):
            raise typer.Exit(1)
        return
    from dipo_openrlhf.estimate.report import estimate_lines
    from dipo_openrlhf.recipe.schema import load_recipe

    given = {name: value for name, value in context.params.items() if hasattr(_DEFAULT, name)}
    fits, lines = estimate_lines(load_recipe(recipe, parse_overrides(rest)), Assumptions(**given))
    for line in lines:
        typer.echo(line)
    if not fits:
        raise typer.Exit(1)


def recipes_command() -> None:
    """List the recipes of this package, and the variants that can be laid over them."""
    from rich.console import Console

    from dipo_openrlhf.estimate.report import print_recipes

    print_recipes(Console())
