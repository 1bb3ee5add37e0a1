"""BFCL's multi-turn cases as training rows: none of a held-out scenario, and each one begins and can be solved."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from dipo_eval.grading.calls import bfcl
from dipo_eval.runner.progress import Reporter
from dipo_eval.suites import get_suites
from dipo_openrlhf.data import get_dataset
from dipo_openrlhf.data.options import Options
from dipo_openrlhf.data.prepare import Outcome, prepare
from dipo_openrlhf.environments.bfcl import Bfcl
from dipo_openrlhf.environments.worker import plain_label
from dipo_openrlhf.preflight.prompts import check_data_file

pytestmark = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("bfcl")
    options = Options(folder / "train.jsonl", data_dir=folder)
    return prepare(get_dataset("bfcl_multi_turn"), options, Reporter(False))


def rows_of(outcome: Outcome) -> list[dict]:
    return [json.loads(line) for line in outcome.files[0].path.read_text().splitlines()]


def test_training_and_held_out_cases_share_no_scenario_and_no_message(outcome):
    (suite,) = get_suites(["bfcl-heldout"])
    held_out = [bfcl.item(item.meta["kind"], item.id) for item in suite.load(None, None, 0)]
    trained = [plain_label(row["label"]) for row in rows_of(outcome)]
    assert (len(trained), len(held_out)) == (614, 148)
    assert not {scenario(case) for case in trained} & {scenario(case) for case in held_out}
    assert not {said for case in trained for said in messages(case)} & {
        said for case in held_out for said in messages(case)
    }
    assert not {state(case) for case in trained} & {state(case) for case in held_out}


def scenario(case: dict) -> str:
    return case["id"].rpartition("_")[2]


def messages(case: dict) -> list[str]:
    return [message["content"] for turn in case["question"] for message in turn]


def state(case: dict) -> str:
    return json.dumps(case["initial_config"], sort_keys=True)


def test_the_leak_check_sees_the_held_out_cases_and_says_what_it_leaves_out(outcome):
    assert outcome.report["suites"]["bfcl-heldout"]["items"] == 148
    assert outcome.report["counts"]["dropped"] == {"suite, exact": 4}
    for name in ("bfcl", "bfcl-native"):
        assert "its own items" in outcome.report["not_checked"][name]
        assert name not in outcome.report["suites"]


def test_every_row_is_a_task_that_its_gold_solves(outcome):
    rows = rows_of(outcome)
    check_data_file(str(outcome.files[0].path), "input", "label", texts_only=True)
    kinds = Counter(row["id"].rpartition("_")[0] for row in rows)
    assert set(kinds) == set(bfcl.MULTI_TURN)
    for row in rows[::40]:
        task = plain_label(row["label"])
        environment = Bfcl(task)
        assert environment.messages(row["input"])[-1]["content"] in row["input"]
        for number, calls in enumerate(task["ground_truth"]):
            if calls:
                environment.run(calls)
            assert bool(environment.reply("Done.")) == (number + 1 < len(task["ground_truth"]))
        assert environment.reward("Done.") == 1.0
        assert Bfcl(task).reward("") == 0.0
