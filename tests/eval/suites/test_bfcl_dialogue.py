"""BFCL's conversations: what is asked, how they end, and that everything a model may say leaves them standing."""

from __future__ import annotations

import functools
import json
import runpy
import time
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.engines.openai import as_sent
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN
from dipo_eval.grading.calls.multi_turn import grade_conversation
from dipo_eval.harness.registry import second_grader
from dipo_eval.suites import Item, get_suites
from dipo_eval.suites.bfcl import dialogue as bfcl_dialogue
from dipo_eval.suites.bfcl.dialogue import Conversation

pytestmark = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")

HANDLER = runpy.run_path(str(Path(__file__).parents[1] / "bfcl_handler.py"))


@functools.cache
def conversations(name: str) -> list[Item]:
    suite = get_suites([name])[0]
    return [item for item in suite.load(None, None, 0) if item.meta["kind"] in MULTI_TURN]


def by_keyword(item: Item) -> bool:
    """Whether all gold calls name their arguments: bfcl-eval's handlers lose the others."""
    try:
        [HANDLER["as_data"](call) for turn in item.gold for call in turn]
    except AssertionError:
        return False
    return True


def held(item: Item, messages: list[list[str]]) -> str:
    """The response of a model that says these messages, which are all that it is asked for."""
    (suite,) = get_suites(["bfcl"])
    assert suite.converse is not None
    dialogue = suite.converse(item)
    assert dialogue is not None
    left = [text for turn in messages for text in turn]
    while left:
        asked = dialogue.reply(left.pop(0))
        assert (asked is None) is (not left)
    response = dialogue.response()
    dialogue.close()
    assert json.loads(response) == {"turns": messages, "ended": None}
    return response


def test_the_gold_calls_of_all_conversations_are_correct() -> None:
    suite = get_suites(["bfcl"])[0]
    items = conversations("bfcl")
    assert len(items) == 800
    assert {item.meta["kind"] for item in items} == set(MULTI_TURN)
    wrong = []
    with second_grader("bfcl-eval") as second:
        for index, item in enumerate(items):
            response = held(item, HANDLER["script"](item.gold, native=False))
            if suite.grade(response, item).status != "correct":
                wrong.append(item.id)
            if index % 20 == 0:
                row = {**item.meta, "item_id": item.id, "gold": item.gold, "response": response}
                assert second(row).reason.endswith("(grade_turns, compatible)")
    assert wrong == []


def test_native_gold_calls_are_correct() -> None:
    suite = get_suites(["bfcl-native"])[0]
    items = [item for item in conversations("bfcl-native")[::7] if by_keyword(item)]
    assert len(items) > 50
    with second_grader("bfcl-eval") as second:
        for item in items:
            response = held(item, HANDLER["script"](item.gold, native=True))
            row = {**item.meta, "item_id": item.id, "gold": item.gold, "response": response}
            assert suite.grade(response, item).status == "correct"
            assert second(row).status == "correct"


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("category", MULTI_TURN)
def test_what_is_asked_is_what_bfcl_eval_asks(
    category: str, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    suite = get_suites(["bfcl-native" if native else "bfcl"])[0]
    found = [item for item in conversations(suite.name) if item.meta["kind"] == category and by_keyword(item)]
    for item in found[:40:8]:
        official = HANDLER["official_requests"](category, item.id, native=native)
        assert suite.converse is not None
        dialogue = suite.converse(item)
        assert dialogue is not None
        ours: list[Any] = [(item.messages, item.tools)]
        for text in (text for turn in HANDLER["script"](item.gold, native=native) for text in turn):
            asked = dialogue.reply(text)
            if asked is not None:
                ours.append(([plain(one) for one in asked.messages], asked.tools))
        assert len(ours) == len(official) > 2
        for mine, theirs in zip(ours, official, strict=True):
            assert json.dumps(mine[0]) == json.dumps(theirs[0])
            assert json.dumps(mine[1]) == json.dumps(theirs[1])


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message as a server takes it, without the name that a result has beside its id."""
    if message["role"] == "tool":
        return {key: message[key] for key in ("role", "content", "tool_call_id")}
    return as_sent(message)


ROW: dict[str, Any] = {
    "id": "multi_turn_base_x",
    "question": [
        [{"role": "user", "content": "Make new."}],
        [{"role": "user", "content": "And x.txt in it."}],
    ],
    "involved_classes": ["GorillaFileSystem", "MathAPI"],
    "initial_config": {"GorillaFileSystem": {"root": {"home": {"type": "directory", "contents": {}}}}},
}  # fmt: skip
GOLD = [["mkdir(dir_name='new')"], ["cd('new')", "touch(file_name='x.txt')"]]


def verdict(dialogue: Conversation) -> tuple[str, str]:
    found = grade_conversation(dialogue.response(), GOLD, ROW)
    return found.status, found.reason


def ended(dialogue: Conversation) -> Any:
    return json.loads(dialogue.response())["ended"]


def test_results_go_back_and_a_message_without_calls_ends_the_turn() -> None:
    dialogue = Conversation(ROW, native=False)
    asked = dialogue.reply("[mkdir(dir_name='new'), cd('nowhere'), unknown()]")
    assert asked is not None
    assert [one["role"] for one in asked.messages] == ["system", "user", "assistant", "user"]
    shown = asked.messages[-1]["content"]
    assert shown.startswith("[{'role': 'tool', 'name': \"mkdir(dir_name='new')\", 'content': 'None'}")
    assert "Error during execution: name 'unknown' is not defined" in shown
    asked = dialogue.reply("Done.")
    assert asked is not None
    assert asked.messages[-2:] == (
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "And x.txt in it."},
    )
    assert dialogue.reply("<think>cd, touch</think>[cd('new'), touch('x.txt')]") is not None
    assert dialogue.reply("") is None
    assert verdict(dialogue) == ("correct", "same states and results")


@pytest.mark.parametrize(
    ("turn", "expected"),
    [(0, ("wrong", "too many steps in a turn")), (1, ("correct", "same states and results"))],
)
def test_calls_without_end_are_stopped_as_bfcl_eval_stops_them(turn: int, expected: tuple[str, str]) -> None:
    dialogue = Conversation(ROW, native=False)
    if turn == 1:
        dialogue.reply("[mkdir(dir_name='new')]")
        dialogue.reply("Done.")
    right = ["[mkdir('new')]", "[cd('new'), touch('x.txt')]"][turn]
    assert dialogue.reply(right) is not None
    for _ in range(19):
        assert dialogue.reply("[pwd()]") is not None
    assert dialogue.reply("[pwd()]") is None  # the 21st: MAXIMUM_STEP_LIMIT is 20
    assert ended(dialogue) == "too many steps in a turn"
    assert verdict(dialogue) == expected  # in the last turn all turns are there, and are graded


HOSTILE = [
    "x" * 1_000_000, "[" * 100_000, "[f(" * 20_000, "(" * 1_000_000, "-" * 100_000 + "1", "[f(a=" + "[" * 90_000,
    "[__import__('os').system('touch /tmp/dipo-pwned')]", "[mkdir(dir_name=open('/etc/passwd').read())]",
    "[(lambda: 1)()]", "[mkdir(dir_name=[x for x in (1,)])]", "[ls().__class__()]", "[_load_scenario({})]",
    "[f(**{'a': 1})]", "[]", "[[]]", "()", "{}", '{"name": {}}', "\0\ud800", "<tool_call>", "<think>",
    '<tool_call>{"name": "mkdir", "arguments": {"dir_name": "\\ud800"}}</tool_call>',
    '<tool_call>{"name": "pwd(); x", "arguments": {"a b": NaN}}</tool_call>',
    '<tool_call>{"name": "pwd", "arguments": ' + '{"a":' * 400 + "1" + "}" * 400 + "}</tool_call>",
    "[" + ", ".join(["pwd()"] * 15_000) + "]", "[echo(content='a' * 100000000)]",
    "[" + "echo(content=" * 90 + "1" + ")" * 90 + "]", "\u202e[pwd()]",
]  # fmt: skip


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    "text", HOSTILE, ids=[text[:12].encode("ascii", "replace").hex() for text in HOSTILE]
)
def test_hostile_messages(text: str, native: bool) -> None:
    dialogue = Conversation(ROW, native=native)
    for _ in range(3):
        asked = dialogue.reply(text)
        if asked is None:
            break
        json.dumps([list(asked.messages), asked.tools], ensure_ascii=False).encode()
        assert {message["role"] for message in asked.messages} <= {"system", "user", "assistant", "tool"}
    dialogue.response().encode()
    assert verdict(dialogue)[0] == "wrong"
    assert not Path("/tmp/dipo-pwned").exists()


def test_more_text_than_a_conversation_has_ends_it() -> None:
    dialogue = Conversation(ROW, native=False)
    assert dialogue.reply("x" * 1_500_000) is not None
    assert dialogue.reply("x" * 1_500_000) is None
    assert verdict(dialogue) == ("wrong", "longer than any conversation")


def test_an_environment_that_hangs_ends_the_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfcl_dialogue, "STEP_LIMIT_S", 0.5)
    dialogue = Conversation(ROW, native=False)
    dialogue.reply("[mkdir('new')]")
    dialogue.reply("Done.")
    dialogue.reply("[cd('new'), touch('x.txt')]")
    started = time.monotonic()
    assert dialogue.reply("[power(base=9, exponent=9 ** 9)]") is None
    assert time.monotonic() - started < 10
    assert ended(dialogue) == "calls not carried out: time limit"
    assert verdict(dialogue) == ("undecided", "calls not carried out: time limit")


def test_a_conversation_has_a_time_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfcl_dialogue, "CONVERSATION_LIMIT_S", 0.0)
    dialogue = Conversation(ROW, native=False)
    assert dialogue.reply("[mkdir('new')]") is None
    assert verdict(dialogue)[1] == "calls not carried out: the conversation's time limit"


def test_results_that_no_context_holds_end_the_conversation() -> None:
    dialogue = Conversation(ROW, native=False)
    dialogue.reply("[touch('big'), echo(content='" + "x" * 90_000 + "', file_name='big')]")
    assert dialogue.reply("[" + ", ".join(["cat('big')"] * 100) + "]") is None
    assert ended(dialogue) == "calls not carried out: results longer than any context"


def test_a_truncated_conversation_is_wrong_even_if_all_was_correct() -> None:
    dialogue = Conversation(ROW, native=False)
    for text in ("[mkdir('new')]", "Done.", "[cd('new'), touch('x.txt')]"):
        assert dialogue.reply(text) is not None
    dialogue.cut("the prompt fills the context")
    assert verdict(dialogue) == ("wrong", "the prompt fills the context")


@pytest.mark.parametrize(
    "response", ["", "[[]]", "{}", '{"turns": [[1]], "ended": null}', '{"turns": []}', "[" * 9999]
)
def test_what_is_no_conversation_is_wrong(response: str) -> None:
    assert grade_conversation(response, GOLD, ROW).status == "wrong"


def test_calls_of_another_form_than_json_are_answered_too() -> None:
    thought = '<think>new</think>\nI do.\n<tool_call>\n{"name": "mkdir", "arguments": {"dir_name": "a"}}\n</tool_call>'
    dialogue = Conversation(ROW, native=True)
    for text, roles in (
        ("[mkdir(dir_name='new')]", ["assistant", "tool"]),
        ("[mkdir('new')]", ["assistant", "user"]),  # no name for the argument: no data for a template
        (thought, ["assistant", "tool"]),
    ):
        asked = dialogue.reply(text)
        assert asked is not None
        assert [one["role"] for one in asked.messages[-2:]] == roles
        assert asked.tools is not None
    assert asked.messages[-2]["content"] == "<think>new</think>\n\nI do."
    assert asked.messages[-2]["tool_calls"][0]["function"] == {
        "name": "mkdir",
        "arguments": {"dir_name": "a"},
    }
    assert asked.messages[-1]["content"] == "None"
    asked = dialogue.reply(
        '[THINK]Not <tool_call> twice.[/THINK]I do.<tool_call>{"name": "ls", "arguments": {}}</tool_call>'
    )
    assert asked is not None
    assert asked.messages[-2]["content"] == "[THINK]Not <tool_call> twice.[/THINK]\n\nI do."
