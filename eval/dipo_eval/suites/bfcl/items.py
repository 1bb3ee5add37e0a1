"""The items of BFCL in both forms, the prompt's and native tool calls, and their grades."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from dipo_eval.errors import UserError
from dipo_eval.grading import Verdict, check_call_gold, grade_calls
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN, SINGLE_TURN
from dipo_eval.grading.calls.multi_turn import check_turn_gold, grade_conversation
from dipo_eval.suites.base import Item
from dipo_eval.suites.bfcl.dialogue import Conversation, first_messages
from dipo_eval.suites.bfcl.overall import overall_scores
from dipo_eval.suites.dialogue import Dialogue
from dipo_eval.suites.math_file import take

CATEGORIES = SINGLE_TURN + MULTI_TURN
SUITE_METRIC = "accuracy by category (strict); what there is of the v3 and v4 overall"


def source(form: str) -> str:
    """What `dipo eval --list` says of the data."""
    return (
        f"bfcl-eval {bfcl.VERSION}, single-turn and multi-turn, {form}; "
        "not run: memory, web search, format sensitivity"
    )


def load(limit: int | None, seed: int, *, native: bool) -> list[Item]:
    """All items by category, or ``limit`` of them in turn from each category, as many as it has.

    Of each category a random subset fixed by ``seed``, in the file's order: 20 are 2 of each of the first three
    categories and 1 of each other. The accuracy of such a subset weighs categories alike, and not by their sizes.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit={limit} leaves no problem to evaluate; give at least 1")
    groups = [bfcl.items(category) for category in CATEGORIES]
    for category, rows in zip(CATEGORIES, groups, strict=True):
        for row in rows:
            _check(category, row)
    shares = _shares([len(rows) for rows in groups], limit)
    return [
        _item(category, row, native)
        for category, rows, share in zip(CATEGORIES, groups, shares, strict=True)
        if share
        for row in take(list(rows), share, seed)
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


def _check(category: str, row: dict[str, Any]) -> None:
    if category in MULTI_TURN:
        check_turn_gold(row["ground_truth"], row)
    else:
        check_call_gold(row["ground_truth"], row["function"], category)


def _item(category: str, row: dict[str, Any], native: bool) -> Item:
    return Item(
        row["id"],
        first_messages(row, native=native),
        row["ground_truth"],
        {"kind": category, **({"form": "native"} if native else {})},
        # Some items offer no function: servers refuse an empty list of tools.
        (bfcl.first_tools(row) or None) if native else None,
    )


def as_conversation(item: Item) -> Dialogue | None:
    """A dialogue for an item of the multi-turn categories; the others are one prompt."""
    category = item.meta["kind"]
    if category not in MULTI_TURN:
        return None
    return Conversation(bfcl.item(category, item.id), native=is_native(item.meta))


def is_native(row: Mapping[str, Any]) -> bool:
    """Whether a sample or an item is of the form with native tool calls."""
    return row.get("form") == "native"


def grade(response: str, item: Item) -> Verdict:
    """The strict verdict, by the item's id and kind. UserError for an item that is none of BFCL's."""
    category = item.meta.get("kind")
    if category not in CATEGORIES:
        raise UserError(f"{item.id}: its kind {category!r:.80} is no category of BFCL; is its suite bfcl?")
    row = bfcl.item(category, item.id)
    if category in MULTI_TURN:
        turns = cast("list[list[str]]", item.gold)
        check_turn_gold(turns, row)
        return grade_conversation(response, turns, row)
    gold = cast("list[dict[str, Any]]", item.gold)
    check_call_gold(gold, row["function"], category)
    return grade_calls(
        response, gold, row["function"], category=category, dots_as_underscores=is_native(item.meta)
    )


def overall(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """BFCL's overall scores from the metrics of results.json."""
    names = {category: f"accuracy/{category}" for category in CATEGORIES}
    return overall_scores({key: metrics[name]["value"] for key, name in names.items() if name in metrics})
