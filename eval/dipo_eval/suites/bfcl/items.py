"""BFCL's items in both forms, in the prompt and as native tool calls, and their grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading import Verdict, check_call_gold, grade_calls
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN, SINGLE_TURN
from dipo_eval.grading.calls.multi_turn import check_turn_gold, grade_conversation
from dipo_eval.suites.base import Dialogue, Item, Suite, check_limit, take
from dipo_eval.suites.bfcl.dialogue import Conversation, first_messages
from dipo_eval.suites.bfcl.heldout import is_held_out
from dipo_eval.suites.bfcl.overall import overall_scores

CATEGORIES = SINGLE_TURN + MULTI_TURN
BASIC = ("simple_python", "multiple", "parallel", "irrelevance")


def suite(name: str, form: str, *, native: bool) -> Suite:
    """The suite of one form."""
    return Suite(
        name=name,
        source=f"bfcl-eval {bfcl.VERSION}, single-turn and multi-turn, {form}; "
        "not run: memory, web search, format sensitivity",
        license="Apache-2.0",
        metric="accuracy by category (strict); what there is of the v3 and v4 overall",
        load=lambda data_dir, limit, seed: load(limit, seed, native=native),
        grade=grade,
        overall=overall,
        converse=as_conversation,
    )


def basic_suite(name: str) -> Suite:
    """The native form of four categories, for small models: few short prompts, no conversation."""
    return Suite(
        name=name,
        source=f"bfcl-eval {bfcl.VERSION}, {', '.join(BASIC)}, native tool calls",
        license="Apache-2.0",
        metric="accuracy by category (strict)",
        load=lambda data_dir, limit, seed: load(limit, seed, native=True, categories=BASIC),
        grade=grade,
    )


def heldout_suite() -> Suite:
    """The multi-turn cases that no training on BFCL's data sees (heldout.py), with native tool calls."""
    return Suite(
        name="bfcl-heldout",
        source=f"bfcl-eval {bfcl.VERSION}, multi-turn, native tool calls: the held-out scenarios alone",
        license="Apache-2.0",
        metric="accuracy by category (strict); comparable with no leaderboard",
        load=lambda data_dir, limit, seed: load(
            limit, seed, native=True, categories=MULTI_TURN, heldout=True
        ),
        grade=grade,
        converse=as_conversation,
    )


def load(
    limit: int | None,
    seed: int,
    *,
    native: bool,
    categories: Sequence[str] = CATEGORIES,
    heldout: bool = False,
) -> list[Item]:
    """All items by category, or ``limit`` of them, taken from each category in turn while it has any left.

    The items of a category are a random subset fixed by ``seed``, in the file's order. The accuracy of such a subset
    weighs all categories alike, not by size. ``heldout``: the held-out multi-turn cases alone.
    """
    check_limit(limit)
    groups = {category: list(bfcl.items(category)) for category in categories}
    if heldout:
        groups = {name: [row for row in rows if is_held_out(row["id"])] for name, rows in groups.items()}
    for category, rows in groups.items():
        for row in rows:
            _check_gold(category, row["ground_truth"], row)
    shares = _shares([len(rows) for rows in groups.values()], limit)
    return [
        _item(category, row, native)
        for (category, rows), share in zip(groups.items(), shares, strict=True)
        if share
        for row in take(rows, share, seed)
    ]


def _shares(sizes: list[int], limit: int | None) -> list[int]:
    """How many of each group: one of each in turn, until there are ``limit`` or no more."""
    left = sum(sizes) if limit is None else min(limit, sum(sizes))
    shares = [0] * len(sizes)
    while left:
        for index, size in enumerate(sizes):
            if left and shares[index] < size:
                shares[index] += 1
                left -= 1
    return shares


def _check_gold(category: str, gold: object, row: dict[str, Any]) -> None:
    if category in MULTI_TURN:
        check_turn_gold(gold, row)
    else:
        check_call_gold(gold, row["function"], category)


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
    """The dialogue of an item of the multi-turn categories; the others are one prompt."""
    category = item.meta["kind"]
    if category not in MULTI_TURN:
        return None
    return Conversation(bfcl.item(category, item.id), native=is_native(item.meta))


def is_native(row: Mapping[str, Any]) -> bool:
    """Whether a sample, or an item's meta, has the form with native tool calls."""
    return row.get("form") == "native"


def grade(response: str, item: Item) -> Verdict:
    """The strict verdict, by the item's id and kind. UserError for an item that is not BFCL's."""
    category = item.meta.get("kind")
    if category not in CATEGORIES:
        raise UserError(
            f"{item.id}: its kind {short_repr(category)} is no category of BFCL; is its suite bfcl?"
        )
    row = bfcl.item(category, item.id)
    _check_gold(category, item.gold, row)
    if category in MULTI_TURN:
        return grade_conversation(response, cast("list[list[str]]", item.gold), row)
    gold = cast("list[dict[str, Any]]", item.gold)
    return grade_calls(
        response, gold, row["function"], category=category, dots_as_underscores=is_native(item.meta)
    )


def overall(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """BFCL's overall scores from the metrics of results.json."""
    names = {category: f"accuracy/{category}" for category in CATEGORIES}
    return overall_scores({key: metrics[name]["value"] for key, name in names.items() if name in metrics})
