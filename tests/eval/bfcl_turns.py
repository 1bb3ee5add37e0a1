"""Correct and damaged conversations for BFCL's multi-turn cases, and bfcl-eval's own verdict. Loaded by path."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import random
from collections.abc import Callable, Iterator
from typing import Any

from dipo_eval.grading.calls import bfcl

Turns = list[list[list[str] | str]]


def _edited(call: str, edit: Callable[[ast.Call], None]) -> str:
    tree = ast.parse(call.strip(), mode="eval").body
    assert isinstance(tree, ast.Call)
    edit(tree)
    return ast.unparse(tree)


def conversations(case: dict[str, Any]) -> Iterator[tuple[str, Turns]]:
    """(kind, turns) with the gold calls one a step, and damaged; seeded by the case's id."""
    rng = random.Random(case["id"])
    gold: list[list[str]] = case["ground_truth"]
    places = [(turn, index) for turn, calls in enumerate(gold) for index in range(len(calls))]
    turn, index = rng.choice(places)

    def with_call(*calls: str) -> Turns:
        made = copy.deepcopy(gold)
        made[turn][index : index + 1] = calls
        return [[[call] for call in calls] for calls in made]

    def wrong_type(node: ast.Call) -> None:
        for holder in [*node.keywords, *([node] if node.args else [])]:
            changed = ast.parse(rng.choice(["None", "[1]", "'7x'", "{'a': 1}", "True"]), mode="eval").body
            if isinstance(holder, ast.keyword):
                holder.value = changed
            else:
                node.args[0] = changed
            return

    def missing(node: ast.Call) -> None:
        del (node.keywords or node.args)[:1]

    call = gold[turn][index]
    yield "gold", [[[one] for one in calls] for calls in gold]
    yield "gold in one step", [[list(calls)] for calls in gold]
    yield "wrong type", with_call(_edited(call, wrong_type))
    yield "missing argument", with_call(_edited(call, missing))
    yield "extra call", with_call(call, rng.choice([one for calls in gold for one in calls]))
    yield "extra harmless call", with_call(rng.choice(["pwd()", "ls()", "nothing()", "1 + 1"]), call)
    yield "missing call", with_call()
    yield "reordered", [[[one] for one in calls[::-1]] for calls in gold]
    yield "syntax error", with_call(call.rstrip(" )"))
    yield "other function", with_call("x" + call)
    yield "blocked function", with_call("remove" + call[call.index("(") :])
    yield "nested call", with_call(f"echo(content={call})")
    yield "other value", with_call(_edited(call, lambda node: _change(node, rng)))
    yield "empty turn", [[] if at == turn else [[one] for one in calls] for at, calls in enumerate(gold)]
    yield "turns moved", [[[one] for one in calls] for calls in [*gold[1:], gold[0]]]
    yield "text", [[f"[{', '.join(calls)}]", "Done."] for calls in gold]
    yield "text of bare names", [[f"[{', '.join(calls)}]".replace("'", "")] for calls in gold]
    texts: Turns = [[f"[{call}]" for call in calls] for calls in gold]
    texts[turn][index:index] = [f"[{call[:-1]}, x={{}})]", f"[{call[:-1]}, x={{'a': {{'b': 1}}}})]"]
    yield "text with dicts", texts
    yield "call in every turn", [[*[[one] for one in calls], [call]] for calls in gold]


def _change(node: ast.Call, rng: random.Random) -> None:
    constants = [inner for inner in ast.walk(node) if isinstance(inner, ast.Constant)]
    if constants:
        chosen = rng.choice(constants)
        chosen.value = chosen.value + 1 if isinstance(chosen.value, int | float) else f"{chosen.value}q"


def _decoded(turns: Turns) -> list[list[list[str]]]:
    """Messages as eval_runner decodes them: one that holds no call is dropped."""
    decode = bfcl.module("bfcl_eval.model_handler.utils").default_decode_execute_prompting
    made: list[list[list[str]]] = []
    for turn in turns:
        made.append([])
        for message in turn:
            if not isinstance(message, str):
                made[-1].append(list(message))
                continue
            with contextlib.suppress(Exception):
                calls = decode(message)
                if calls:
                    made[-1].append(calls)
    return made


def official(case: dict[str, Any], turns: Turns) -> str:
    """bfcl-eval's verdict on decoded turns: ``correct``, ``wrong`` or ``raises``. It evaluates the calls: only
    for conversations made here.
    """
    checker = bfcl.module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker")
    store = vars(bfcl.module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils"))
    before = set(store)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            result = checker.multi_turn_checker(
                _decoded(turns), case["ground_truth"], copy.deepcopy(case), "multi_turn", "model"
            )
    except Exception:
        return "raises"
    finally:
        for name in set(store) - before:  # its instances outlive the case otherwise
            del store[name]
    return "correct" if result["valid"] else "wrong"
