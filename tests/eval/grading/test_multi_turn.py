"""Conversations: how messages are read, what must agree after each turn, and that each case starts afresh."""

from __future__ import annotations

import decimal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading import grade_turns
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.messages import step_calls

needs_bfcl = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")
CASE: dict[str, Any] = {
    "id": "multi_turn_base_x",
    "involved_classes": ["GorillaFileSystem", "MathAPI"],
    "initial_config": {
        "GorillaFileSystem": {
            "root": {
                "home": {
                    "type": "directory",
                    "contents": {"a.txt": {"type": "file", "content": "b"}},
                }
            }
        }
    },
}  # fmt: skip
GOLD = [["mkdir(dir_name='new')"], ["cd('new')", "touch(file_name='x.txt')"]]


def grade(turns: Any, mode: Any = "strict", gold: Any = GOLD) -> tuple[str, str]:
    verdict = grade_turns(turns, gold, CASE, mode=mode)
    return verdict.status, verdict.reason


@needs_bfcl
@pytest.mark.parametrize("mode", ["strict", "compatible"])
@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([[["mkdir(dir_name='new')"]], [["cd(folder='new')"], ["touch('x.txt')"]]], "same states and results"),
        ([[["ls()", "mkdir(dir_name='new')"]], [["cd('new')", "pwd()", "touch('x.txt')"]]], "same states and results"),
        ([["[mkdir(dir_name='new')]"], ["[cd(folder='new')]", "Done: [touch(", "[touch(file_name='x.txt')]"]],
         "same states and results"),
        ([[["mkdir(dir_name='old')"]], [["cd('old')"]]], "turn 0: state of GorillaFileSystem"),
        ([[], [["cd('new')"]]], "turn 0: no call"),
        ([["I did."], [["cd('new')"]]], "turn 0: no call"),
        ([[["mkdir(dir_name='new')"]], [["touch(file_name='x.txt')"]]], "turn 1: state of GorillaFileSystem"),
        ([[["mkdir(dir_name='new')"]]], "1 turns instead of 2"),
    ],
)  # fmt: skip
def test_verdicts(turns: Any, reason: str, mode: str) -> None:
    status = "correct" if reason.startswith("same") else "wrong"
    assert grade(turns, mode) == (status, reason)
    assert grade(turns, mode) == (status, reason)  # nothing is left of the first time


@needs_bfcl
def test_a_result_must_be_had() -> None:
    gold = [["cat(file_name='a.txt')"]]
    assert grade([[["cat(file_name='a.txt')"]]], gold=gold)[0] == "correct"
    assert grade([[["ls()"]]], gold=gold) == ("wrong", "turn 0: a result is missing")


@needs_bfcl
def test_native_calls_and_thoughts_in_strict_mode() -> None:
    native = '<think>mkdir</think><tool_call>{"name": "mkdir", "arguments": {"dir_name": "new"}}</tool_call>'
    turns = [[native], [["cd('new')", "touch('x.txt')"]]]
    assert grade(turns)[0] == "correct"
    assert grade(turns, "compatible") == ("wrong", "turn 0: no call")


@needs_bfcl
def test_arguments_may_be_arithmetic_and_calls_but_no_other_code() -> None:
    gold = [["mean(numbers=[1, 2])"]]
    assert grade([[["mean(numbers=[2 - 1, 1 * 2])"]]], gold=gold)[0] == "correct"
    assert grade([[["mean(numbers=[x for x in (1, 2)])"]]], gold=gold)[0] == "wrong"
    assert grade([[["mean(numbers=list((1, 2)))"]]], gold=gold)[0] == "wrong"
    assert grade([[["_load_scenario({})"]]], gold=gold)[0] == "wrong"


@needs_bfcl
def test_a_precision_set_by_a_call_does_not_outlive_it() -> None:
    from mpmath import mp

    from dipo_eval.grading.calls.replay import replay

    before = (mp.dps, decimal.getcontext().prec)
    calls = ["logarithm(value=7, base=3, precision=5)", "round_number(number=1.23456, decimal_places=2)"]
    assert replay(CASE, [calls], [[calls]], official=False) is None
    assert (mp.dps, decimal.getcontext().prec) == before


@needs_bfcl
def test_threads() -> None:
    turns = [[["mkdir(dir_name='new')"]], [["cd('new')", "touch('x.txt')"]]]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: grade(turns)[0], range(24)))
    assert found == ["correct"] * 24


def test_messages_are_read_as_bfcl_reads_them() -> None:
    def official(text: str) -> list[str]:
        return step_calls(text, official=True)

    assert official("[f(a=x, b=[1, 'y'])]") == ["f(a='x', b=[1, 'y'])"]
    assert official("[f(1, a=2)]") == ["f(a=2)"]
    assert official("[f(a={})]") == []
    assert official("[f(a={'g': {'b': 1}})]") == ["f(a=g(b=1))"]
    assert official("[f(a={'k': 1})]") == ["f(a={'k': 1})"]
    assert official("Done.") == []
    assert step_calls("[f(1, a={})]", official=False) == ["f(1, a={})"]
    assert step_calls("Done.", official=False) == []


def test_mistakes_of_the_caller_are_named() -> None:
    with pytest.raises(UserError, match="no initial_config, involved_classes"):
        grade_turns([], [], {"id": "x"})
    with pytest.raises(UserError, match="environment 'Shell'"):
        grade_turns([], [], {**CASE, "involved_classes": ["Shell"]})
    with pytest.raises(UserError, match="strict or compatible"):
        grade_turns([], [], CASE, mode="loose")  # type: ignore[arg-type]


@needs_bfcl
def test_importing_bfcl_makes_no_folder_here_and_loads_no_client(tmp_path: Any) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from dipo_eval.grading.calls import bfcl; bfcl.environment_class('TradingBot'); "
        "bfcl.module('bfcl_eval.eval_checker.ast_eval.ast_checker'); "
        "assert not {'openai', 'anthropic', 'torch', 'google.genai', 'mistralai'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
