"""Which samples go into the page, and how: flips first, long texts cut, the whole of it within a budget."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dipo_eval.board.comparison import flips, is_right
from dipo_eval.board.load import STATUSES, Result, SampleKey, read_rows, row_key, whole

MAX_SAMPLES = 200
TEXT_LIMITS = (20_000, 8_000, 4_000, 2_000)
BUDGET = 8_000_000
"""Characters of samples in a page: more would be slow to open on a phone."""

_ALWAYS = ("item", "sample", "status", "prompt", "gold", "response")
_STATUS_RANK = {"undecided": 1, "wrong": 2, "correct": 3}


@dataclass(frozen=True)
class Embedded:
    """`data` goes to board.js; `text_limit` is the length at which texts were cut, in characters."""

    data: dict[str, Any]
    text_limit: int


def embed_samples(
    results: Sequence[Result], baseline: tuple[str, str] | None, cap: int = MAX_SAMPLES, budget: int = BUDGET
) -> Embedded:
    """The samples of every result that has some, at most `cap` each, cut harder until they fit `budget`."""
    kept = choose_samples(results, baseline, cap)
    limit, cap = _fit(_lengths(results, kept), cap, budget)
    kept = {i: keys[:cap] for i, keys in kept.items()}
    return Embedded(_collect(results, kept, limit), limit)


def choose_samples(
    results: Sequence[Result], baseline: tuple[str, str] | None, cap: int = MAX_SAMPLES
) -> dict[int, list[SampleKey]]:
    """Index of a result -> at most `cap` of its samples, the most telling first.

    All checkpoints of a suite rank its items alike (flips, then undecided, wrong, correct at any of them), so
    that what is shown of one can be compared with the same item of another.
    """
    chosen: dict[int, list[SampleKey]] = {}
    for suite in dict.fromkeys(result.suite for result in results):
        members = [i for i, result in enumerate(results) if result.suite == suite]
        rank = _item_ranks([results[i] for i in members], baseline)
        for i in members:
            order = sorted(results[i].statuses, key=lambda key: (rank[key[0]], key[0], key[1]))
            chosen[i] = order[:cap]
    return chosen


def item_table(result: Result) -> dict[str, str]:
    """Item id -> "R" right, "W" wrong, "U" undecided (no sample decided): small enough for all items."""
    undecided: dict[str, bool] = {}
    for (item, _), status in result.statuses.items():
        undecided[item] = undecided.get(item, True) and status == "undecided"
    return {
        item: "U" if undecided[item] else "R" if is_right(score) else "W"
        for item, score in result.item_scores.items()
    }


def cut(text: str, limit: int) -> tuple[str, int]:
    """`text` with its middle left out beyond `limit` characters, and how many were left out (0: none).

    The end is kept because the answer stands there.
    """
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
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, default=str)


def _is_message(value: Any) -> bool:
    """A chat message of a role and a text and nothing else, so that showing it as text loses nothing."""
    return isinstance(value, dict) and set(value) == {"role", "content"} and isinstance(value["content"], str)


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
    """The mildest (text limit, samples of each result) that fits: shorter texts first, then fewer samples."""
    while cap > 0:
        for limit in TEXT_LIMITS:
            if sum(min(n, limit) for of_result in lengths for n in of_result[:cap]) <= budget:
                return limit, cap
        cap //= 2
    return TEXT_LIMITS[-1], 0


def _lengths(results: Sequence[Result], kept: Mapping[int, list[SampleKey]]) -> list[list[int]]:
    """For each result the lengths of its kept samples in order, in characters: the response, mostly.

    Prompts are sent once for all checkpoints: each is added to the first sample that has it.
    """
    seen: set[int] = set()
    table: list[list[int]] = []
    for i, result in enumerate(results):
        sizes: dict[SampleKey, int] = {}
        for raw in _kept_rows(result, kept[i]):
            size = sum(len(as_text(raw.get(name))) for name in ("response", "reason", "extracted"))
            for name in ("prompt", "gold"):
                text = as_text(raw.get(name))
                if hash(text) not in seen:
                    seen.add(hash(text))
                    size += len(text)
            sizes[row_key(raw)] = size
        table.append([sizes[key] for key in kept[i] if key in sizes])
    return table


def _kept_rows(result: Result, kept: Sequence[SampleKey]) -> Iterator[dict[str, Any]]:
    wanted = set(kept)
    if not wanted:
        return
    for raw in read_rows(result.folder):
        if raw is not None and row_key(raw) in wanted and raw.get("status") in STATUSES:
            yield raw


def _collect(results: Sequence[Result], kept: Mapping[int, list[SampleKey]], limit: int) -> dict[str, Any]:
    """The data block of board.js: strings that repeat, and one set a result that has samples."""
    strings: dict[str, int] = {}
    sets: list[dict[str, Any]] = []
    for i, result in enumerate(results):
        if not result.statuses:
            continue
        rows = {row_key(raw): _row(raw, limit, strings) for raw in _kept_rows(result, kept[i])}
        sets.append(
            {
                "run": result.run,
                "checkpoint": result.checkpoint,
                "suite": result.suite,
                "total": len(result.statuses),
                "items": item_table(result),
                "rows": [rows[key] for key in kept[i] if key in rows],
            }
        )
    return {"strings": list(strings), "sets": sets}


def _row(raw: dict[str, Any], limit: int, strings: dict[str, int]) -> dict[str, Any]:
    """One sample for board.js; the prompt and the gold answer, alike at every checkpoint, by their number."""
    row: dict[str, Any] = {"item": row_key(raw)[0], "sample": row_key(raw)[1], "status": raw["status"]}
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
    return {
        name: value for name, value in row.items() if value not in (0, "", None, False) or name in _ALWAYS
    }
