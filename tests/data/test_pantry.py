"""Orders for the pantry: rows that the tool agent can begin and judge, and demonstrations that were really played."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from itertools import cycle, islice

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading.calls.messages import step_calls
from dipo_eval.runner.progress import Reporter
from dipo_openrlhf.data import get_dataset, pantry
from dipo_openrlhf.data.options import Options
from dipo_openrlhf.data.pantry import TEACHING, demonstrations, orders, write_prompts
from dipo_openrlhf.data.prepare import prepare
from dipo_openrlhf.environments import get
from dipo_openrlhf.environments.pantry import Pantry
from dipo_openrlhf.environments.worker import environment_of, plain_label
from dipo_openrlhf.preflight.prompts import check_data_file

PLAYED = list(islice(demonstrations(3), 1500))


def test_a_row_names_the_environment_and_is_its_task(tmp_path):
    write_prompts(tmp_path / "pantry.jsonl", 200, 1)
    check_data_file(str(tmp_path / "pantry.jsonl"), "input", "label", texts_only=True)
    rows = [json.loads(line) for line in (tmp_path / "pantry.jsonl").read_text().splitlines()]
    assert len({(row["input"], row["label"]) for row in rows}) == len({row["id"] for row in rows}) == 200
    assert {row["kind"] for row in rows} == set(TEACHING)
    for row in rows:
        label = plain_label(row["label"])
        assert environment_of(label) is get("pantry")
        assert Pantry(label).reward("") < 1, "an order that is filled already"
    write_prompts(tmp_path / "again.jsonl", 200, 1)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "pantry.jsonl").read_bytes()


def test_the_command_makes_the_same_rows(tmp_path, folder):
    outcome = prepared(tmp_path, folder)
    write_prompts(tmp_path / "written.jsonl", 16, 5)
    assert outcome.files[0].path.read_bytes() == (tmp_path / "written.jsonl").read_bytes()
    assert outcome.report["reward"] == "tool_agent"
    with pytest.raises(UserError, match="holds complete conversations"):
        prepared(tmp_path, folder, template="boxed")


def prepared(tmp_path, folder, **options):
    given = Options(tmp_path / "made.jsonl", data_dir=folder, limit=16, seed=5, **options)
    return prepare(get_dataset("pantry"), given, Reporter(False))


def test_every_order_can_be_filled():
    for order in islice(orders(2), 500):
        made = Pantry(json.loads(order.label))
        for item, jars in order.wanted.items():
            missing = jars - made.count(item)
            if missing:
                (made.add if missing > 0 else made.take)(item, abs(missing))
        assert made.reward("Done.") == 1.0


def test_a_count_of_nothing_is_wanted_like_any_other():
    for stock, reward in (({}, 1.0), ({"salt": 0}, 1.0), ({"salt": 1}, 0.0), ({"rice": 1}, 0.5)):
        assert Pantry({"stock": stock, "wanted": {"salt": 0}}).reward("") == reward


def test_demonstrations_are_what_the_environment_answers():
    for one in random.Random(0).sample(PLAYED, 200):
        made = Pantry(json.loads(one.order.label))
        for message, results in zip(one.messages, one.results, strict=False):
            assert tuple(made.run(step_calls(message, official=False))) == results
        assert not step_calls(one.messages[-1], official=False)
        assert one.correct == (made.reward(one.messages[-1]) == 1.0)


def test_each_kind_is_correct_in_its_share_and_takes_several_turns():
    by_kind = defaultdict(list)
    for one in PLAYED:
        by_kind[one.order.kind].append(one)
    for kind, teaching in TEACHING.items():
        found = by_kind[kind]
        correct = sum(one.correct for one in found) / len(found)
        assert correct == pytest.approx(teaching.reliability, abs=0.1)
        assert min(len(one.messages) for one in found) >= 2
    assert 0.3 < sum(one.correct for one in PLAYED) / len(PLAYED) < 0.5
    calls = [len(step_calls(message, official=False)) for one in PLAYED for message in one.messages[:-1]]
    assert {1, 2, 3} == set(calls), "parallel calls in some"


def test_more_orders_than_there_are_is_one_line(tmp_path, monkeypatch):
    few = list(islice(orders(0), 5))
    monkeypatch.setattr(pantry, "orders", lambda seed: cycle(few))
    with pytest.raises(UserError, match="pantry: there are only 5 different orders"):
        write_prompts(tmp_path / "pantry.jsonl", 6, 0)
