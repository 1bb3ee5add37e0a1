"""What a set of training prompts is: one short module here with a `DATASET`, found by discovery (see __init__.py)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dipo_eval.errors import UserError, short_repr
from dipo_eval.suites.data_file import Record
from dipo_eval.suites.hub import HubData
from dipo_eval.suites.math_file import BOXED

Question = str | list[dict[str, str]]
Reward = Literal["math", "function_call", "tool_agent"]

TEMPLATES = {
    "boxed": f"{{question}}\n\n{BOXED}",
    "plain": "{question}",
    "dapo": "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n{question}\n\nRemember to put "
    'your answer on its own line after "Answer:".',
}
"""Prompts by name. boxed is the suites' own, so that training and evaluation ask alike; dapo is DAPO-Math-17k's."""


class UnsoundRowError(UserError):
    """A row that can be read and must not be trained on, such as one whose gold no answer can meet.

    In a published set such rows are known and dropped; in a user's own file they are reported as errors.
    """


@dataclass(frozen=True)
class Prompt:
    """One problem to train on.

    `question` is a string, which a template surrounds, or a list of messages, used as it is. `label` is what the
    reward grades against. `requests` are the user's in it, for the comparison with the suites.
    """

    id: str
    question: Question
    label: str
    requests: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A set of training prompts.

    `convert(record)` makes a prompt of one row. It raises, without a place, which the caller adds, UserError for a
    missing field and UnsoundRowError for a row that must not be trained on. `files` are looked for in the data folder,
    in this order; `published` has the sha256 of those whose bad rows are known and may be dropped. `make(count, seed)`
    replaces both where prompts are generated. `fields` says what a row of a local file must hold. `part_of`: suites of
    which the rows are items, so that a comparison with them would drop every row.
    """

    name: str
    source: str
    license: str
    reward: Reward
    rows: str
    fields: str
    convert: Callable[[Record], Prompt] | None = None
    files: tuple[str, ...] = ()
    published: Mapping[str, str] = field(default_factory=dict)
    hub: HubData | None = None
    template: str = "boxed"
    make: Callable[[int, int], list[Prompt]] | None = None
    part_of: tuple[str, ...] = ()


def json_lines(prompts: Iterable[Prompt], datasource: str, template: str = "{question}") -> list[str]:
    """The lines that OpenRLHF's prompt data set reads; it applies the chat template itself."""
    lines = []
    for prompt in prompts:
        question = prompt.question
        if isinstance(question, str):
            question = template.replace("{question}", question)  # not format(): braces are LaTeX's
        row = {"id": prompt.id, "input": question, "label": prompt.label, "datasource": datasource}
        lines.append(json.dumps({**row, **prompt.extra}) + "\n")
    return lines


def hub_row(row: Record, number: int) -> Record:
    """A row of the hub as it is: `convert` reads the published columns itself."""
    del number
    return row


def text_of(record: Record, *names: str) -> str:
    """The first of these fields that the record has, which must be a non-empty string."""
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"field {name!r} must be a non-empty string, got {short_repr(value)}")
        return value
    have = ", ".join(sorted(map(str, record))) or "none"
    raise UserError(f"no field {' or '.join(repr(name) for name in names)}; the row has: {have}")


def id_of(record: Record, dataset: str, *content: str) -> str:
    """The row's own `id` where it has one, else a hash of its content: the same in every run and order."""
    given = record.get("id")
    if given is not None:
        return text_of({"id": str(given)}, "id")
    digest = hashlib.sha256("\0".join(content).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{dataset}-{digest[:16]}"


def math_prompt(record: Record, dataset: str, question: str, answer: str) -> Prompt:
    """A problem with a string as its answer."""
    answer = answer.strip()
    return Prompt(id_of(record, dataset, question, answer), question, answer, (question,))
