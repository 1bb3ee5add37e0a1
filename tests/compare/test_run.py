"""A whole comparison in this process: what it runs, keeps, refuses and writes."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from rich.console import Console

from dipo_eval.errors import UserError
from dipo_openrlhf.compare import cell as cell_module
from dipo_openrlhf.compare import workers
from dipo_openrlhf.compare.cell import cell_of
from dipo_openrlhf.compare.run import compare
from dipo_openrlhf.compare.spec import Comparison


def spec(task, **changes):
    settings = {
        "name": "tiny",
        "tasks": [task],
        "methods": {"grpo": {}, "dapo": {}, "dipo": {}},
        "budget_tokens": 2000,
        "train": {"prompts_per_step": 8, "n_samples_per_prompt": 4, "prompts": 64},
        "seeds": {"least": 2, "step": 1, "most": 3},
        "evaluate": {"items": 20, "samples": 2, "times": 2},
    }
    return Comparison.model_validate({**settings, **changes})


def run(comparison, folder):
    return compare(comparison, folder, 1, Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def finished(small_task, tmp_path_factory):
    """(folder, results) of a comparison that ran to its end."""
    folder = tmp_path_factory.mktemp("compare") / "tiny"
    return folder, run(spec(small_task), folder)


def test_every_method_gets_the_budget_and_dapo_pays_for_what_it_throws_away(finished):
    for by_seed in finished[1][0].runs.values():
        for one in by_seed.values():
            tokens = [step["tokens"] for step in one.steps]
            assert tokens[-1] >= 2000
            assert all(before < 2000 for before in tokens[:-1])
            assert one.evaluations[0][0] == 0
            assert one.evaluations[-1][0] == tokens[-1]
    steps = {
        name: [len(one.steps) for one in by_seed.values()] for name, by_seed in finished[1][0].runs.items()
    }
    assert max(steps["dapo"]) < min(steps["grpo"])


def test_methods_start_from_the_same_model_prompts_and_random_numbers(finished):
    runs = finished[1][0].runs
    for seed in finished[1][0].seeds:
        starts = {json.dumps(vars(by_seed[seed].evaluations[0][1])) for by_seed in runs.values()}
        assert len(starts) == 1
        first = {by_seed[seed].steps[0]["accuracy"] for name, by_seed in runs.items() if name != "dapo"}
        assert len(first) == 1  # the same prompts are asked with the same random numbers


def test_verdicts_are_on_every_pair(finished):
    verdicts = finished[1][0].verdicts
    assert {(pair.a, pair.b) for pair in verdicts.pairs} == {
        ("grpo", "dapo"),
        ("grpo", "dipo"),
        ("dapo", "dipo"),
    }
    assert verdicts.stop


def test_the_report_is_a_page_tables_points_and_figures(finished):
    folder = finished[0]
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 10  # nine curves and the differences
    assert "http" not in page.split("<body>")[1].replace("http://www.w3.org", "")
    rows = list(csv.DictReader((folder / "steps.csv").open()))
    assert {row["method"] for row in rows} == {"grpo", "dapo", "dipo"}
    items = list(csv.DictReader((folder / "items.csv").open()))
    assert len(items) == 20 * 3 * len(finished[1][0].seeds)
    figures = sorted(path.name for path in (folder / "figures").glob("*.svg"))
    assert len(figures) == 10
    assert "small-differences.svg" in figures
    for path in (folder / "figures").glob("*.svg"):
        ElementTree.fromstring(path.read_text())


def test_the_tables_accuracy_is_that_of_the_items(finished):
    folder = finished[0]
    items = [row for row in csv.DictReader((folder / "items.csv").open()) if row["method"] == "grpo"]
    accuracy = sum(int(row["correct"]) for row in items) / (2 * len(items))
    assert f"| grpo | {100 * accuracy:.1f}% (" in (folder / "table.md").read_text()


def test_started_again_it_runs_nothing_and_says_the_same(finished, small_task, monkeypatch):
    folder, _ = finished
    before = (folder / "table.md").read_text()
    monkeypatch.setattr(workers, "run_cell", lambda *unused: pytest.fail("ran again"))
    run(spec(small_task), folder)
    assert (folder / "table.md").read_text() == before


def test_a_run_that_is_missing_is_run_again_with_the_same_numbers(finished, small_task):
    folder, _ = finished
    before = (folder / "table.md").read_text()
    path = next((folder / "cells").glob("*/dipo/seed-2.json"))
    old = json.loads(path.read_text())
    path.unlink()
    run(spec(small_task), folder)
    new = json.loads(path.read_text())
    assert {**new, "seconds": 0} == {**old, "seconds": 0}
    assert (folder / "table.md").read_text() == before


def test_other_settings_in_the_same_folder_are_refused_with_the_setting(finished, small_task):
    kept = (finished[0] / "settings.yaml").read_bytes()
    with pytest.raises(UserError, match=r"was run with budget_tokens = 2000, not 2500: choose another --out"):
        run(spec(small_task, budget_tokens=2500), finished[0])
    assert (finished[0] / "settings.yaml").read_bytes() == kept
    with pytest.raises(
        UserError, match=r"was run with entry.dipo.alpha = 0.1, not 0.5: choose another --out"
    ):
        run(spec(small_task, methods={"grpo": {}, "dipo": {"alpha": 0.5}}), finished[0])


def test_runs_of_other_code_are_refused(finished, small_task, monkeypatch):
    monkeypatch.setattr("dipo_openrlhf.compare.cell.code_hash", lambda: "another")
    with pytest.raises(
        UserError, match="was run by another release of the code or of torch: choose another --out"
    ):
        run(spec(small_task), finished[0])


def test_a_file_that_is_no_run_is_one_line(finished, small_task):
    path = next((finished[0] / "cells").glob("*/grpo/seed-1.json"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    try:
        with pytest.raises(UserError, match="is not a run of `dipo compare`: remove it"):
            run(spec(small_task), finished[0])
    finally:
        path.write_bytes(content)


def test_tuning_tries_as_many_options_on_other_seeds_and_records_them(small_task, tmp_path):
    tune = {
        "seeds": [100],
        "options": {"grpo": [{"lr": 1e-3}, {"lr": 1e-8}], "dipo": [{"lr": 1e-3}, {"lr": 3e-3}]},
    }
    comparison = spec(small_task, methods={"grpo": {}, "dipo": {}}, tune=tune, seeds={"least": 2, "most": 2})
    run(comparison, tmp_path / "tuned")
    recorded = json.loads((tmp_path / "tuned" / "tuning.json").read_text())
    assert [one["entry"] for one in recorded] == ["grpo", "dipo"]
    for one in recorded:
        assert one["accuracy"][one["chosen"]] == max(one["accuracy"])
    chosen = recorded[0]["options"][recorded[0]["chosen"]]["lr"]
    cell = json.loads((tmp_path / "tuned" / "cells" / small_task / "grpo" / "seed-1.json").read_text())[
        "cell"
    ]
    assert cell["lr"] == chosen
    assert "chosen" in (tmp_path / "tuned" / "table.md").read_text()


def test_tuning_is_judged_on_other_problems_than_those_reported(small_task, monkeypatch):
    comparison = spec(small_task)
    asked = []
    monkeypatch.setattr(cell_module, "evaluate", lambda *given: asked.append([one.id for one in given[3]]))
    monkeypatch.setattr(cell_module, "load_model", lambda folder: (None, None))
    for tuning in (False, True):
        cell = cell_of(comparison, small_task, comparison.entry("grpo"), 1, "model", tuning)
        cell_module.measured(cell, Path("model"))
    reported, tuned = map(set, asked)
    assert len(reported) == len(tuned) == comparison.evaluate.items
    assert reported.isdisjoint(tuned)


def test_a_run_that_fails_is_one_line_that_names_it(small_task, tmp_path, monkeypatch):
    def full(*unused):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workers, "write_cell", full)
    with pytest.raises(UserError, match=r"small, grpo, seed 1: OSError: .*No space left on device.*are kept"):
        run(spec(small_task), tmp_path / "full")


def test_what_is_fixed_before_the_first_look_cannot_be_changed_after_it(finished, small_task):
    before = (finished[0] / "table.md").read_bytes()
    with pytest.raises(
        UserError, match=r"verdict.margin was 0.02 .*, not 0.4: it is fixed before the first look"
    ):
        run(spec(small_task, verdict={"margin": 0.4}), finished[0])
    with pytest.raises(UserError, match=r"seeds\.most was 3"):
        run(spec(small_task, seeds={"least": 2, "step": 1, "most": 4}), finished[0])
    assert (finished[0] / "table.md").read_bytes() == before


@pytest.mark.parametrize("damage", [{"evaluations": []}, {"steps": []}, {"steps": [{"tokens": "x"}]}])
def test_a_run_with_other_content_is_one_line(finished, small_task, damage):
    path = next((finished[0] / "cells").rglob("seed-1.json"))
    content = path.read_bytes()
    try:
        path.write_text(json.dumps({**json.loads(content), **damage}))
        with pytest.raises(UserError, match=r"seed-1.json: is not a run of `dipo compare`: remove it"):
            run(spec(small_task), finished[0])
    finally:
        path.write_bytes(content)
