"""The board on files that nobody should trust: it always writes a page, and says what it has left out."""

from __future__ import annotations

import csv
import html
import json
import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dipo_eval.board.data.load import load_results
from dipo_eval.board.data.runlog import read_run_log
from dipo_eval.board.page.render import write_board
from dipo_eval.board.table.comparison import choose_baseline, difference, flips, not_comparable
from dipo_eval.board.table.export import cell, to_csv, to_markdown
from dipo_eval.board.table.leaderboard import all_differences, headlines, rows, run_comparisons
from dipo_eval.printable import shows, spelled

_STORED = runpy.run_path(str(Path(__file__).parents[1] / "stored_results.py"))
store, rows_of, lines, put, result_of = (
    _STORED[name] for name in ("store", "rows_of", "lines", "put", "result_of")
)
_MUTATIONS = runpy.run_path(str(Path(__file__).parents[1] / "mutations.py"))
mutated, dumped = _MUTATIONS["mutated"], _MUTATIONS["dumped"]
N = 400
BEFORE = rows_of({f"i{i}": [float(i % 2)] for i in range(N)})
AFTER = rows_of({f"i{i}": [float(i % 4 != 0)] for i in range(N)})

APART: dict[str, tuple[dict[str, Any], str]] = {
    "temperature": ({"settings": {"temperature": 1.0}}, "temperature is 1 here and 0 there: evaluate them alike"),
    "thinking": ({"settings": {"thinking": True}}, "thinking is true here and null there"),
    "unknown to this version": ({"settings": {"spell": 1}}, "spell is 1 here and not stated there: evaluate both again"),
    "other items": ({"hashes": {"items_sha256": "other"}}, "they were given other items"),
    "other grader": ({"hashes": {"suite_hash": "other"}}, "they were graded by other versions of the grader"),
}  # fmt: skip


@pytest.mark.parametrize("kind", APART)
def test_no_verdict_across_other_settings_items_or_graders(tmp_path: Path, kind: str) -> None:
    changes, words = APART[kind]
    store(tmp_path, "old", BEFORE, step=0)
    store(tmp_path, "new", AFTER, step=1, **changes)
    results, problems = load_results(tmp_path)
    assert problems == []
    new, old = results[1], results[0]
    assert words in not_comparable(new, old)
    assert difference(new, old) is None
    assert flips(new, old) == {}
    baseline = choose_baseline(results)
    table = rows(results, baseline, all_differences(results, baseline))
    assert [card.difference for card in headlines(table)] == [None]
    page = write_board(tmp_path, tmp_path / "b.html").read_text()
    for text in (
        re.sub("<(style|script).*?</(style|script)>", "", page, flags=re.S),
        to_markdown(table, baseline),
    ):
        assert "not comparable" in text
        assert "p < 0.001" not in text
        assert "better" not in text
    assert words in page
    assert words in to_csv(table)
    comparisons = re.search(r'id="comparisons">(.*?)</script>', page, re.S)
    assert comparisons is not None
    held = json.loads(comparisons.group(1))
    assert (held["pairs"], held["made"]) == ({}, [0, 1])
    assert words in held["not_comparable"]["1,0"]


def test_seed_samples_and_limit_may_differ(tmp_path: Path) -> None:
    store(tmp_path, "old", BEFORE, step=0)
    store(tmp_path, "new", AFTER, step=1, settings={"seed": 7, "n_samples": 9, "limit": N})
    results, _ = load_results(tmp_path)
    found = difference(results[1], results[0])
    assert found is not None
    assert found.verdict == "better"


def test_runs_that_are_not_comparable_have_no_difference(tmp_path: Path) -> None:
    for run, checkpoint, more in (("a", "s9", {}), ("b", "s9", {"settings": {"dtype": "bfloat16"}})):
        folder = tmp_path / run / checkpoint / "gsm8k"
        put(folder, lines(AFTER), result_of(AFTER, run, checkpoint, "gsm8k", step=9, **more))
    put(tmp_path / "a" / "s0" / "gsm8k", lines(BEFORE), result_of(BEFORE, "a", "s0", "gsm8k", step=0))
    results, _ = load_results(tmp_path)
    baseline = choose_baseline(results)
    (found,) = run_comparisons(rows(results, baseline, all_differences(results, baseline)))
    assert (found.difference, found.not_comparable) == (
        None, 'dtype is "bfloat16" here and "float32" there: evaluate them alike'
    )  # fmt: skip
    page = write_board(tmp_path, tmp_path / "b.html").read_text()
    assert "Not all points are comparable" in page


NAMES = [
    "pass@" + "9" * 5000,
    "pass@-3",
    "pass@",
    "pass@\u0663",
    "x" * 10_000_000,
    "\ud800<script>",
    "maj@1e9",
]
VALUES: list[Any] = [
    {"value": 10**400}, {"value": 1e300}, {"value": "0.5"}, {"value": None}, {"value": [0.5]}, [], {"value": True},
]  # fmt: skip


def test_hostile_metrics_cost_nothing_but_themselves(tmp_path: Path) -> None:
    store(tmp_path, "old", BEFORE, step=0)
    folder = store(tmp_path, "new", AFTER, step=1)
    result = json.loads((folder / "results.json").read_text())
    good = {**result["metrics"]["accuracy"], "k": 2}  # with several samples the page looks for pass@k
    result["metrics"]["accuracy"] = good
    result["metrics"] |= {name: good for name in NAMES} | {f"bad{i}": value for i, value in enumerate(VALUES)}
    result["metrics"]["negative"] = {**good, "n": -5, "k": -3, "low": float("1e200")}
    (folder / "results.json").write_text(json.dumps(result))
    results, problems = load_results(tmp_path)
    assert len(results) == 2
    assert len(problems) == 1
    assert "metrics without a number or with too long a name are left out: 'pass@9999" in problems[0]
    new = results[1]
    assert new.accuracy is not None
    assert new.highest("pass") is None
    assert set(new.metrics) == {
        "accuracy",
        "negative",
        "pass@-3",
        "pass@",
        "pass@\u0663",
        "\ud800<script>",
        "maj@1e9",
    }
    assert (new.metrics["negative"].n, new.metrics["negative"].k, new.metrics["negative"].low) == (
        None,
        None,
        None,
    )
    page = write_board(tmp_path, tmp_path / "b.html").read_text()
    assert len(page) < 1_500_000
    assert "better" in page


def test_hostile_texts_are_cut(tmp_path: Path) -> None:
    long = "y" * 10_000_000
    deep: Any = []
    for _ in range(600):
        deep = [deep]
    folder = store(
        tmp_path, "old", BEFORE, created=long, settings={"a": long, "b": deep}, versions={long: long}
    )
    result = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**result, "run": "\x00", "checkpoint": long}))
    page = write_board(tmp_path, tmp_path / "b.html").read_text()
    assert len(page) < 2_000_000
    assert "10,000,002 characters" not in page
    assert "10,000,000 characters" in page


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"schema": 1, "x": ' + "1" * 5000 + "}", "\xff", '{"schema": NaN}']
)
def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path, text: str) -> None:
    store(tmp_path, "old", BEFORE)
    folder = store(tmp_path, "new", AFTER)
    (folder / "results.json").write_bytes(text.encode("latin-1"))
    results, problems = load_results(tmp_path)
    assert [one.checkpoint for one in results] == ["old"]
    assert "run/new/gsm8k/results.json could not be read and is left out" in problems[0]


ROW = {
    "step": 3, "policy_loss": 0.1, "actor_grad_norm": 0.5, "rollout/accuracy": 0.4, "dipo/groups_hard": 3,
    "dipo/fired_hard": 1, "dipo/feasible": True, "dipo/infeasible_reason": "", "dipo/ppl_correct_p50": 1.1,
    "timing/step_total": 2.0, "timing/generation": 1.0, "dipo/quadrant_CL": 4, "not_finite": {"vllm_kl": "inf"},
}  # fmt: skip
Writer = Callable[..., Path]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    result=mutated(result_of(AFTER[:6], "run", "new", "gsm8k", step=1)),
    samples=mutated(AFTER[:6]),
    log=st.lists(
        mutated(ROW)
        | st.just(ROW)
        | st.just({**ROW, "step": 9, "policy_loss": -1e99, "rollout/accuracy": 2}),
        max_size=4,
    ),
)
def test_whatever_the_files_hold_there_is_a_page(tmp_path: Path, result: Any, samples: Any, log: Any) -> None:
    store(tmp_path, "old", BEFORE[:6], step=0)
    folder = tmp_path / "run" / "new" / "gsm8k"
    folder.mkdir(parents=True, exist_ok=True)
    body = "".join(dumped(one) + "\n" for one in samples) if isinstance(samples, list) else dumped(samples)
    (folder / "samples.jsonl").write_text(body)
    (folder / "results.json").write_text(dumped(result))
    run_dir = tmp_path / "train"
    run_dir.mkdir(exist_ok=True)
    (run_dir / "metrics.jsonl").write_text("".join(dumped(one) + "\n" for one in log))
    page = write_board(tmp_path, tmp_path / "b.html", [read_run_log(run_dir)]).read_text()
    assert page.rstrip().endswith("</html>")
    assert "old" in page
    results, _ = load_results(tmp_path)
    baseline = choose_baseline(results)
    table = rows(results, baseline, all_differences(results, baseline))
    assert to_markdown(table, baseline)
    assert to_csv(table)


def test_losses_that_were_no_numbers_are_a_problem_on_the_page(tmp_path: Path) -> None:
    log = [
        {"step": 1, "policy_loss": 0.5, "dipo/threshold_ppl": None},
        {"step": 2, "policy_loss": None, "not_finite": {"policy_loss": "nan"}},
        {"step": 3, "policy_loss": float("nan"), "actor_grad_norm": float("inf")},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    run = read_run_log(tmp_path)
    assert run.problems == (
        f"{tmp_path.name}/metrics.jsonl: not a number: policy_loss at step 2 (NaN), 3 (NaN); actor_grad_norm at step 3 "
        "(infinite): the model may be broken from the first of these steps on, so go back to a checkpoint before it",
    )
    assert (
        run.problems[0].split(": ", 1)[1][:40]
        in write_board(tmp_path, tmp_path / "b.html", [run]).read_text()
    )


HIDDEN = "\x1b[2J\x07\x9b31m\u202e\u2066\u200e\u200b\x7f"


def hostile_names(root: Path) -> None:
    """Two checkpoints, one of which hides something in its run, its checkpoint and its suite."""
    store(root, "old", BEFORE[:6], step=0)
    folder = store(root, "new", AFTER[:6], step=1)
    result = json.loads((folder / "results.json").read_text())
    for part in ("run", "checkpoint", "suite"):
        result[part] = f"{part}{HIDDEN}"
    result["settings"]["prompt_form"] = f"form{HIDDEN}"
    (folder / "results.json").write_text(json.dumps(result))


def test_names_hide_nothing_in_page_markdown_and_csv(tmp_path: Path) -> None:
    hostile_names(tmp_path)
    results, _ = load_results(tmp_path)
    assert choose_baseline(results, f"run{HIDDEN}/checkpoint{HIDDEN}") == (
        "run" + spelled(HIDDEN),
        "checkpoint" + spelled(HIDDEN),
    )
    for baseline in (choose_baseline(results), choose_baseline(results, f"checkpoint{HIDDEN}")):
        table = rows(results, baseline, all_differences(results, baseline))
        page = write_board(
            tmp_path, tmp_path / "b.html", title=f"title{HIDDEN}", baseline="/".join(baseline or ())
        ).read_text()
        for text in (to_markdown(table, baseline), to_csv(table), page):
            assert {char for char in text if not shows(char)} <= {"\n", "\t"}
        for name in ("title", "run", "checkpoint", "suite", "form"):
            assert f"{name}{html.escape(spelled(HIDDEN))}" in page
        assert f"run{spelled(HIDDEN)},checkpoint{spelled(HIDDEN)}," in to_csv(table)
        assert to_markdown(table, baseline).count("\n") == 4


def test_a_name_with_a_line_break_is_one_row(tmp_path: Path) -> None:
    folder = store(tmp_path, "new", AFTER[:6], step=1)
    result = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**result, "checkpoint": "a\nb\r\u2028| c |"}))
    results, _ = load_results(tmp_path)
    table = rows(results, None, {})
    assert len(to_markdown(table, None).splitlines()) == 3
    assert len(to_csv(table).splitlines()) == 2


@pytest.mark.parametrize(
    "name",
    ["https://x.example", "HTTP://x.example", "ftp://x", "www.x.example", "_WWW.x.example", "@user", "a/@user",
     "me@x.example", "#12", "org/name#12", "mailto:me@x.example"],
)  # fmt: skip
def test_github_links_nothing_in_a_cell(name: str) -> None:
    made = cell(name)
    assert not re.search(r"://|www\.|@[\w-]|#\d", made, re.IGNORECASE)
    assert re.sub(r"</?span>", "", made).replace("\\", "") == name  # what a reader sees


@pytest.mark.parametrize(
    "name", ["qwen3-4b/step.10", "run=1+lr-3e-6", "a: b, 10.5 (x)", "4.5 @ 3", "w.x", "a:b"]
)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert cell(name).replace("\\", "") == name


@pytest.mark.parametrize(
    "name",
    ["=1+1", "+1", "-1", "@x", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", " =1", "\u3000=1", "\xa0+1", "\u200b=1",
     "\ufeff\u200f -1", "\t=1", "\r=1", "\n@x", "\t1"],
)  # fmt: skip
def test_no_name_starts_a_formula(tmp_path: Path, name: str) -> None:
    store(tmp_path, "old", BEFORE[:6], step=0)
    results, _ = load_results(tmp_path)
    (row,) = csv.DictReader(to_csv(rows([replace(results[0], suite=name)], None, {})).splitlines())
    assert row["suite"] == "'" + spelled(name)


@pytest.mark.parametrize("name", ["a=1", "step-1", "x@y", "1", "\u2212", ""])
def test_other_names_are_not_quoted(tmp_path: Path, name: str) -> None:
    store(tmp_path, "old", BEFORE[:6], step=0)
    results, _ = load_results(tmp_path)
    (row,) = csv.DictReader(to_csv(rows([replace(results[0], suite=name)], None, {})).splitlines())
    assert row["suite"] == name
