"""`dipo recipes`: the list."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from dipo_openrlhf.recipe import files


def print_recipes(console: Console) -> None:
    """The recipes of this package and the variants that can be laid over them."""
    rows = []
    for name in files.recipe_names():
        value = {key: setting.value for key, setting in files.merged_settings(name)[1].items()}
        nodes = value.get("run.nodes", 0)
        rows.append(
            (
                name,
                value.get("actor.model_name_or_path", "given by dipo quickstart"),
                value.get("reward.remote_url", "math"),
                f"{nodes} x {value.get('run.gpus_per_node', 8)}" if nodes else "CPU",
                files.summary(files.BUILT_IN / f"{name}.yaml"),
            )
        )
    _print_table(console, ("recipe", "model", "reward", "GPUs", "what it is"), rows)
    variants = [
        (f"{files.JOINT}{name}", files.summary(files.VARIANTS / f"{name}.yaml"))
        for name in files.variant_names()
    ]
    console.print()
    _print_table(console, ("variant", "what it changes"), variants)
    how = "Add variants to a recipe's name with `+`; several can be combined:"
    example = f"\n{how} dipo train math_qwen3_4b+dapo+4x8 --dry-run"
    console.print(example, highlight=False, soft_wrap=True)


def _print_table(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        style = "bold" if row is head else None
        console.print(line, markup=False, highlight=False, soft_wrap=True, style=style)
