"""Loading of math problems from JSON lines, refusing unsound data before any model is loaded. Not a suite."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from dipo_eval.errors import UserError
from dipo_eval.grading import Verdict, check_gold, grade_math
from dipo_eval.suites.base import Gold, Item

# The instruction of Qwen2.5-Math's own evaluation, which the literature compares with:
# https://github.com/QwenLM/Qwen2.5-Math (evaluation, prompt type qwen25-math-cot).
BOXED = "Please reason step by step, and put your final answer within \\boxed{}."

T = TypeVar("T")
Record = dict[str, Any]


def boxed_messages(question: str) -> list[dict[str, str]]:
    """Zero-shot prompt: the problem, then the instruction to box the answer, as one user message.

    In the user's turn and not the system's, so that base models and templates without a system role see it.
    """
    return [{"role": "user", "content": f"{question}\n\n{BOXED}"}]


def load_math_file(
    data_dir: Path | None,
    filename: str,
    limit: int | None,
    seed: int,
    *,
    meta_keys: Sequence[str] = (),
    extra_meta: Callable[[Record], Record] | None = None,
) -> list[Item]:
    """Items of a JSON-lines file with the fields id, question and answer (a string, or a list of strings).

    `meta_keys` are copied to the item's meta where present; `extra_meta` computes more and may raise
    ValueError. `limit` takes a random subset fixed by `seed`, in the file's order: files are often sorted
    by difficulty. Raises UserError with file and line for a missing or empty file, a line that is not a
    JSON object, a missing or empty field, an id that occurs twice, or a gold answer that the grader cannot
    parse.
    """
    path = data_file(data_dir, filename)
    items: list[Item] = []
    lines_of_ids: dict[str, int] = {}
    for number, record in read_records(path):
        where = f"{path}:{number}"
        item_id, question = _text(record, "id", where), _text(record, "question", where)
        if item_id in lines_of_ids:
            raise UserError(
                f"{where}: id {item_id!r} is already on line {lines_of_ids[item_id]}; make ids unique"
            )
        lines_of_ids[item_id] = number
        gold = _gold(record, where)
        meta = {key: record[key] for key in meta_keys if record.get(key) is not None}
        if extra_meta:
            try:
                meta |= extra_meta(record)
            except ValueError as error:
                raise UserError(f"{where}: {error}") from error
        items.append(Item(item_id, boxed_messages(question), gold, meta))
    if not items:
        raise UserError(f"{path}: has no problems; get the file again")
    return take(items, limit, seed)


def data_file(data_dir: Path | None, filename: str) -> Path:
    """Path of a data file. Raises UserError where no folder is named or the file is not there."""
    named = data_dir if data_dir is not None else os.environ.get("DIPO_DATA_DIR")
    if not named:
        raise UserError(
            f"{filename} is needed: name its folder with --data-dir or the variable DIPO_DATA_DIR"
        )
    path = Path(named) / filename
    if not path.is_file():
        raise UserError(f"{path}: no such file; name the folder that holds {filename} with --data-dir")
    return path


def read_records(path: Path) -> list[tuple[int, Record]]:
    """(line number, object) of a JSON-lines file without blank lines. UserError names the first bad line."""
    records = []
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 (byte {error.start}); get the file again") from error
    # Not splitlines(): U+2028 and the like are allowed inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not valid JSON ({error}); mend or remove the line") from error
        if not isinstance(record, dict):
            raise UserError(
                f"{path}:{number}: is a {type(record).__name__}, not a JSON object; mend the line"
            )
        records.append((number, record))
    return records


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


def _text(record: Record, key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: field {key!r} must be a text that is not empty, got {value!r}")
    return value


def _gold(record: Record, where: str) -> Gold:
    value = record.get("answer")
    texts = value if isinstance(value, list) and value else [value]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError(
            f"{where}: field 'answer' must be a text or a list of texts, none empty, got {value!r}"
        )
    try:
        check_gold(value)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return value  # type: ignore[return-value]
