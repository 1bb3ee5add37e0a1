"""The rows of a run with tools: every label is a task, and the first ones can begin and be judged."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.workers.pool import WorkerPool
from dipo_openrlhf.environments.worker import environment_of, plain_label, pool_for
from dipo_openrlhf.preflight.prompts import Reading
from dipo_openrlhf.preflight.rows import Row
from dipo_openrlhf.rewards.episode import OPEN_SECONDS, is_reward, opening_tokens
from dipo_openrlhf.rewards.tool_template import ToolTemplate

SAMPLES = 8


def check_tasks(rows: list[Row], reading: Reading, tokenizer: Any, agent: str | None = None) -> None:
    """Raise UserError, naming the row, for a label that is no task, and for one of the first rows whose environment, chat
    template or length lets no episode begin, or whose reward is none.

    tokenizer: None where there is no model here; template and length are not checked then. agent: the file of the user's
    own environment; None: labels name environments.
    """
    if reading.apply_chat_template:
        raise UserError(
            "data.apply_chat_template: must be false: the agent applies the template, with the tools"
        )
    for place, row in rows:
        try:
            label = _label(row, reading)
            if agent is None:
                environment_of(label)
        except UserError as error:
            raise UserError(f"{place}: {reading.label_key!r} (data.label_key): {error}") from None
    template = None if tokenizer is None else ToolTemplate(tokenizer)
    with closing(pool_for(agent)) as pool:
        for place, row in rows[:SAMPLES]:
            try:
                _try_task(pool, row, reading, template, agent)
            except UserError as error:
                raise UserError(f"{place}: {error}") from None


def _try_task(
    pool: WorkerPool, row: dict[str, Any], reading: Reading, template: ToolTemplate | None, agent: str | None
) -> None:
    label = _label(row, reading)
    name = label["environment"] if agent is None else Path(agent).name
    task = {"prompt": str(row[reading.input_key]), "label": label, "events": [], "text": ""}
    opening_tokens(name, pool.ask({**task, "ask": "open"}, OPEN_SECONDS), template, reading.max_len)
    judged = pool.ask({**task, "ask": "reward"}, OPEN_SECONDS)
    if "reward" not in judged:
        said = judged.get("failed") or judged.get("reason")
        raise UserError(f"environment {name}: its reward fails where the model says nothing: {said}")
    if not is_reward(judged["reward"]):
        raise UserError(
            f"environment {name}: its reward is {short_repr(judged['reward'], 40)}: a number from 0 to 1, where 1 alone "
            "counts as correct"
        )


def _label(row: dict[str, Any], reading: Reading) -> dict[str, Any]:
    if not reading.label_key:
        raise UserError("data.label_key: the tool agent needs the key of a row's task")
    return plain_label(row[reading.label_key])
