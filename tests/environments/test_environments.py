"""Environments: schemas from type hints, discovery, BFCL's trajectories through the executor's path, isolation."""

from __future__ import annotations

import asyncio
import copy
import json
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN
from dipo_eval.grading.calls.multi_turn import grade_turns
from dipo_openrlhf import environments
from dipo_openrlhf.environments import Environment
from dipo_openrlhf.rewards.episode import Episodes

ROOT = Path(__file__).parents[2]
TRAJECTORIES = runpy.run_path(str(Path(__file__).with_name("trajectories.py")))
T, texts, play_all = TRAJECTORIES["T"], TRAJECTORIES["texts"], TRAJECTORIES["play_all"]
TURNS = runpy.run_path(str(ROOT / "tests" / "eval" / "bfcl_turns.py"))
call, params, tokenizer = T["call"], T["params"], T["tokenizer"]
needs_bfcl = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")


@pytest.fixture(scope="module")
def episodes() -> Iterator[Episodes]:
    with T["made_episodes"]() as made:
        yield made


class Shop(Environment):
    def order(
        self, item: str, sizes: list[int], paid: bool = False, kind: Literal["a", "b"] | None = None
    ) -> str:
        """Order an item.

        In some sizes.
        """
        return item

    def _hidden(self) -> None: ...

    def reward(self, answer: str) -> float:
        return 0.0


class BiggerShop(Shop):
    def close(self) -> str:
        """Close it."""
        return "closed"


def test_docstrings_and_type_hints_are_the_schema() -> None:
    close, order = BiggerShop({}).tools()
    assert close["function"] == {
        "name": "close", "description": "Close it.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    }  # fmt: skip
    assert order["type"] == "function"
    function = order["function"]
    assert (function["name"], function["description"]) == ("order", "Order an item.\n\nIn some sizes.")
    assert function["parameters"]["required"] == ["item", "sizes"]
    assert function["parameters"]["properties"] == {
        "item": {"type": "string"},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "paid": {"type": "boolean"},
        "kind": {"anyOf": [{"type": "string", "enum": ["a", "b"]}, {"type": "null"}]},
    }

    class Loose(Environment):
        def f(self, x: int) -> int:
            return x

    del Loose.f.__annotations__["x"]
    with pytest.raises(TypeError, match=r"Loose\.f: parameter 'x' has no type hint"):
        Loose({}).tools()


def test_environments_are_found_by_being_there(tmp_path: Path) -> None:
    assert environments.names() == ["bfcl", "pantry"]
    with pytest.raises(UserError, match="did you mean 'pantry'"):
        environments.get("pantri")
    for module in ("environment", "worker", "os"):
        with pytest.raises(UserError, match="unknown environment"):
            environments.get(module)
    shutil.copytree(
        ROOT / "dipo_openrlhf", tmp_path / "dipo_openrlhf", ignore=shutil.ignore_patterns("__pycache__")
    )
    folder = tmp_path / "dipo_openrlhf" / "environments"
    shutil.copy(folder / "pantry.py", folder / "cellar.py")
    script = "from dipo_openrlhf import environments as e; print(e.names(), e.get('cellar').__module__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT / 'eval')!r}]; {script}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "['bfcl', 'cellar', 'pantry'] dipo_openrlhf.environments.cellar"


def test_the_example_is_short() -> None:
    assert len((ROOT / "dipo_openrlhf/environments/pantry.py").read_text().splitlines()) < 100


@needs_bfcl
@pytest.mark.parametrize("category", MULTI_TURN)
def test_all_gold_trajectories_succeed(episodes: Episodes, category: str) -> None:
    cases = [(case, texts([[calls] for calls in case["ground_truth"]])) for case in bfcl.items(category)]
    assert len(cases) == 200
    results = asyncio.run(play_all(episodes, tokenizer(), cases))
    wrong = [case["id"] for (case, _), result in zip(cases, results, strict=True) if result["scores"] != 1.0]
    assert wrong == []
    assert {result["extra_logs"]["episode/ended/answer"] for result in results} == {1.0}
    assert min(result["extra_logs"]["episode/turns"] for result in results) >= 2


@needs_bfcl
def test_damaged_trajectories_get_the_verdict_of_the_evaluation(episodes: Episodes) -> None:
    damages = (
        "missing call", "other value", "wrong type", "missing argument", "other function", "reordered", "extra call",
        "empty turn", "turns moved",
    )  # fmt: skip
    cases, kinds, verdicts = [], [], []
    for category in MULTI_TURN:
        for case in bfcl.items(category)[::40]:
            for kind, turns in TURNS["conversations"](case):
                if kind in damages:
                    cases.append((case, texts(turns)))
                    kinds.append(kind)
                    verdicts.append(
                        grade_turns([texts([turn]) for turn in turns], case["ground_truth"], case).status
                    )
    results = asyncio.run(play_all(episodes, tokenizer(), cases))
    rewards = [result["reward"] for result in results]
    differ = [
        (kind, case["id"], messages)
        for kind, (case, messages), reward, verdict in zip(kinds, cases, rewards, verdicts, strict=True)
        if reward != float(verdict == "correct")
    ]
    assert differ == []
    wrong = Counter(kind for kind, reward in zip(kinds, rewards, strict=True) if not reward)
    of = Counter(kinds)
    for kind in ("empty turn", "other function"):  # no gold call there can be done without
        assert wrong[kind] == of[kind]
    for kind in ("missing call", "other value", "wrong type", "reordered", "extra call", "turns moved"):
        assert wrong[kind] > 0, kind


FILES = {
    "id": "multi_turn_base_x", "involved_classes": ["GorillaFileSystem"],
    "question": [[{"role": "user", "content": "Make a folder a, then a file b in it."}]],
    "initial_config": {"GorillaFileSystem": {"root": {"home": {"type": "directory", "contents": {}}}}},
    "ground_truth": [["mkdir(dir_name='a')", "cd(folder='a')", "touch(file_name='b')"]],
}  # fmt: skip


@needs_bfcl
@pytest.mark.parametrize(
    ("calls", "reward"),
    [
        (["mkdir(dir_name='a')", "cd(folder='a')", "touch(file_name='b')"], 1.0),
        (["ls()", "mkdir(dir_name='a')", "cd(folder='a')", "pwd()", "touch(file_name='b')"], 1.0),
        (["mkdir(dir_name='a')", "touch(file_name='b')"], 0.0),  # a call is missing
        (["mkdir(dir_name='a')", "cd(folder='a')", "touch(file_name='c')"], 0.0),  # an argument is wrong
        (["mkdir(dir_name='a')", "touch(file_name='b')", "cd(folder='a')"], 0.0),  # the order matters here
        (
            ["mkdir(dir_name='a')", "cd(folder='a')", "touch(file_name='b')", "mkdir(dir_name='d')"],
            0.0,
        ),  # changes state
        (
            ["mkdir(dir_name='a')", "cd(folder='a')", "touch(file_name='b')", "_load_scenario(scenario={})"],
            1.0,
        ),
        (["mkdir(dir_name='a')", "cd(folder='a')", "touch(file_name='b')", "__init__()"], 1.0),
    ],
)
def test_damages_by_hand(episodes: Episodes, calls: list[str], reward: float) -> None:
    (result,) = asyncio.run(play_all(episodes, tokenizer(), [(FILES, texts([[[one] for one in calls]]))]))
    assert result["reward"] == reward


@needs_bfcl
def test_every_bfcl_environment_is_offered_and_held_back_functions_come_later(episodes: Episodes) -> None:
    rows = [case for category in MULTI_TURN for case in bfcl.items(category)]
    assert {name for case in rows for name in case["involved_classes"]} == set(bfcl.ENVIRONMENTS)
    case = next(case for case in bfcl.items("multi_turn_miss_func") if "missed_function" in case)
    turn, described = next(iter(bfcl.held_back(case).items()))
    used = tokenizer()
    messages = texts([[calls] for calls in case["ground_truth"]])
    engine = T["Engine"](used, messages)
    label = json.dumps({**case, "environment": "bfcl"})
    result = asyncio.run(episodes.run("", label, params(), 10**9, used, engine))
    assert result["extra_logs"]["calls/unread/unknown_function"] == 0.0  # it is on offer from then on
    name = described[0]["name"]
    shown = [f"'name': '{name}'" in used.decode(prompt) for prompt in engine.prompts]
    before = sum(2 if calls else 1 for calls in case["ground_truth"][:turn])
    assert shown == [False] * before + [True] * (len(shown) - before)


def pantry(number: int) -> tuple[dict[str, Any], list[str]]:
    """A task of its own for each number, and messages that solve it from its own state alone."""
    label = {
        "environment": "pantry",
        "stock": {"rice": 1 + number % 7},
        "wanted": {"rice": 1 + number % 7, "salt": 1 + number % 11},
    }
    return label, [call("count", item="rice"), call("add", item="salt", jars=1 + number % 11), "Done."]


async def fill(episodes: Episodes, used: Any, numbers: range, at_once: int) -> list[dict[str, Any]]:
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> dict[str, Any]:
        label, messages = pantry(number)
        engine = T["Engine"](
            used, [(used(text, add_special_tokens=False)["input_ids"], "stop") for text in messages]
        )
        async with gate:
            result = await episodes.run("Fill.", label, params(logprobs=None), 100_000, used, engine)
            result["shown"] = f"\n{1 + number % 7}\n" in used.decode(
                engine.prompts[1][len(engine.prompts[0]) :]
            )
            return result

    return list(await asyncio.gather(*map(one, numbers)))


def test_a_thousand_concurrent_rollouts_do_not_see_each_other(episodes: Episodes) -> None:
    results = asyncio.run(fill(episodes, tokenizer(), range(1000), 1000))
    assert [result["scores"] for result in results] == [1.0] * 1000
    assert all(result["shown"] for result in results)


def memory_mb(episodes: Episodes) -> tuple[float, float]:
    """Resident memory of this process and of the largest worker."""
    workers = [psutil.Process(worker.process.pid).memory_info().rss for worker in episodes._pool.workers()]
    return psutil.Process().memory_info().rss / 2**20, max(workers) / 2**20


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_rollouts() -> None:
    episodes, used = Episodes(), tokenizer()
    asyncio.run(fill(episodes, used, range(2000), 16))
    before = memory_mb(episodes)
    for start in range(2000, 12_000, 2000):
        asyncio.run(fill(episodes, used, range(start, start + 2000), 16))
    after = memory_mb(episodes)
    episodes.close()
    print("MB of this process and a worker:", before, after)
    assert after[0] - before[0] < 20
    assert after[1] - before[1] < 5


def test_a_task_is_not_changed_by_an_episode() -> None:
    label, messages = pantry(3)
    before = copy.deepcopy(label)
    made = environments.get("pantry")(label)
    made.run(["add(item='rice', jars=2)"])
    assert label == before
    assert messages
