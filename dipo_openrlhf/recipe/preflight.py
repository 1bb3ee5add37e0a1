"""Data and model checks that need the tokenizer: done in the driver before Ray starts.

OpenRLHF cuts a prompt that is too long on its left (utils/agent.py:226), silently losing the instructions, and dies
with an IndexError on an empty file; both are refused here, naming the row.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.suites.data_file import parse_line
from dipo_openrlhf.recipe.openrlhf_args import openrlhf_parser

_LOCAL_DATA = {".json", ".jsonl"}


def check_model(name: str) -> None:
    """Raise UserError unless `name` is a model folder or can be a hub name."""
    path = Path(name).expanduser()
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1 or path.exists()
    if not looks_local:
        return
    if not path.is_dir():
        raise UserError(
            f"actor.model_name_or_path: {name!r}: no such folder; give a Hugging Face model folder"
        )
    if not (path / "config.json").is_file():
        raise UserError(
            f"actor.model_name_or_path: {name!r}: has no config.json, so it is not a Hugging Face model"
        )


def check_data_file(name: str, input_key: str, label_key: str | None) -> None:
    """Raise UserError, naming file and line, for a missing, empty or malformed local JSON-lines file."""
    path = Path(name).expanduser()
    if path.suffix not in _LOCAL_DATA:
        return
    if not path.is_file():
        raise UserError(f"data.prompt_dataset: {name!r}: no such file")
    if path.suffix != ".jsonl":
        return
    rows = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            rows += 1
            _check_row(f"{name}:{number}", line, input_key, label_key)
    if not rows:
        raise UserError(f"data.prompt_dataset: {name!r}: the file is empty; each line is one prompt as JSON")


def _check_row(place: str, line: bytes, input_key: str, label_key: str | None) -> None:
    try:
        row = parse_line(line.decode("utf-8"), place)
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: is not UTF-8 (byte {error.start} of the line); save it as UTF-8") from None
    for setting, key in (("data.input_key", input_key), ("data.label_key", label_key)):
        if key and (not isinstance(row, dict) or key not in row):
            keys = ", ".join(row) if isinstance(row, dict) else "none"
            raise UserError(f"{place}: no key {key!r} ({setting}); the row has: {keys}")
        if key and row[key] in (None, "", []):
            raise UserError(f"{place}: {key!r} ({setting}) is empty")


def check_prompts(argv: list[str]) -> None:
    """Every prompt must fit beside a full answer: prompt + rollout.max_new_tokens <= data.max_len."""
    known = list(argv)
    if "fp32" in known:
        known[known.index("fp32")] = "bf16"  # the parser's own choices
    arguments = vars(openrlhf_parser().parse_args(known))
    new_tokens = arguments["rollout.max_new_tokens"]
    name = arguments["data.prompt_dataset"]
    if Path(name).suffix != ".jsonl":
        return
    from transformers import AutoTokenizer

    model = arguments["actor.model_name_or_path"]
    if Path(model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=True)
    room = arguments["data.max_len"] - (new_tokens or 1)
    rows = _rows(Path(name), arguments["data.max_samples"])
    for number, length in _lengths(tokenizer, rows, arguments):
        if length > room:
            raise UserError(
                f"{name}:{number}: the prompt has {length} tokens, but data.max_len = {arguments['data.max_len']} leaves "
                f"{room} beside rollout.max_new_tokens = {new_tokens}: raise data.max_len or drop the row"
            )


def _rows(path: Path, limit: int) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                rows.append((number, json.loads(line)))
            if len(rows) >= limit:
                break
    return rows


def _lengths(
    tokenizer: Any, rows: list[tuple[int, dict[str, Any]]], arguments: dict[str, Any]
) -> list[tuple[int, int]]:
    texts = []
    for _, row in rows:
        content = row[arguments["data.input_key"]]
        if arguments["data.apply_chat_template"]:
            chat = [{"role": "user", "content": content}] if isinstance(content, str) else content
            content = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        texts.append(content)
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return [(number, len(ids)) for (number, _), ids in zip(rows, encoded, strict=True)]
