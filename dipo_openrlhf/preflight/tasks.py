"""The rows of a run with the tool agent: every label names an environment, and the first ones can begin."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from dipo_eval.errors import UserError
from dipo_openrlhf.environments.worker import environment_of, plain_label, pool_for
from dipo_openrlhf.preflight.prompts import Reading
from dipo_openrlhf.preflight.rows import Row
from dipo_openrlhf.rewards.episode import OPEN_SECONDS, opening_tokens
from dipo_openrlhf.rewards.tool_template import ToolTemplate

SAMPLES = 8


def check_tasks(rows: list[Row], reading: Reading, tokenizer: Any) -> None:
    """Raise UserError, naming the row, for a label that is no task, and for one of the first rows whose environment, chat
    template or length lets no episode begin. `tokenizer`: None where there is no model here, and only labels are checked.
    """
    for place, row in rows:
        try:
            environment_of(_label(row, reading))
        except UserError as error:
            raise UserError(f"{place}: {reading.label_key!r} (data.label_key): {error}") from None
    if tokenizer is None:
        return
    template = ToolTemplate(tokenizer)
    with closing(pool_for(None)) as pool:
        for place, row in rows[:SAMPLES]:
            prompt, label = str(row[reading.input_key]), _label(row, reading)
            question = {"prompt": prompt, "label": label, "events": [], "ask": "open", "text": ""}
            try:
                opening_tokens(
                    label["environment"], pool.ask(question, OPEN_SECONDS), template, reading.max_len
                )
            except UserError as error:
                raise UserError(f"{place}: {error}") from None


def _label(row: dict[str, Any], reading: Reading) -> dict[str, Any]:
    if not reading.label_key:
        raise UserError("data.label_key: the tool agent needs the key of a row's task")
    return plain_label(row[reading.label_key])
