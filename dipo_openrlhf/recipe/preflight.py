"""Checks of model and data before Ray starts; check_prompts needs the tokenizer and runs in the driver.

OpenRLHF truncates a prompt that is too long on its left (openrlhf/utils/agent.py, SingleTurnAgentExecutor.execute),
silently losing the instructions, and dies with an IndexError on an empty file; both are refused here, naming the row.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.suites.data_file import parse_line
from dipo_openrlhf.recipe.openrlhf_args import openrlhf_parser


def check_model(name: str) -> None:
    """Raise UserError unless `name` is a model folder or can be a hub name."""
    path, place = Path(name).expanduser(), f"actor.model_name_or_path: {name!r}"
    if not (name.startswith((".", "/", "~")) or name.count("/") > 1 or path.exists()):
        return
    if not path.is_dir():
        raise UserError(f"{place}: no such folder; give a Hugging Face model folder")
    if not (path / "config.json").is_file():
        raise UserError(f"{place}: has no config.json, so it is not a Hugging Face model")


def check_data_file(name: str, input_key: str, label_key: str | None) -> None:
    """Raise UserError, naming file and line, for a missing, empty or malformed local JSON-lines file."""
    path, place = Path(name).expanduser(), f"data.prompt_dataset: {name!r}"
    if path.suffix not in (".json", ".jsonl"):
        return
    if not path.is_file():
        raise UserError(f"{place}: no such file")
    if path.suffix == ".json":
        return
    is_empty = True
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                is_empty = False
                _check_row(f"{name}:{number}", line, input_key, label_key)
    if is_empty:
        raise UserError(f"{place}: the file is empty; each line is one prompt as JSON")


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
    # The parser's own choices lack fp32, which is added for CPU runs.
    arguments = vars(openrlhf_parser().parse_args(["bf16" if word == "fp32" else word for word in argv]))
    name, new_tokens = arguments["data.prompt_dataset"], arguments["rollout.max_new_tokens"]
    if Path(name).suffix != ".jsonl":
        return
    from transformers import AutoTokenizer

    model, max_len = arguments["actor.model_name_or_path"], arguments["data.max_len"]
    if Path(model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=True)
    room = max_len - (new_tokens or 1)
    prompts = _prompts(tokenizer, arguments)
    encoded = tokenizer(list(prompts.values()), add_special_tokens=False)["input_ids"] if prompts else []
    for number, tokens in zip(prompts, encoded, strict=True):
        if len(tokens) > room:
            raise UserError(
                f"{name}:{number}: the prompt has {len(tokens)} tokens, but data.max_len = {max_len} leaves "
                f"{room} beside rollout.max_new_tokens = {new_tokens}: raise data.max_len or drop the row"
            )


def _prompts(tokenizer: Any, arguments: dict[str, Any]) -> dict[int, str]:
    """Line number -> prompt as the engine gets it, of the first data.max_samples rows."""
    found: dict[int, str] = {}
    with open(arguments["data.prompt_dataset"], encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            content = json.loads(line)[arguments["data.input_key"]]
            if arguments["data.apply_chat_template"]:
                chat = [{"role": "user", "content": content}] if isinstance(content, str) else content
                content = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            found[number] = content
            if len(found) >= arguments["data.max_samples"]:
                break
    return found
