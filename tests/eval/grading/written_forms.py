"""Calls as models write them, in the form of each name that a recipe may choose. Loaded by path."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Call = tuple[str, dict[str, Any]]
SEP, BEGIN, END = (
    "<\uff5ctool\u2581sep\uff5c>",
    "<\uff5ctool\u2581call\u2581begin\uff5c>",
    "<\uff5ctool\u2581call\u2581end\uff5c>",
)
ALL_BEGIN, ALL_END = "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"
DSML = "\uff5cDSML\uff5c"


def plain(value: Any) -> str:
    """A value as the forms of tags write it: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def data(call: Call, key: str = "arguments") -> str:
    return json.dumps({"name": call[0], key: call[1]}, ensure_ascii=False)


def python(call: Call) -> str:
    return f"{call[0]}({', '.join(f'{key}={value!r}' for key, value in call[1].items())})"


def coder(call: Call) -> str:
    inner = "".join(f"<parameter={key}>\n{plain(value)}\n</parameter>\n" for key, value in call[1].items())
    return f"<tool_call>\n<function={call[0]}>\n{inner}</function>\n</tool_call>"


def glm(call: Call) -> str:
    inner = "".join(
        f"<arg_key>{key}</arg_key>\n<arg_value>{plain(value)}</arg_value>\n" for key, value in call[1].items()
    )
    return f"<tool_call>{call[0]}\n{inner}</tool_call>"


def deepseek(call: Call) -> str:
    return f"{BEGIN}function{SEP}{call[0]}\n```json\n{json.dumps(call[1], ensure_ascii=False)}\n```{END}"


def invoke(call: Call, mark: str = "") -> str:
    typed = [(key, value, str(isinstance(value, str)).lower()) for key, value in call[1].items()]
    shown = ' string="{}"' if mark else ""
    inner = "".join(
        f'<{mark}parameter name="{key}"{shown.format(is_text)}>{plain(value)}</{mark}parameter>\n'
        for key, value, is_text in typed
    )
    return f'<{mark}invoke name="{call[0]}">\n{inner}</{mark}invoke>'


def kimi(call: Call) -> str:
    return (
        f"<|tool_call_begin|>functions.{call[0]}:0<|tool_call_argument_begin|>"
        f"{json.dumps(call[1], ensure_ascii=False)}<|tool_call_end|>"
    )


def gemma(call: Call) -> str:
    def value(one: Any) -> str:
        return f"<escape>{one}<escape>" if isinstance(one, str) else json.dumps(one)

    inner = ",".join(f"{key}:{value(one)}" for key, one in call[1].items())
    return f"<start_function_call>call:{call[0]}{{{inner}}}<end_function_call>"


def harmony(call: Call) -> str:
    return (
        f"<|channel|>commentary to=functions.{call[0]} <|constrain|>json<|message|>"
        f"{json.dumps(call[1], ensure_ascii=False)}<|call|>"
    )


def each(write: Callable[[Call], str], join: str = "\n") -> Callable[[list[Call]], str]:
    return lambda calls: join.join(map(write, calls))


def listed(calls: list[Call]) -> str:
    return f"[{', '.join(map(data, calls))}]"


WRITTEN: dict[str, Callable[[list[Call]], str]] = {
    "hermes": each(lambda call: f"<tool_call>\n{data(call)}\n</tool_call>"),
    "llama3_json": each(lambda call: data(call, "parameters"), "; "),
    "pythonic": lambda calls: f"[{', '.join(map(python, calls))}]",
    "qwen3_coder": each(coder),
    "glm45": each(glm),
    "deepseek_v3": lambda calls: f"{ALL_BEGIN}{each(deepseek)(calls)}{ALL_END}",
    "deepseek_v32": lambda calls: (
        f"<{DSML}function_calls>\n"
        + each(lambda one: invoke(one, DSML))(calls)
        + f"\n</{DSML}function_calls>"
    ),
    "mistral": lambda calls: f"[TOOL_CALLS]{listed(calls)}",
    "granite": lambda calls: f"<|tool_call|>{listed(calls)}",
    "phi4_mini_json": lambda calls: f"functools{listed(calls)}",
    "kimi_k2": lambda calls: f"<|tool_calls_section_begin|>{each(kimi, '')(calls)}<|tool_calls_section_end|>",
    "openai": each(harmony, "<|start|>assistant"),
    "minimax_m2": lambda calls: f"<minimax:tool_call>\n{each(invoke)(calls)}\n</minimax:tool_call>",
    "functiongemma": each(gemma, ""),
    "internlm": each(
        lambda call: f"<|action_start|><|plugin|>\n{data(call, 'parameters')}<|action_end|>", ""
    ),
    "jamba": lambda calls: f"<tool_calls>{listed(calls)}</tool_calls>",
}

PROPERTIES = {
    "city": {"type": "string"},
    "code": {"type": "string"},
    "days": {"type": "integer"},
    "warm": {"type": "boolean"},
    "above": {"type": "number"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "units": {"type": "object"},
}
FUNCTIONS: list[dict[str, Any]] = [
    {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": PROPERTIES, "required": []},
    },
    {
        "name": "get_time",
        "description": "The time.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
]
ROME: Call = ("weather", {"city": "Rome", "days": 2})
NESTED: Call = (
    "weather",
    {
        "city": 'Z\u00fcrich, "old" town',
        "code": "007",
        "warm": True,
        "above": -1.5,
        "tags": ["a", "b, c"],
        "units": {"of": {"wind": "km/h"}, "also": [1, {"none": None}]},
    },
)
MESSAGES: dict[str, list[Call]] = {
    "one call": [ROME],
    "nested arguments": [NESTED],
    "parallel": [ROME, ROME, NESTED],
    "no argument": [("get_time", {})],
}
