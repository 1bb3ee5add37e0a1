"""Correct and damaged answers to BFCL's items, and bfcl-eval's own verdict on them. Loaded by path."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
from collections.abc import Iterator
from typing import Any

from dipo_eval.grading.calls.bfcl import SINGLE_TURN, Language, language_of
from dipo_eval.harness.bfcl_eval_worker import official_verdict

GRADED = tuple(category for category in SINGLE_TURN if "relevance" not in category)
JSON_VALUES = [None, True, False, 0, 1, -1, 2.5, "", "x", [], [1], ["a"], {}, {"a": 1}, [[1]], [{"a": "b"}]]


def correct_calls(item: dict[str, Any], category: str) -> list[dict[str, Any]]:
    """The gold calls with the first allowed value of each argument, as decoded data."""
    described = {function["name"]: function["parameters"]["properties"] for function in item["function"]}
    calls = []
    for call in item["ground_truth"]:
        ((name, allowed),) = call.items()
        arguments = {}
        for argument, answers in allowed.items():
            wanted = [answer for answer in answers if answer != ""]
            if wanted and argument in described[name]:
                value = _chosen(wanted[0])
                schema = described[name][argument]
                arguments[argument] = (
                    value if language_of(category) is Language.PYTHON else source(value, schema, category)
                )
        calls.append({name: arguments})
    return calls


def _chosen(answer: Any) -> Any:
    """An allowed value without the lists of alternatives inside its dicts."""
    if isinstance(answer, dict):
        chosen = {}
        for key, options in answer.items():
            wanted = [one for one in options if one != ""] if isinstance(options, list) else [options]
            if wanted:
                chosen[key] = wanted[0]
        return chosen
    return [_chosen(one) for one in answer] if isinstance(answer, list) else answer


def source(value: Any, schema: dict[str, Any], category: str) -> str:
    """A value as the Java or JavaScript source text that BFCL's checker reads."""
    declared = schema["type"]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        inner = {"type": schema.get("items", {}).get("type", "any")}
        items = ", ".join(_quoted(one, inner, category) for one in value)
        if declared == "Array":
            return f"new {inner['type']}[]{{{items}}}"
        return f"new ArrayList<>(Arrays.asList({items}))" if declared == "ArrayList" else f"[{items}]"
    if isinstance(value, dict):
        if declared == "HashMap":
            puts = " ".join(
                f'put("{key}", {_quoted(one, {"type": "any"}, category)});' for key, one in value.items()
            )
            return f"new HashMap<String, Object>() {{{{ {puts} }}}}"
        return (
            "{"
            + ", ".join(f"{key}: {_quoted(one, {'type': 'any'}, category)}" for key, one in value.items())
            + "}"
        )
    suffix = {"long": "L", "Bigint": "n", "float": "f" if category == "simple_java" else ""}.get(declared, "")
    return f"{value}{suffix if isinstance(value, int | float) else ''}"


def _quoted(value: Any, schema: dict[str, Any], category: str) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(_quoted(one, schema, category) for one in value) + "]"
    return source(value, schema, category)


def rendered(calls: list[dict[str, Any]], category: str, item: dict[str, Any]) -> str:
    """Calls as the text that a model without native calls writes."""
    if language_of(category) is Language.PYTHON:
        listed = [
            f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
            for call in calls
            for name, arguments in call.items()
        ]
        return f"[{', '.join(listed)}]"
    described = {function["name"]: function["parameters"]["properties"] for function in item["function"]}
    listed = []
    for call in calls:
        for name, arguments in call.items():
            schemas = described.get(name, {})
            parts = []
            for key, value in arguments.items():
                is_text = schemas.get(key, {}).get("type") == "String" or not isinstance(value, str)
                parts.append(f"{key}={json.dumps(value, ensure_ascii=False) if is_text else value}")
            listed.append(f"{name}({', '.join(parts)})")
    return f"[{', '.join(listed)}]"


def _damages(calls: list[dict[str, Any]], rng: random.Random) -> Iterator[tuple[str, list[Any]]]:
    """Structural damage, each kind on a copy of the calls."""

    def fresh() -> tuple[list[Any], dict[str, Any], str | None]:
        made = copy.deepcopy(calls)
        arguments = next(iter(rng.choice(made).values())) if made else {}
        return made, arguments, rng.choice(list(arguments)) if arguments else None

    made, arguments, key = fresh()
    if key is not None:
        arguments[key] = rng.choice([[arguments[key]], {"value": arguments[key]}, str(arguments[key]), None])
    yield "wrong type", made
    made, arguments, key = fresh()
    arguments.pop(key, None)
    yield "missing argument", made
    yield "extra call", [*copy.deepcopy(calls), copy.deepcopy(rng.choice(calls))] if calls else [{"f": {}}]
    yield "missing call", copy.deepcopy(calls[1:])
    made = [
        {name: dict(reversed(arguments.items())) for name, arguments in call.items()} for call in calls[::-1]
    ]
    yield "reordered", copy.deepcopy(made)
    made, arguments, key = fresh()
    if key is not None:
        arguments[key] = _other_value(arguments[key], rng)
    yield "other value", made
    made, arguments, key = fresh()
    if key is not None:
        arguments[key] = _near_value(arguments[key], rng)
    yield "near value", made
    made, arguments, _ = fresh()
    arguments[rng.choice(["extra", "unit", "name"])] = rng.choice(JSON_VALUES)
    yield "extra argument", made
    made, _, _ = fresh()
    if made:
        ((name, inner),) = made[-1].items()
        made[-1] = {rng.choice([name + "x", name.lower(), name.replace(".", "_"), "f"]): inner}
    yield "other function", made
    made, arguments, key = fresh()
    if key is not None:
        arguments[key] = rng.choice(JSON_VALUES)
    yield "any value", made


def _other_value(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "q"
    if isinstance(value, list):
        return value[:-1] if value and rng.random() < 0.5 else [*value, "q"]
    return {**value, "q": 1} if isinstance(value, dict) else "q"


def _near_value(value: Any, rng: random.Random) -> Any:
    """A value that a lenient checker takes for the same."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return rng.choice([float(value), str(value), bool(value)])
    if isinstance(value, str):
        at = rng.randint(0, len(value))
        changed = [value[:at] + mark + value[at:] for mark in " ,.-_/*^"]
        return rng.choice(
            [*changed, value.upper(), value.replace("'", '"'), f" {value}.", value.replace(" ", "")]
        )
    if isinstance(value, list):
        return tuple(value) if rng.random() < 0.4 else [_near_value(one, rng) for one in value]
    return {key: _near_value(one, rng) for key, one in value.items()} if isinstance(value, dict) else ""


def _text_damages(text: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Damage to an answer's text."""
    at = rng.randrange(len(text) + 1)
    yield "syntax error", text[:-2]
    yield "truncated", text[:at]
    yield "character lost", text[:at] + text[at + 1 :]
    yield "character added", text[:at] + rng.choice("()[]{}=,'\"\\ -+*.:#@\u00e9\n0a") + text[at:]
    yield "chatter", f"Sure, here it is: {text}"
    yield "fence", f"```\n{text}\n```"
    yield "python fence", f"```python\n{text}\n```"
    yield "no brackets", text.strip("[]")
    yield "quoted", f"'{text}'"
    yield "positional", text.replace("=", "", 1) if rng.random() < 0.3 else text.replace("(", "(1, ", 1)
    yield "negated", text.replace("=", rng.choice(["=+", "=-", "=not ", "=~"]), 1)
    yield "arithmetic", text.replace("=", rng.choice(["=1+", "=2*", "=0-", "=''+"]), 1)
    yield "bare names", text.replace("'", "").replace('"', "")
    yield (
        "nested call",
        text.replace("=", rng.choice(["=g(x=1)+", "=g(x=1),y=", "=int(5),y=", "=a[1],y="]), 1),
    )
    yield "nothing", ""
    yield "words", "I cannot help with that."


def answers(item: dict[str, Any], category: str) -> Iterator[tuple[str, Any]]:
    """(kind, response) for an item: gold and damaged, as data and as text. Seeded by the item's id."""
    rng = random.Random(item["id"])
    if "relevance" in category:
        name = item["function"][0]["name"] if item["function"] else "f"
        calls: list[dict[str, Any]] = [{name: {"a": 1}}]
    else:
        calls = correct_calls(item, category)
    text = rendered(calls, category, item)
    yield "gold", calls
    yield "gold text", text
    for kind, made in _damages(calls, rng):
        yield kind, made
        yield f"{kind} text", rendered(made, category, item)
    yield from _text_damages(text, rng)
    for made in ([], [{}], ["f(x=1)"], [{"f": "x"}], {"f": {}}):
        yield "malformed", made


def official(response: Any, item: dict[str, Any], category: str) -> str:
    """bfcl-eval's own verdict: ``correct``, ``wrong``, or ``raises``, through its decoder and its checker."""
    with contextlib.redirect_stdout(io.StringIO()):
        status, reason = official_verdict(response, item, category)
    return "raises" if reason.startswith("checker raises") else status
