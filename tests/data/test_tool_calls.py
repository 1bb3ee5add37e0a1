"""The generated function calls: gold calls that the grader accepts, functions that training never shows, no leak."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_eval.errors import UserError
from dipo_eval.grading import grade_calls
from dipo_eval.runner.progress import Reporter
from dipo_eval.suites import get_suites
from dipo_eval.suites.call_problems import KINDS, Call, CallProblem, Split, problems, signatures, split_of
from dipo_openrlhf.data.golds import gold_problem
from dipo_openrlhf.data.leaks import LeakIndex, read_suites
from dipo_openrlhf.data.options import Options
from dipo_openrlhf.data.prepare import prepare
from dipo_openrlhf.data.tool_calls import DATASET, TEACHING, demonstrations, tool_call, write_prompts
from dipo_openrlhf.data.word_ngrams import NGRAM, SHARE
from dipo_openrlhf.rewards.function_call import reward_func

CATEGORIES = {"simple", "multiple", "parallel", "irrelevance"}


def text_of(calls: tuple[Call, ...]) -> str:
    return "\n".join(map(tool_call, calls)) or "Sorry, none of these fits."


def is_right(problem: CallProblem, response: str) -> bool:
    verdict = grade_calls(response, problem.gold, problem.functions, category=problem.category)
    return verdict.status == "correct"


def functions_of(rows: list[CallProblem]) -> set[str]:
    return {one["name"] for row in rows for one in row.functions} | {row.asked[0][0] for row in rows}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_the_gold_calls_are_right_and_the_request_holds_every_value(seed: int) -> None:
    for problem in problems("train", 30, seed):
        assert is_right(problem, text_of(problem.wanted))
        for _, arguments in problem.asked:
            for key, value in arguments.items():
                shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
                assert f"{key} {shown}" in problem.request


def damaged(call: Call, problem: CallProblem) -> list[Call]:
    """The call without an argument, with one more, with another value, with another type, of another function."""
    name, arguments = call
    key, value = next(iter(arguments.items()))
    other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}x"
    rest = {one: arguments[one] for one in list(arguments)[1:]}
    return [
        (name, rest), (name, {**arguments, "more": 1}), (name, {**arguments, key: other}),
        (name, {**arguments, key: [value]}), (f"{name}s", arguments),
        *((one["name"], arguments) for one in problem.functions if one["name"] != name),
    ]  # fmt: skip


def test_a_damaged_call_is_wrong() -> None:
    for problem in problems("test", 120, seed=1):
        for bad in damaged(problem.asked[-1], problem):
            assert not is_right(problem, text_of((*problem.wanted[:-1], bad)))
        assert not is_right(problem, text_of((*problem.asked, problem.asked[0]))), "one call too many"
        if len(problem.wanted) > 1:
            assert not is_right(problem, text_of(problem.wanted[:-1]))
        if problem.wanted:
            assert not is_right(problem, "Sorry, none of these fits.")


def test_a_function_of_the_test_split_is_nowhere_in_training() -> None:
    test = functions_of(problems("test", 800, seed=3))
    train = functions_of(problems("train", 3000, seed=4))
    taught = functions_of([d.problem for d in islice(demonstrations(0), 16_000)])
    assert len(test) > 150
    assert len(train | taught) > 700
    assert not test & (train | taught)
    assert {split_of(name) for name in test} == {"test"}
    pieces = {piece for name in test for piece in name.split("_")}
    assert pieces <= {piece for name in taught for piece in name.split("_")}, "new names of known pieces"


def test_every_category_comes_in_its_share() -> None:
    assert {kind.category for kind in KINDS.values()} == CATEGORIES
    assert sum(kind.weight for kind in KINDS.values()) == pytest.approx(1)
    rows = problems("train", 2000, seed=9)
    counts = Counter(row.kind for row in rows)
    for name, kind in KINDS.items():
        assert counts[name] / 2000 == pytest.approx(kind.weight, abs=0.035), name
    for row in rows:
        names = [one["name"] for one in row.functions]
        asked, kind = row.asked[0][0], KINDS[row.kind]
        assert len(set(names)) == len(names) == kind.offered
        assert (asked in names) == bool(row.wanted) == bool(kind.calls)
        assert len({json.dumps(call) for call in row.wanted}) == kind.calls
        if kind.one_noun:
            assert {name.split("_")[1] for name in names} == {asked.split("_")[1]}


def test_problems_are_deterministic_distinct_and_extendable() -> None:
    first = problems("test", 200, seed=5)
    assert first == problems("test", 200, seed=5)
    assert first[:50] == problems("test", 50, seed=5)
    assert first != problems("test", 200, seed=6)
    assert len({p.request for p in first}) == len({p.id for p in first}) == 200
    asked = [(p.kind, p.asked[0][0]) for p in problems("test", 400, seed=0, unique_functions=True)]
    assert len(set(asked)) == 400


def test_impossible_requests_say_what_to_do() -> None:
    with pytest.raises(UserError, match="'train' or 'test'"):
        problems(cast("Split", "dev"), 1, seed=0)
    with pytest.raises(UserError, match="0 or more"):
        problems("train", -1, seed=0)
    with pytest.raises(UserError, match=r"only \d+ functions; ask for fewer"):
        problems("test", 100_000, 0, unique_functions=True)


def test_demonstrations_are_mistaken_as_often_as_they_should_be() -> None:
    rows = list(islice(demonstrations(1), 8_000))
    assert TEACHING.keys() == KINDS.keys()
    assert sum(one.share for one in TEACHING.values()) == pytest.approx(1)
    for name, teaching in TEACHING.items():
        mine = [row for row in rows if row.problem.kind == name]
        assert len(mine) / len(rows) == pytest.approx(teaching.share, abs=0.02), name
        right = sum(not row.mistaken for row in mine) / len(mine)
        assert right == pytest.approx(teaching.reliability, abs=0.06), name
    for row in rows[:1000]:
        right = is_right(row.problem, row.response)
        by_chance = (
            row.problem.kind == "twins" and row.problem.functions[0]["name"] == row.problem.asked[0][0]
        )
        assert right == (not row.mistaken or by_chance), row


def test_the_reward_pays_a_right_demonstration_in_full_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "prompts.jsonl"
    write_prompts(path, 64, seed=11)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    wanted = problems("train", 64, seed=11)
    assert [row["id"] for row in rows] == [p.id for p in wanted]
    rng = random.Random(0)
    for row, problem in zip(rows, wanted, strict=True):
        system, user = row["input"]
        assert system["content"] == f"Functions:\n{signatures(problem.functions)}"
        assert user == {"role": "user", "content": problem.request}
        bad = rng.choice(damaged(problem.asked[-1], problem))
        scored = [
            reward_func([response], [""], [row["label"]])
            for response in (text_of(problem.wanted), text_of((*problem.wanted[:-1], bad)), "")
        ]
        assert [one["scores"] for one in scored] == [1.0, 0.0, 0.0]
        assert gold_problem("function_call", row["label"]) is None
        assert scored[0]["rewards"] == 4.0 > max(one["rewards"] for one in scored[1:])


COUNTED = {"name": "f", "parameters": {"type": "dict", "properties": {"n": {"type": ["integer", "null"]}}}}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"gold": [{"set_lamp": {"level": 3}}]}, "gold call"),
        ({"gold": ["set_lamp"]}, "gold call"),
        ({"functions": [{}]}, "no list of descriptions with a name"),
        ({"category": "chess"}, "category 'chess': unknown"),
        ({"gold": [{"fly": {}}]}, "the gold calls 'fly', which is none of the functions on offer"),
        (
            {"gold": [{"f": {"n": ["7"]}}], "functions": [COUNTED]},
            "gives '7' for f's n, whose type is integer",
        ),
        (
            {"gold": [{"f": {"n": [True]}}], "functions": [COUNTED]},
            "gives True for f's n, whose type is integer",
        ),
        (
            {"gold": [{"f": {"n": [7.5]}}], "functions": [COUNTED]},
            "gives 7.5 for f's n, whose type is integer",
        ),
    ],
)
def test_a_label_that_was_damaged_is_refused(damage: dict[str, Any], words: str) -> None:
    problem = next(one for one in problems("train", 20, seed=1) if one.wanted)
    label = {"gold": problem.gold, "functions": problem.functions, "category": problem.category}
    assert gold_problem("function_call", json.dumps(label)) is None
    assert words in str(gold_problem("function_call", json.dumps({**label, **damage})))


SUITES = ("bfcl", "bfcl-basic", "tools-control")


def test_no_prompt_is_an_item_of_bfcl_or_of_the_control_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of the two splits name different functions, so that none is exact and none an n-gram."""
    chosen = {suite.name: suite for suite in get_suites(SUITES)}
    monkeypatch.setattr("dipo_openrlhf.data.leaks.all_suites", lambda: chosen)
    suites = read_suites(None, (), 0, lambda count: None)
    assert [suite.name for suite in suites.read] == list(SUITES)
    index = LeakIndex(suites, NGRAM, SHARE)
    met: Counter[Any] = Counter()
    for prompt in DATASET.make(1280, 42) if DATASET.make else []:
        for meeting in index.meetings(prompt)[:1]:
            met[meeting.suite, meeting.how] += 1
    assert {key: count for key, count in met.items() if key[1] != "wording"} == {}


def test_the_command_makes_the_same_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dipo_openrlhf.data.leaks.all_suites", dict)
    write_prompts(tmp_path / "here.jsonl", 32, seed=3)
    out = tmp_path / "out.jsonl"
    prepare(DATASET, Options(out, None, None, 32, 3), Reporter(False))
    assert out.read_text() == (tmp_path / "here.jsonl").read_text()
