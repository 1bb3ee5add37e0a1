"""The placement of a recipe as text: a line a node, a column a GPU."""

from __future__ import annotations

from dipo_openrlhf.recipe.placement import Layout

_ENDS = "each GPU's actor rank, reference rank, engine, watcher; - is free"


def picture(layout: Layout) -> list[str]:
    """Lines of a table nodes x GPUs. Nodes are numbered as Ray fills them."""
    cells = [["+".join(member.part[0] + _number(member.number, member.part) for member in gpu) or "-" for gpu in node]
             for node in layout.nodes]  # fmt: skip
    width = max(len(cell) for node in cells for cell in node)
    lines = [f"What sits where: {_ENDS}"]
    for number, node in enumerate(cells):
        lines.append(f"  node {number:<3}" + "  ".join(cell.ljust(width) for cell in node).rstrip())
    if layout.waiting:
        lines.append(
            f"  the watcher waits in Ray's queue for {layout.waiting} GPU(s) until the training ends"
        )
    if split := layout.split_engines:
        lines.append(
            f"  engines on several nodes: {', '.join(map(str, split))}: each token crosses the network"
        )
    return lines


def _number(number: int, part: str) -> str:
    return "" if part == "watcher" else str(number)
