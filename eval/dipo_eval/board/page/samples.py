"""Which samples go into the page, and how: flips first, long strings cut, all within a budget."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from dipo_eval.board import MAX_SAMPLES
from dipo_eval.board.data.load import Result
from dipo_eval.board.data.stored import SampleKey, rows_at, whole
from dipo_eval.board.table.comparison import flips, is_solved

TEXT_LIMITS = (20_000, 8_000, 4_000, 2_000)
BUDGET = 7_000_000
"""Bytes of samples in a page: more would be slow to open on a phone."""
ROW_BYTES = 150
"""What a sample takes beside its strings."""

_ALWAYS = ("sample", "status", "prompt", "gold", "response")
_STATUS_RANK = {"undecided": 1, "wrong": 2, "correct": 3}


class Embedded(NamedTuple):
    """`data` goes to samples.js; `text_limit` is the length in characters at which strings were cut."""

    data: dict[str, Any]
    text_limit: int


def embed_samples(
    results: Sequence[Result], baseline: tuple[str, str] | None, cap: int = MAX_SAMPLES, budget: int = BUDGET
) -> Embedded:
    """The samples of every result that has some, at most `cap` each, cut harder until they fit `budget`."""
    kept = choose_samples(results, baseline, cap)
    limit, cap = _fit(_lengths(results, kept), cap, budget)
    return Embedded(_collect(results, {i: keys[:cap] for i, keys in kept.items()}, limit), limit)


def choose_samples(
    results: Sequence[Result], baseline: tuple[str, str] | None, cap: int = MAX_SAMPLES
) -> dict[int, list[SampleKey]]:
    """Index of a result -> at most `cap` of its samples, the most informative first.

    All checkpoints of a suite rank its items alike (flips and disagreements between graders in turn, then undecided,
    incorrect, correct at any of them), so that the same items are shown of each.
    """
    chosen: dict[int, list[SampleKey]] = {}
    for suite in dict.fromkeys(result.suite for result in results):
        members = [i for i, result in enumerate(results) if result.suite == suite]
        order = _item_order([results[i] for i in members], baseline)
        for i in members:
            chosen[i] = sorted(results[i].statuses, key=lambda key: (order[key[0]], key[1]))[:cap]
    return chosen


def item_letters(result: Result, items: Sequence[str]) -> str:
    """A letter for each of `items`: C solved (correct), I not, U undecided (no sample decided), - not asked."""
    letters = {item: "C" if is_solved(score) else "I" for item, score in result.item_scores.items()}
    decided = {item for (item, _), status in result.statuses.items() if status != "undecided"}
    letters |= dict.fromkeys(letters.keys() - decided, "U")
    return "".join(letters.get(item, "-") for item in items)


def cut(text: str, limit: int) -> tuple[str, int]:
    """`text` without its middle beyond `limit` characters, since answers are at the end; and how many were left out."""
    missing = len(text) - limit
    if missing <= 0:
        return text, 0
    head = limit // 2
    mark = f"\n\n[ {missing:,} characters left out here ]\n\n"
    return text[:head] + mark + text[head + missing :], missing


def as_text(value: Any) -> str:
    """A chat as its messages one after another; any other list or table as indented JSON."""
    if value is None:
        return ""
    if isinstance(value, list) and value and all(_is_message(part) for part in value):
        return "\n\n".join(f"[{part['role']}]\n{part['content']}" for part in value)
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, indent=1, default=str)
    except RecursionError:
        return "(nested too deeply to show)"


def _is_message(value: Any) -> bool:
    """A chat message of role and content alone, so that showing it as text loses nothing."""
    return isinstance(value, dict) and set(value) == {"role", "content"} and isinstance(value["content"], str)


def _item_order(members: Sequence[Result], baseline: tuple[str, str] | None) -> dict[str, int]:
    """Item id -> its rank: a flip, a disagreement, a flip, ... so that a page of few samples holds both."""
    ranks = _item_ranks(members, baseline)
    ranked = sorted(ranks, key=lambda item: (ranks[item], item))
    flipped = [item for item in ranked if ranks[item][0] == 0]
    disputed = sorted(
        {item for r in members for o in r.official for item, _ in o.disagreements} & ranks.keys()
    )
    turns = [item for pair in zip_longest(flipped, disputed) for item in pair if item is not None]
    return {item: rank for rank, item in enumerate(dict.fromkeys([*turns, *ranked]))}


def _item_ranks(members: Sequence[Result], baseline: tuple[str, str] | None) -> dict[str, tuple[int, int]]:
    ranks: dict[str, tuple[int, int]] = {}
    for result in members:
        for (item, _), status in result.statuses.items():
            ranks[item] = min(ranks.get(item, (9, 9)), (_STATUS_RANK[status], 0))
    reference = next((r for r in members if r.model_key == baseline), members[0])
    # Lost before gained, and the last checkpoint's flips before those of the earlier ones.
    for age, result in enumerate(reversed(members)):
        for item, direction in flips(result, reference).items():
            ranks[item] = min(ranks[item], (0, 2 * age + (direction == "gained")))
    return ranks


def _fit(lengths: Sequence[Sequence[int]], cap: int, budget: int) -> tuple[int, int]:
    """The largest (string limit, samples of each result) that fits: shorter strings first, then fewer samples."""
    for limit in TEXT_LIMITS:
        if _total(lengths, limit, cap) <= budget:
            return limit, cap
    return limit, bisect.bisect_right(range(1, cap), budget, key=lambda n: _total(lengths, limit, n))


def _total(lengths: Sequence[Sequence[int]], limit: int, cap: int) -> int:
    return sum(min(n, limit) + ROW_BYTES for of_result in lengths for n in of_result[:cap])


def _lengths(results: Sequence[Result], kept: Mapping[int, list[SampleKey]]) -> list[list[int]]:
    """For each result the sizes in bytes of its kept samples' strings, in order.

    A prompt is sent once for all checkpoints: it counts at the first sample that has it.
    """
    seen: set[int] = set()
    table: list[list[int]] = []
    for i, result in enumerate(results):
        sizes: dict[SampleKey, int] = {}
        for key, raw in _kept_rows(result, kept[i]):
            own = [as_text(raw.get(name)) for name in ("response", "reason", "extracted")]
            shared = {hash(text): text for name in ("prompt", "gold") for text in [as_text(raw.get(name))]}
            own += [text for code, text in shared.items() if code not in seen]
            seen.update(shared)
            sizes[key] = sum(map(_bytes, own))
        table.append([sizes[key] for key in kept[i] if key in sizes])
    return table


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", errors="replace"))


def _kept_rows(result: Result, kept: Sequence[SampleKey]) -> Iterator[tuple[SampleKey, dict[str, Any]]]:
    return rows_at(result.folder, {key: result.offsets[key] for key in kept if key in result.offsets})


def _collect(results: Sequence[Result], kept: Mapping[int, list[SampleKey]], limit: int) -> dict[str, Any]:
    """The data block of samples.js: shared strings, item ids by suite, and one set a result that has samples."""
    strings: dict[str, int] = {}
    suites: dict[str, dict[str, int]] = {}
    for result in results:
        items = suites.setdefault(result.suite, {})
        for item in result.item_scores:
            items.setdefault(item, len(items))
    sets: list[dict[str, Any]] = []
    for i, result in enumerate(results):
        if not result.statuses:
            continue
        items = suites[result.suite]
        rows = {
            key: {"item": items[key[0]], **_row(key, raw, limit, strings), **_disagreements(result, key)}
            for key, raw in _kept_rows(result, kept[i])
        }
        sets.append(
            {
                "index": i,
                "run": result.run,
                "checkpoint": result.checkpoint,
                "suite": result.suite,
                "total": len(result.statuses),
                "disputed": len({key for one in result.official for key in one.disagreements}),
                "items": item_letters(result, list(items)),
                "rows": [rows[key] for key in kept[i] if key in rows],
            }
        )
    ids = {suite: list(items) for suite, items in suites.items()}
    return {"strings": list(strings), "suites": ids, "sets": sets}


def _disagreements(result: Result, key: SampleKey) -> dict[str, list[list[str]]]:
    """`official`: [harness and metric, its score] of every score of a sample that differs from ours."""
    found = [
        [f"{one.harness} {metric}"[:200], cut(score, TEXT_LIMITS[-1])[0]]
        for one in result.official
        for metric, score in one.disagreements.get(key, [])
    ]
    return {"official": found} if found else {}


def _row(key: SampleKey, raw: dict[str, Any], limit: int, strings: dict[str, int]) -> dict[str, Any]:
    """One sample for samples.js; prompt and gold answer, the same at every checkpoint, by index."""
    row: dict[str, Any] = {"sample": key[1], "status": raw["status"]}
    for name in ("prompt", "gold"):
        text, row[f"{name}_cut"] = cut(as_text(raw.get(name)), limit)
        row[name] = strings.setdefault(text, len(strings))
    for name in ("response", "reason", "extracted"):
        row[name], row[f"{name}_cut"] = cut(as_text(raw.get(name)), limit)
    for name in ("prompt_tokens", "response_tokens"):
        row[name] = whole(raw.get(name))
    row["truncated"] = raw.get("truncated") is True
    row["finish"] = as_text(raw.get("finish_reason"))[:100]
    row["kind"] = as_text(raw.get("kind"))[:100]
    return {name: value for name, value in row.items() if value or name in _ALWAYS}
