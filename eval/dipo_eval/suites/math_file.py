"""Loading of math problems from JSON lines, refusing unsound data before any model is loaded. Not a suite."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

from dipo_eval.errors import UserError
from dipo_eval.grading import Verdict, check_gold, grade_math
from dipo_eval.suites.base import Gold, Item
from dipo_eval.suites.data_file import DataFile, Record, check_hash, records

# The instruction of Qwen2.5-Math's own evaluation, which the literature compares with:
# https://github.com/QwenLM/Qwen2.5-Math (evaluation, prompt type qwen25-math-cot).
BOXED = "Please reason step by step, and put your final answer within \\boxed{}."

T = TypeVar("T")


def boxed_messages(question: str) -> list[dict[str, str]]:
    """Zero-shot prompt: the problem, then the instruction to box the answer, as one user message.

    In the user's turn and not the system's, so that base models and templates without a system role see it.
    """
    return [{"role": "user", "content": f"{question}\n\n{BOXED}"}]


def load_math_file(
    data_dir: Path | None,
    data: DataFile | str,
    limit: int | None,
    seed: int,
    *,
    meta_keys: Sequence[str] = (),
    extra_meta: Callable[[Record], Record] | None = None,
) -> list[Item]:
    """Items of a JSON-lines file with the fields id, question and answer (a string, or a list of strings).

    ``data`` names the file; where it is missing, and ``data`` says so, the hub's data set is read in its place.

    `meta_keys` are copied to the item's meta where present; `extra_meta` computes more and may raise
    ValueError. `limit` takes a random subset fixed by `seed`, in the file's order: files are often sorted
    by difficulty. Raises UserError with file and line for a missing or empty file, a line that is not a
    JSON object, a missing or empty field, an id that occurs twice, or a gold answer that the grader cannot
    parse, and data other than the benchmark's.
    """
    data = DataFile(data) if isinstance(data, str) else data
    found = records(data_dir, data)
    items: list[Item] = []
    lines_of_ids: dict[str, int] = {}
    for number, record in found.rows:
        where = f"{found.source}:{number}"
        item_id, question = checked_text(record, "id", where), checked_text(record, "question", where)
        if item_id in lines_of_ids:
            raise UserError(
                f"{where}: id {item_id!r} is already on line {lines_of_ids[item_id]}; make ids unique"
            )
        lines_of_ids[item_id] = number
        gold = checked_gold(record, where)
        meta = {key: record[key] for key in meta_keys if record.get(key) is not None}
        if extra_meta:
            try:
                meta |= extra_meta(record)
            except ValueError as error:
                raise UserError(f"{where}: {error}") from error
        items.append(Item(item_id, boxed_messages(question), gold, meta))
    if not items:
        raise UserError(f"{found.source}: has no problems; get the file again")
    check_hash(found, data)
    return take(items, limit, seed)


def take(items: list[T], limit: int | None, seed: int) -> list[T]:
    """A random subset of `limit` items, fixed by the seed, in the order given; all for None."""
    if limit is None or limit >= len(items):
        return items
    if limit < 1:
        raise UserError(f"limit={limit} leaves no problem to evaluate; give at least 1")
    chosen = set(random.Random(seed).sample(range(len(items)), limit))
    return [item for index, item in enumerate(items) if index in chosen]


def grade_item(response: str, item: Item) -> Verdict:
    """The project's math grader against the item's gold, with the item's tolerance where it has one."""
    gold = cast("str | list[str]", item.gold)
    tolerance = item.meta.get("tolerance")
    if tolerance is None:
        return grade_math(response, gold)
    return grade_math(response, gold, tolerance=tolerance)


def checked_text(record: Record, key: str, where: str) -> str:
    """A field that must be a text that is not empty; UserError with the place otherwise."""
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: field {key!r} must be a text that is not empty, got {value!r:.80}")
    return value


def checked_gold(record: Record, where: str, key: str = "answer", readable: bool = True) -> Gold:
    """A text or list of texts, none empty, which the math grader can read unless ``readable`` is False."""
    value = record.get(key)
    texts = value if isinstance(value, list) and value else [value]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError(
            f"{where}: field {key!r} must be a text or a list of texts, none empty, got {value!r:.80}"
        )
    if readable:
        try:
            check_gold(cast("str | list[str]", value))
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    return cast("Gold", value)
