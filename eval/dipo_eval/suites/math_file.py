"""Math problems from JSON lines, refusing unsound data before any model is loaded. Not a suite."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading import Verdict, check_gold, grade_math
from dipo_eval.suites.base import Gold, Item, Suite, take
from dipo_eval.suites.data_file import DataFile, Record, Records, check_hash, records

# The instruction of Qwen2.5-Math's own evaluation, which the literature compares with:
# https://github.com/QwenLM/Qwen2.5-Math (evaluation, prompt type qwen25-math-cot).
BOXED = "Please reason step by step, and put your final answer within \\boxed{}."

Messages = list[dict[str, str]]
Meta = Callable[[Record], Record]


def math_suite(
    *,
    name: str,
    source: str,
    license: str,
    metric: str,
    data: DataFile,
    meta: Meta = lambda record: {},
) -> Suite:
    """The suite of a file of math problems; `meta` as in load_math_file."""
    return Suite(name, source, license, metric, partial(load_math_file, data, meta), grade_item, data)


def load_math_file(
    data: DataFile, meta: Meta, data_dir: Path | None, limit: int | None, seed: int
) -> list[Item]:
    """Items of a JSON-lines file with the fields id, question and answer (a string, or a list of strings).

    `meta` makes an item's meta and may raise ValueError. `limit` takes a random subset fixed by `seed`, in the file's
    order: files are often sorted by difficulty. Raises UserError as `items_of` does, and for a missing file and data
    other than the benchmark's.
    """
    found = records(data_dir, data)
    items = items_of(found, messages=boxed_messages, meta=meta)
    check_hash(found, data)
    return take(items, limit, seed)


def items_of(
    found: Records,
    *,
    messages: Callable[[str], Messages],
    meta: Meta,
    item_id: str | None = "id",
    question: str = "question",
    answer: str = "answer",
    readable: bool = True,
) -> list[Item]:
    """The items of a file's rows, by the names of their fields; `item_id` None names items by their lines.

    Raises UserError with file and line for no rows, a missing or empty field, an id that occurs twice, an answer that
    the math grader cannot read (unless `readable` is False), and a ValueError of `meta`.
    """
    items: list[Item] = []
    lines: dict[str, int] = {}
    for number, record in found.rows:
        where = f"{found.source}:{number}"
        name = checked_text(record, item_id, where) if item_id else f"line-{number}"
        asked = checked_text(record, question, where)
        if name in lines:
            raise UserError(f"{where}: id {name!r} is already on line {lines[name]}; make ids unique")
        lines[name] = number
        gold = checked_gold(record, where, answer, readable)
        try:
            items.append(Item(name, messages(asked), gold, meta(record)))
        except ValueError as error:
            raise UserError(f"{where}: {error}") from error
    if not items:
        raise UserError(f"{found.source}: has no problems; name a file with at least one")
    return items


def boxed_messages(question: str) -> Messages:
    """Zero-shot prompt: the problem, then the instruction to box the answer, as one user message.

    In the user's turn and not the system's, so that base models and templates without a system role see it.
    """
    return [{"role": "user", "content": f"{question}\n\n{BOXED}"}]


def meta_of(record: Record, kind: str, *keys: str) -> Record:
    """Meta with the fields of `keys` that are present; accuracy is also reported for each value of the field `kind`."""
    kept = {key: record[key] for key in keys if record.get(key) is not None}
    return {**kept, "kind": record[kind]} if record.get(kind) else kept


def grade_item(response: str, item: Item) -> Verdict:
    """The project's math grader against the item's gold, with the item's tolerance where it has one."""
    gold = cast("str | list[str]", item.gold)
    tolerance = item.meta.get("tolerance")
    return (
        grade_math(response, gold) if tolerance is None else grade_math(response, gold, tolerance=tolerance)
    )


def checked_text(record: Record, key: str, where: str) -> str:
    """A field that must be a non-empty string; UserError with the place otherwise."""
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: field {key!r} must be a string that is not empty, got {short_repr(value)}")
    return value


def checked_gold(record: Record, where: str, key: str, readable: bool) -> Gold:
    """A non-empty string or a list of them, which the math grader can read if `readable`."""
    value: Any = record.get(key)
    strings = value if isinstance(value, list) and value else [value]
    if not all(isinstance(one, str) and one.strip() for one in strings):
        raise UserError(
            f"{where}: field {key!r} must be a string or a list of strings, none empty, got {short_repr(value)}"
        )
    if readable:
        try:
            check_gold(value)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    return cast("Gold", value)
