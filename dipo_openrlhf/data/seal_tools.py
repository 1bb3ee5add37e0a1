r"""Seal-Tools: calls of several tools for one request (Wu et al. 2024, arXiv 2405.08355), in prompts of ToolRL's form.

Row of fc_sealtools.jsonl, made of dev, test_in_domain and test_out_domain of Seal-Tools_Dataset/dataset_for_finetune in
https://github.com/fairyshine/Seal-Tools without the rows whose calls take another call's result:
    {"id": "sealtools-dev-easy-0", "query": "Retrieve information about ...", "tools": [{"api_name": "getHealthWorkforce",
     "api_description": "Retrieve ...", "parameters": {"location": {"type": "str", "description": "..."}, ...},
     "required": ["location"]}, ...], "answers": [{"name": "getHealthWorkforce", "arguments": {"location": "country"}}]}
The reward compares arguments exactly: a row whose gold has a value that the request does not contain is not trained on.
"""

from __future__ import annotations

import json
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.suites.data_file import Record
from dipo_openrlhf.data.base import Dataset, Prompt, UnsoundRowError, id_of, text_of

# ToolRL's system message: rlla_4k_raw/rlla.py, the same in each of its rows.
_HEAD = """You are a helpful multi-turn dialogue assistant capable of leveraging tool calls to solve user tasks and \
provide structured chat responses.

**Available Tools**
In your response, you can use the following tools:
"""
_TAIL = """

**Steps for Each Turn**
1. **Think:** Recall relevant context and analyze the current user goal.
2. **Decide on Tool Usage:** If a tool is needed, specify the tool and its parameters.
3. **Respond Appropriately:** If a response is needed, generate one while maintaining consistency across user queries.

**Output Format**
```plaintext
<think> Your thoughts and reasoning </think>
<tool_call>
{"name": "Tool name", "parameters": {"Parameter name": "Parameter content", "... ...": "... ..."}}
{"name": "... ...", "parameters": {"... ...": "... ...", "... ...": "... ..."}}
...
</tool_call>
<response> AI's final response </response>
```

**Important Notes**
1. You must always include the `<think>` field to outline your reasoning. Provide at least one of `<tool_call>` or \
`<response>`. Decide whether to use `<tool_call>` (possibly multiple times), `<response>`, or both.
2. You can invoke multiple tool calls simultaneously in the `<tool_call>` fields. Each tool call should be a JSON object \
with a "name" field and an "parameters" field containing a dictionary of parameters. If no parameters are needed, leave \
the "parameters" field an empty dictionary.
3. Refer to the previous dialogue records in the history, including the user's queries, previous `<tool_call>`, \
`<response>`, and any tool feedback noted as `<obs>` (if exists)."""


def _convert(record: Record) -> Prompt:
    query, tools, calls = text_of(record, "query"), _list(record, "tools"), _list(record, "answers")
    offered = {text_of(tool, "api_name") for tool in tools}
    gold = []
    for call in calls:
        name, arguments = text_of(call, "name"), call.get("arguments")
        if name not in offered:
            raise UnsoundRowError(
                f"the gold calls {short_repr(name, 60)}, which is none of the tools on offer"
            )
        if not isinstance(arguments, dict):
            raise UserError(f"field 'arguments' of a call must be an object, got {short_repr(arguments)}")
        for key, value in arguments.items():
            if not _is_in(value, query.lower()):
                raise UnsoundRowError(
                    f"the gold's {name}({key}={short_repr(value, 60)}) is not in the request"
                )
        gold.append({"name": name, "parameters": arguments})
    label = json.dumps({"gold": gold, "has_response": False}, ensure_ascii=False)
    shown = "\n".join(_described(number, tool) for number, tool in enumerate(tools, start=1))
    messages = [
        {"role": "system", "content": f"{_HEAD}{shown}{_TAIL}"},
        {"role": "user", "content": f"**Dialogue Records History**\n<user> {query} </user>"},
    ]
    return Prompt(id_of(record, "seal_tools", query, label), messages, label, (query,))


def _list(record: Record, name: str) -> list[dict[str, Any]]:
    """A list of objects, at least one."""
    value = record.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise UserError(f"field {name!r} must be a list of objects, got {short_repr(value)}")
    return value


def _is_in(value: Any, request: str) -> bool:
    """Whether the request, in lower case, has the value, word for word; of a list each item."""
    if isinstance(value, list):
        return all(_is_in(one, request) for one in value)
    return str(value).lower() in request


def _described(number: int, tool: dict[str, Any]) -> str:
    """A tool as ToolRL's prompts describe it, with what is required."""
    parameters, required = tool.get("parameters"), tool.get("required") or []
    if not isinstance(parameters, dict) or not all(isinstance(one, dict) for one in parameters.values()):
        raise UserError(
            f"field 'parameters' of a tool must be an object of objects, got {short_repr(parameters)}"
        )
    shown = {name: {**one, "required": name in required} for name, one in parameters.items()}
    return (
        f"{number}. Name: {tool['api_name']}\nDescription: {text_of(tool, 'api_description')}\n"
        f"Parameters: {json.dumps(shown, ensure_ascii=False)}"
    )


DATASET = Dataset(
    name="seal_tools",
    source="https://github.com/fairyshine/Seal-Tools (dataset_for_finetune)",
    license="Apache-2.0",
    reward="function_call",
    rows="1,961",
    fields="query, tools (api_name, api_description, parameters, required) and answers (name, arguments)",
    convert=_convert,
    files=("fc_sealtools.jsonl",),
    published={"fc_sealtools.jsonl": "248027f691ef021ecfd073efc7ea5f77536acc94a38fbeb5304217293380ca6d"},
    template="plain",
)
