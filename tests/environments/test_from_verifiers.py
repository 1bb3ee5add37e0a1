"""Tool environments of the package verifiers as environments: on classes of the same shape, and on the package's own."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dipo_openrlhf.environments.environment import check_environment
from dipo_openrlhf.environments.from_verifiers import environment_from

ROOT = Path(__file__).parents[2]
T = runpy.run_path(str(ROOT / "tests" / "rewards" / "tool_episodes.py"))


def look_up(word: str, limit: int = 1) -> str:
    """The meaning of a word."""
    if word == "none":
        raise KeyError("no such word")
    return f"{word} means {limit}"


async def note(text: str, board: list[str]) -> int:
    """Write a note; the model does not see the board."""
    board.append(text)
    return len(board)


def named(completion: list[dict[str, Any]], answer: str) -> float:
    return float(answer in completion[-1]["content"])


async def has_called(prompt: list[Any], completion: list[Any], state: dict[str, Any], **other: Any) -> float:
    calls = [call for one in completion for call in one.get("tool_calls") or []]
    assert prompt[-1]["role"] == "user"
    return float(bool(calls) and json.loads(calls[0]["function"]["arguments"]) == {"word": "dipo"})


def metric(completion: list[Any]) -> float:
    raise AssertionError("it has no weight")


class Stateful:
    """The interface of StatefulToolEnv, as far as the adapter uses it."""

    def __init__(self) -> None:
        self.tool_map: dict[str, Callable[..., Any]] = {"look_up": look_up, "note": note}
        self.skipped_args = {"look_up": [], "note": ["board"]}
        self.system_prompt, self.parser = "Use the tools.", None
        graded = SimpleNamespace(funcs=[named, has_called], weights=[1.0, 0.25])
        self.rubric = SimpleNamespace(rubrics=[graded, SimpleNamespace(funcs=[metric], weights=[0.0])])

    async def setup_state(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "board": []}

    def update_tool_args(
        self, tool_name: str, tool_args: dict[str, Any], messages: Any, state: dict[str, Any], **other: Any
    ) -> dict[str, Any]:
        return {**tool_args, "board": state["board"]} if tool_name == "note" else tool_args


def test_the_adapter_is_short() -> None:
    source = (ROOT / "dipo_openrlhf" / "environments" / "from_verifiers.py").read_text(encoding="utf-8")
    lines = [
        line
        for line in source.splitlines()
        if line.strip() and not line.startswith(("import", "from", '"""'))
    ]
    assert len(lines) < 60


def test_tools_state_and_rubric() -> None:
    made = environment_from(Stateful())
    check_environment(made)
    environment = made({"answer": "five"})
    tools = {tool["function"]["name"]: tool["function"] for tool in environment.tools()}
    assert tools["look_up"]["parameters"]["required"] == ["word"]
    assert tools["look_up"]["description"] == "The meaning of a word."
    assert list(tools["note"]["parameters"]["properties"]) == ["text"]
    assert [one["role"] for one in environment.messages("What is dipo?")] == ["system", "user"]
    assert environment.run(["look_up(word='dipo')", "note(text='a')", "note(text='b')"]) == [
        "dipo means 1",
        "1",
        "2",
    ]
    for call, said in (
        ("look_up(word='none')", "no such word"), ("look_up(word=7)", "word: Input should be a valid string"),
        ("note(text='c', board=[])", "board: Unexpected keyword argument"), ("setup_state()", "is not defined"),
    ):  # fmt: skip
        (result,) = environment.run([call])
        assert said in result
    assert environment.reward("It is five.") == 1.0
    assert made({"answer": "five"}).run(["note(text='x')"]) == ["1"]  # no state outlives an episode


@pytest.mark.parametrize("word", ["<think>", "</think>", "<tool_call>", "[TOOL_CALLS]"])
def test_no_call_is_hidden_from_the_rubric(word: str) -> None:
    def shown(completion: list[dict[str, Any]]) -> float:
        calls = [one["function"] for one in completion[0]["tool_calls"]]
        ids = [one["id"] for one in completion[0]["tool_calls"]]
        assert ids == [one["tool_call_id"] for one in completion[1:-1]]
        assert [one["name"] for one in calls] == ["look_up"] * 3
        assert [json.loads(one["arguments"]) for one in calls] == [{"word": word}, {}, {}]
        return 1.0

    env = Stateful()
    env.rubric = SimpleNamespace(funcs=[shown], weights=[1.0])
    environment = environment_from(env)({})
    environment.run([f"look_up(word={word!r})", "look_up('a')", "look_up(word=1e999)"])
    assert environment.reward("") == 1.0


@pytest.mark.parametrize(
    ("calls", "answer", "reward"),
    [
        (["look_up(word='dipo')"], "five", 1.0),
        ([], "five", 0.8),
        (["look_up(word='dipo')"], "six", 0.2),
        ([], "", 0.0),
    ],
)
def test_the_reward_is_the_weighted_mean(calls: list[str], answer: str, reward: float) -> None:
    environment = environment_from(Stateful())({"answer": "five"})
    environment.messages("?")
    if calls:
        environment.run(calls)
    assert environment.reward(answer) == pytest.approx(reward)


def test_the_pages_lines_make_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "adding_an_environment.md").read_text(encoding="utf-8")
    section = page.partition("## A tool environment of verifiers")[2]
    path = tmp_path / "agent.py"
    path.write_text(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0])
    monkeypatch.setitem(sys.modules, "my_module", SimpleNamespace(load_environment=Stateful))
    made = runpy.run_path(str(path))["AgentExecutor"].environment
    assert [tool["function"]["name"] for tool in made({}).tools()] == ["look_up", "note"]


AGENT = """
import verifiers as vf
from datasets import Dataset

from dipo_openrlhf.environments.from_verifiers import environment_from
from dipo_openrlhf.rewards.tool_agent import agent_for


def look_up(word: str, limit: int = 1) -> str:
    '''The meaning of a word.'''
    return f"{word} means {limit}"


def correct(completion, answer) -> float:
    return float(answer in completion[-1]["content"])


def load_environment():
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": "What is dipo?"}], "answer": "five"}])
    return KIND(dataset=rows, rubric=vf.Rubric(funcs=[correct]), max_turns=5)


def note(text: str, board: list) -> str:
    '''Write a note.'''
    board.append(text)
    return f"{len(board)} notes"


class Tools(vf.ToolEnv):
    def __init__(self, **more):
        super().__init__(tools=[look_up], **more)


class Board(vf.StatefulToolEnv):
    def __init__(self, **more):
        super().__init__(**more)
        self.add_tool(note, args_to_skip=["board"])

    async def setup_state(self, state, **more):
        state["board"] = []
        return state

    def update_tool_args(self, tool_name, tool_args, messages, state, **more):
        return {**tool_args, "board": state["board"]}


KIND = NAMED
AgentExecutor = agent_for(environment_from(load_environment()))
"""
PLAYED = {
    "Tools": (T["call"]("look_up", word="dipo", limit=5), "dipo means 5", "The meaning of a word."),
    "Board": (T["call"]("note", text="a") + T["call"]("note", text="b"), "2 notes", "Write a note."),
}


@pytest.fixture(params=PLAYED)
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "agent.py"
    path.write_text(AGENT.replace("NAMED", request.param))
    made = runpy.run_path(str(path))["AgentExecutor"]()
    yield made
    made.episodes.close()


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("verifiers") is None,
    reason="verifiers is not installed: pip install 'verifiers[all]<0.2' in an environment of its own",
)
def test_the_packages_own_tool_environments_play_episodes(agent: Any, request: pytest.FixtureRequest) -> None:
    calls, result, description = PLAYED[request.node.callspec.params["agent"]]
    used = T["tokenizer"]()
    for said, reward in (("It is five.", 1.0), ("It is six.", 0.0)):
        engine = T["Engine"](used, [calls, said])
        label = json.dumps({"answer": "five"})
        found = asyncio.run(agent.execute("What is dipo?", label, T["params"](), 100_000, used, engine))
        assert (found["reward"], found["extra_logs"]["episode/tool_errors"]) == (reward, 0.0)
        assert result in used.decode(engine.prompts[1])
        assert description in used.decode(engine.prompts[0])
        assert "board" not in used.decode(engine.prompts[0])
