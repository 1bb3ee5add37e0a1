"""Every prompt as the engine will get it: its keys and types, the chat template, its length.

OpenRLHF cuts a prompt that is too long on its left (openrlhf/utils/agent.py, SingleTurnAgentExecutor.execute), silently
losing the instructions, and dies with an IndexError on an empty file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, one_line, short_repr
from dipo_eval.secrets.masking import mask_text
from dipo_openrlhf.preflight.rows import Row, data_sets, is_read_here, looks_like_date, read_rows

_BATCH = 1000  # prompts that are tokenized at once
_MOST_DIGITS = 2**63 - 1  # of an integer in Arrow; a larger one is read as a float


@dataclass(frozen=True)
class Reading:
    """How OpenRLHF makes prompts of rows. new_tokens: rollout.max_new_tokens, None: whatever data.max_len leaves."""

    model: str
    input_key: str
    label_key: str | None
    apply_chat_template: bool
    input_template: str | None
    max_len: int
    new_tokens: int | None
    max_samples: int
    images: bool = False

    @classmethod
    def of(cls, get: Callable[[str], Any]) -> Reading:
        """From OpenRLHF's arguments by their dotted names."""
        return cls(
            model=get("actor.model_name_or_path"),
            input_key=get("data.input_key"),
            label_key=get("data.label_key"),
            apply_chat_template=bool(get("data.apply_chat_template")),
            input_template=get("data.input_template"),
            max_len=get("data.max_len"),
            new_tokens=get("rollout.max_new_tokens"),
            max_samples=get("data.max_samples"),
            images=get("data.max_images_per_prompt") > 0,
        )


def check_data_file(
    names: str,
    input_key: str,
    label_key: str | None,
    limit: int | None = None,
    texts_only: bool = False,
    split: str | None = None,
) -> list[Row]:
    """The rows of data sets joined by commas, at most `limit` of each. Raises UserError with file and line: missing,
    empty, malformed rows.

    texts_only: prompts are no lists of messages. split: of a set that OpenRLHF loads from a hub or a folder; None leaves
    these out.
    """
    rows: list[Row] = []
    for one in data_sets(names):
        if split is None and not is_read_here(one):
            continue
        found = [
            (place, _checked(place, row, input_key, label_key, texts_only))
            for place, row in islice(read_rows(one, split or ""), limit)
        ]
        if not found:
            raise UserError(f"data.prompt_dataset: {one!r}: the file is empty; each row is one prompt")
        _check_column(one, found, input_key, "data.input_key")
        if label_key:
            _check_column(one, found, label_key, "data.label_key")
        rows += found
    return rows


def _checked(
    place: str, row: dict[str, Any], input_key: str, label_key: str | None, texts_only: bool
) -> dict[str, Any]:
    for setting, key in (("data.input_key", input_key), ("data.label_key", label_key)):
        if not key:
            continue
        if key not in row:
            raise UserError(
                f"{place}: no key {key!r} ({setting}); the row has: {', '.join(map(str, row)) or 'none'}"
            )
        if row[key] in (None, "", []) or row[key] != row[key]:  # the last: NaN
            raise UserError(f"{place}: {key!r} ({setting}) is empty")
        if isinstance(row[key], int) and abs(row[key]) > _MOST_DIGITS:
            raise UserError(
                f"{place}: {key!r} ({setting}) has more digits than the data sets library keeps: write it as text"
            )
        if _has_surrogate(row[key]):
            raise UserError(
                f"{place}: {key!r} ({setting}) holds half of a character (a lone surrogate): fix the row"
            )
    if problem := _input_problem(row[input_key], texts_only):
        raise UserError(
            f"{place}: {input_key!r} (data.input_key) is {short_repr(row[input_key], 60)}: {problem}"
        )
    return row


def _input_problem(value: Any, texts_only: bool) -> str:
    if isinstance(value, str):
        return "is a list of messages written as text: write the list itself" if _is_chat_text(value) else ""
    if texts_only:
        return "without data.apply_chat_template a prompt is text"
    if not isinstance(value, list):
        return "a prompt is text, or a list of messages"
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return 'a message is {"role": "user", "content": "..."}'
        if not isinstance(message.get("content"), str | list):
            return f"its {message['role']} message has no content"
    if value and value[-1]["role"] == "assistant":
        return "its last message is the assistant's: a prompt ends before the answer"
    return ""


def _is_chat_text(value: str) -> bool:
    return value.lstrip().startswith("[{") and '"role"' in value and '"content"' in value and _is_json(value)


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= char <= "\udfff" for char in value) if not value.isascii() else False
    if isinstance(value, list | dict):
        return any(map(_has_surrogate, value if isinstance(value, list) else value.values()))
    return False


def _check_column(name: str, rows: list[Row], key: str, setting: str) -> None:
    """The data sets library makes one type of a column, and a time stamp of texts that all look like dates."""
    first_place, first = rows[0][0], type(rows[0][1][key])
    for place, row in rows:
        number = {first, type(row[key])} <= {int, float}
        if type(row[key]) is not first and not number:
            raise UserError(
                f"{place}: {key!r} ({setting}) is {short_repr(row[key], 40)}, in {first_place} it is "
                f"{short_repr(rows[0][1][key], 40)}: a column has one type; write all of them alike"
            )
    if name.endswith((".json", ".jsonl")) and all(looks_like_date(row[key]) for _, row in rows):
        raise UserError(
            f"{first_place}: {key!r} ({setting}) is {rows[0][1][key]!r}, and so on: where all look like dates, the data "
            "sets library makes time stamps of them: write them in another form, such as 1 May 2020"
        )


def check_prompts(
    rows: list[Row], reading: Reading, advance: Callable[[int], None] = lambda count: None
) -> None:
    """Raise UserError, naming the row, for a prompt that the chat template refuses or that does not fit beside a full
    answer: prompt + rollout.max_new_tokens <= data.max_len. `advance` is called with numbers of rows.
    """
    if not rows or reading.images:
        return
    tokenizer = load_tokenizer(reading.model)
    room = reading.max_len - (reading.new_tokens or 1)
    for batch in _batches(rows):
        texts = [prompt_of(tokenizer, reading, place, row) for place, row in batch]
        _check_different(batch, texts, reading)
        counted = [n for n, text in enumerate(texts) if not (n and _surely_fits(text, room))]
        found = _token_ids(tokenizer, [texts[n] for n in counted], reading)
        for place, tokens in zip((batch[n][0] for n in counted), map(len, found), strict=True):
            if not tokens:
                raise UserError(
                    f"{place}: the tokenizer of {reading.model!r} makes no token of the prompt: get its files again"
                )
            if tokens > room:
                raise UserError(
                    f"{place}: the prompt has {tokens} tokens, but data.max_len = {reading.max_len} leaves "
                    f"{room} beside rollout.max_new_tokens = {reading.new_tokens}: raise data.max_len or drop the row"
                )
        advance(len(batch))


def _surely_fits(text: str, room: int) -> bool:
    """Without a tokenizer: a token is at least one of an ASCII text's characters, but for a mark or two around it."""
    return len(text) + 8 <= room and text.isascii()


def _token_ids(tokenizer: Any, texts: list[str], reading: Reading) -> list[list[int]]:
    try:
        return tokenizer(texts, add_special_tokens=False)["input_ids"]
    except Exception as error:
        raise UserError(
            f"actor.model_name_or_path: {reading.model!r}: its tokenizer cannot read the prompts ({one_line(error)})"
        ) from None


def _check_different(batch: list[Row], texts: list[str], reading: Reading) -> None:
    """A template that drops what it is given makes one prompt of all."""
    other = next(
        (n for n, (_, row) in enumerate(batch) if row[reading.input_key] != batch[0][1][reading.input_key]), 0
    )
    if other and texts[other] == texts[0] and len(set(texts)) == 1:
        raise UserError(
            f"{batch[other][0]}: the model's chat template makes the same prompt of it as of {batch[0][0]}: "
            f"{short_repr(texts[0], 60)}: mend the template, or set data.apply_chat_template: false"
        )


def _batches(rows: list[Row]) -> Iterator[list[Row]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]


def load_tokenizer(model: str) -> Any:
    """As OpenRLHF loads it. Raises UserError."""
    from transformers import AutoTokenizer

    if Path(model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        return AutoTokenizer.from_pretrained(model, trust_remote_code=True)
    except Exception as error:
        raise UserError(
            f"actor.model_name_or_path: {model!r}: its tokenizer cannot be loaded ({_lines_joined(error)})"
        ) from None


def _lines_joined(error: Exception) -> str:
    """A config.json's mistake is in transformers' second line, after the name of the validator."""
    return mask_text(f"{type(error).__name__}: {' '.join(str(error).split())}")[:400]


def twice_templated(rows: list[Row], reading: Reading) -> str:
    """A warning where the first prompt has marks of a chat template already, to which another would be added."""
    text = rows[0][1][reading.input_key] if rows else None
    if not reading.apply_chat_template or not isinstance(text, str):
        return ""
    marks = load_tokenizer(reading.model).all_special_tokens
    found = next((mark for mark in marks if len(mark) > 4 and mark in text), None)
    return (
        f"{rows[0][0]}: the prompt holds {found!r}, a mark of the model's chat template, which is applied once more: set "
        "data.apply_chat_template: false, or give the text alone"
        if found
        else ""
    )


def prompt_of(tokenizer: Any, reading: Reading, place: str, row: dict[str, Any]) -> str:
    """The text of a row's prompt (openrlhf/datasets/prompts_dataset.py, preprocess_data). Raises UserError."""
    content = row[reading.input_key]
    if not reading.apply_chat_template:
        return reading.input_template.format(content) if reading.input_template else content
    chat = [{"role": "user", "content": content}] if isinstance(content, str) else content
    if getattr(tokenizer, "chat_template", "?") is None:
        raise UserError(
            f"data.apply_chat_template: true: {reading.model!r} has no chat template: set it to false, or put "
            "chat_template.jinja into the model's folder"
        )
    try:
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # of jinja2, or raised by the template
        roles = ", ".join(str(message.get("role")) for message in chat)
        raise UserError(
            f"{place}: the model's chat template refuses the prompt, with the roles {roles} ({one_line(error)}): change "
            "the row, or set data.apply_chat_template: false for a model without one"
        ) from None
