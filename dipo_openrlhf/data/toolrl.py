r"""ToolRL's 4,000 tool calls: from ToolACE, xLAM and Hammer (Qian et al. 2025, arXiv 2504.13958).

Row of dataset/rlla_4k/train.parquet in https://github.com/qiancheng0/ToolRL (made by rlla_4k_raw/rlla.py):
    {"data_source": "rlla", "prompt": [{"role": "system", "content": "You are a helpful multi-turn ..."},
     {"role": "user", "content": "**Dialogue Records History**\n<user> ... </user>"}],
     "reward_model": {"style": "rule", "ground_truth": "<think> ... </think>\n<tool_call>\n{...}\n</tool_call>"}}
Row of rlla_4k_raw/rlla_rl.json: the same strings as instruction, input and output; of fc_toolrl_train.jsonl: as system,
user and output. The label is what rewards/function_call.py reads: the calls of the output, and whether it answers.
"""

from __future__ import annotations

import json
import re
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading.calls.unread import UnreadableError
from dipo_eval.suites.data_file import Record
from dipo_openrlhf.data.base import Dataset, Prompt, UnsoundRowError, id_of, text_of
from dipo_openrlhf.rewards import toolrl

_TURN = re.compile(r"<user>(.*?)</user>", re.DOTALL)
_TOOL = re.compile(r"^\d+\. Name: (.*)$", re.MULTILINE)


def _convert(record: Record) -> Prompt:
    system, user, output = _parts(record)
    output = output.rpartition("</think>")[2]  # thoughts talk of tags
    label = json.dumps(
        {"gold": _calls(output, system), "has_response": "<response>" in output}, ensure_ascii=False
    )
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    turns = tuple(turn.strip() for turn in _TURN.findall(user)) or (user,)
    return Prompt(id_of(record, "toolrl", system, user, label), messages, label, turns)


def _parts(record: Record) -> tuple[str, str, str]:
    """System message, user message and the published output of a row in any of the three layouts."""
    prompt = record.get("prompt")
    if not isinstance(prompt, list):
        return (
            text_of(record, "system", "instruction"),
            text_of(record, "user", "input"),
            text_of(record, "output"),
        )
    contents = {one.get("role"): one for one in prompt if isinstance(one, dict)}
    if len(prompt) != 2 or contents.keys() != {"system", "user"}:
        raise UserError(f"field 'prompt' must be a system and a user message, got {short_repr(prompt)}")
    graded = record.get("reward_model")
    return (
        text_of(contents["system"], "content"),
        text_of(contents["user"], "content"),
        text_of(graded if isinstance(graded, dict) else {}, "ground_truth"),
    )


def _calls(output: str, system: str) -> list[dict[str, Any]]:
    """The calls of an output, which must be calls of tools that the system message offers."""
    if "<tool_call>" not in output:
        return []
    try:
        calls = toolrl.tagged_calls(output)
    except UnreadableError as error:
        raise UnsoundRowError(f"the gold calls cannot be read ({error})") from None
    offered = {name.strip() for name in _TOOL.findall(system)}
    for name, _ in calls:
        if offered and name.strip() not in offered:
            raise UnsoundRowError(
                f"the gold calls {short_repr(name, 60)}, which is none of the tools on offer"
            )
    return [{"name": name, "parameters": arguments} for name, arguments in calls]


DATASET = Dataset(
    name="toolrl",
    source="https://github.com/qiancheng0/ToolRL (dataset/rlla_4k)",
    license="Apache-2.0; xLAM's share CC-BY-4.0",
    reward="function_call",
    rows="4,000",
    fields="system, user, output; or instruction, input, output; or prompt and reward_model.ground_truth",
    convert=_convert,
    files=("rlla_rl.json", "toolrl_train.parquet", "fc_toolrl_train.jsonl"),
    published={
        "fc_toolrl_train.jsonl": "6b45b908316b71754ad11e1dcfab58034e6e04379d36f5339a863dd4e38aab1d",
        "fc_toolrl_val.jsonl": "0d537afc54cc92984848c8642e51e8f1aad1d777f660d421327f58ce0de7d8ce",
    },
    template="plain",
)
