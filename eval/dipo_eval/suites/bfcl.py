r"""BFCL's single-turn categories: 3,641 items in 13 categories, in its own prompt form (Patil et al., ICML 2025).

Row of BFCL_v4_simple_python.json in the package bfcl-eval, and its line in possible_answer/:
    {"id": "simple_python_0", "question": [[{"role": "user", "content": "Find the area of a triangle with a base
    of 10 units and height of 5 units."}]], "function": [{"name": "calculate_triangle_area", ...}]}
    {"id": "simple_python_0", "ground_truth": [{"calculate_triangle_area": {"base": [10], "height": [5], "unit":
    ["units", ""]}}]}
The category is the item's kind, so accuracy is also reported a category, and a stored sample can be graded again
by its id and kind: the functions are looked up. Conversations, memory, web search and format sensitivity are not
run; ``overall`` says what is missing from BFCL's two overall formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from dipo_eval.bfcl_overall import overall_scores
from dipo_eval.errors import UserError
from dipo_eval.grading import Verdict, bfcl, check_call_gold, grade_calls
from dipo_eval.grading.call_language import SINGLE_TURN
from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.math_file import take


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    """All items by category, or ``limit`` of them in turn from each category, as many as it has.

    Of each category a random subset fixed by ``seed``, in the file's order: 20 are 2 of each of the first seven
    categories and 1 of each other. The accuracy of such a subset weighs categories alike, and not by their sizes.
    """
    del data_dir  # the data are in the package
    if limit is not None and limit < 1:
        raise UserError(f"limit={limit} leaves no problem to evaluate; give at least 1")
    groups = [[_item(category, row) for row in bfcl.items(category)] for category in SINGLE_TURN]
    shares = _shares([len(group) for group in groups], limit)
    return [
        item
        for group, share in zip(groups, shares, strict=True)
        if share
        for item in take(group, share, seed)
    ]


def _shares(sizes: list[int], limit: int | None) -> list[int]:
    """How many of each group: one after another in turn, until there are ``limit`` or no more."""
    left = sum(sizes) if limit is None else min(limit, sum(sizes))
    shares = [0] * len(sizes)
    while left:
        for index, size in enumerate(sizes):
            if left and shares[index] < size:
                shares[index] += 1
                left -= 1
    return shares


def _item(category: str, row: dict[str, Any]) -> Item:
    check_call_gold(row["ground_truth"], row["function"], category)
    return Item(row["id"], bfcl.prompt(row), row["ground_truth"], {"kind": category})


def _grade(response: str, item: Item) -> Verdict:
    category = item.meta.get("kind")
    if category not in SINGLE_TURN:
        raise UserError(f"{item.id}: its kind {category!r:.80} is no category of BFCL; is its suite bfcl?")
    functions = bfcl.item(category, item.id)["function"]
    gold = cast("list[dict[str, Any]]", item.gold)
    check_call_gold(gold, functions, category)
    return grade_calls(response, gold, functions, category=category, mode="strict")


def _overall(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    names = {category: f"accuracy/{category}" for category in SINGLE_TURN}
    return overall_scores({key: metrics[name]["value"] for key, name in names.items() if name in metrics})


SUITE = Suite(
    name="bfcl",
    source=f"bfcl-eval {bfcl.VERSION}, single-turn; not run: multi-turn, memory, web search, format sensitivity",
    licence="Apache-2.0",
    metric="accuracy by category (strict); what there is of the v3 and v4 overall",
    load=_load,
    grade=_grade,
    overall=_overall,
)
