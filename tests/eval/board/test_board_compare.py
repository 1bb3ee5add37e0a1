"""Comparisons between checkpoints, and the choice of samples that the page holds."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dipo_eval.board.charts.accuracy import accuracy_charts
from dipo_eval.board.data.load import Result, load_results
from dipo_eval.board.page.render import write_board
from dipo_eval.board.page.samples import as_text, choose_samples, cut, embed_samples, item_letters
from dipo_eval.board.page.settings import collect_settings
from dipo_eval.board.table.comparison import all_pairs, choose_baseline, difference, flips
from dipo_eval.board.table.export import cell, to_csv, to_markdown
from dipo_eval.board.table.leaderboard import all_differences, headlines, rows, run_comparisons
from dipo_eval.runner.metrics import metrics_from_samples
from dipo_eval.statistics import paired_difference

Writer = Callable[..., Path]
RowMaker = Callable[..., dict[str, Any]]


def result(
    checkpoint: str, statuses: dict[tuple[str, int], str], *, suite: str = "s", step: int | None = None
) -> Result:
    """A result that exists in memory only."""
    return Result("run", checkpoint, suite, step, None, None, {}, {}, {}, "", Path(), statuses)


def single(checkpoint: str, pattern: str, **fields: Any) -> Result:
    """One sample an item, from letters: c correct, w wrong, u undecided."""
    words = {"c": "correct", "w": "wrong", "u": "undecided"}
    return result(checkpoint, {(f"i{n}", 0): words[letter] for n, letter in enumerate(pattern)}, **fields)


def test_difference_is_over_common_items_only() -> None:
    baseline, candidate = single("a", "ccwww"), single("b", "wcccwccc")
    found = difference(candidate, baseline)
    assert found is not None
    assert found.n_items == 5
    # By hand: items 0..4 differ by -1, 0, 1, 1, 0.
    assert found.mean == pytest.approx(1 / 5)
    expected = paired_difference([0, 1, 1, 1, 0], [1, 1, 0, 0, 0])
    assert (found.low, found.high, found.p_value) == pytest.approx(
        (expected.low, expected.high, expected.p_value)
    )
    assert found.verdict == "not settled"
    assert difference(single("a", "c"), single("b", "c")) is None


def test_differences_of_all_pairs_are_paired_differences() -> None:
    rng = random.Random(5)
    patterns = ["".join(rng.choice("cwu") for _ in range(rng.randint(20, 40))) for _ in range(6)]
    # An equal pair, a pair that differs by the same everywhere, one with a single item, one with other items.
    patterns += [patterns[0], "c" * 30, "w" * 30, "c"]
    results = [single(f"c{i}", pattern) for i, pattern in enumerate(patterns)]
    results.append(result("other", {(f"other{n}", n % 2): "correct" for n in range(9)}))
    found = all_pairs(results)
    for i, j in itertools.permutations(range(len(results)), 2):
        ours, theirs = results[i].item_scores, results[j].item_scores
        items = [item for item in ours if item in theirs]
        assert ((i, j) in found) == (len(items) >= 2)
        if len(items) >= 2:
            one = paired_difference([ours[item] for item in items], [theirs[item] for item in items])
            expected = (one.mean, one.low, one.high, one.p_value, len(items))
            assert astuple(found[i, j]) == pytest.approx(expected, abs=1e-12)


def test_samples_of_an_item_are_averaged_first() -> None:
    statuses = {("x", 0): "correct", ("x", 1): "wrong", ("y", 0): "undecided", ("y", 1): "wrong"}
    several = result("k2", statuses)
    assert several.item_scores == {"x": 0.5, "y": 0.0}
    found = difference(several, result("k1", {("x", 0): "correct", ("y", 0): "wrong"}))
    assert found is not None
    assert found.mean == pytest.approx(-0.25)
    assert flips(several, result("k1", {("x", 0): "correct", ("y", 0): "wrong"})) == {"x": "lost"}


def test_default_baseline_is_the_start() -> None:
    later, start, unknown = single("s9", "cc", step=9), single("s0", "cc", step=0), single("final", "cc")
    assert choose_baseline([later, unknown, start]) == ("run", "s0")
    assert choose_baseline([later, unknown]) == ("run", "s9")
    assert choose_baseline([later, single("base", "cc")]) == ("run", "base")
    assert choose_baseline([later, start], "run/s9") == ("run", "s9")
    assert choose_baseline([]) is None
    with pytest.raises(ValueError, match="choose one of run/s9"):
        choose_baseline([later], "s1")


def test_flips_come_first_then_undecided_wrong_correct() -> None:
    base, last = single("a", "ccwcuw", step=0), single("b", "cwwcwc", step=1)
    kept = choose_samples([base, last], ("run", "a"), cap=4)
    # i1 was lost, i5 gained, i4 undecided at the start, i2 incorrect at both, i0 and i3 correct at both.
    assert [item for item, _ in kept[1]] == ["i1", "i5", "i4", "i2"]
    assert kept[0] == kept[1]
    assert item_letters(base, [f"i{n}" for n in (0, 1, 2, 3, 4, 5, 9)]) == "CCICUI-"


def test_checkpoint_with_other_items_still_shows_its_own() -> None:
    first = single("a", "www")
    other = result("b", {(f"other{n}", 0): "correct" for n in range(3)})
    kept = choose_samples([first, other], ("run", "a"), cap=2)
    assert [len(keys) for keys in kept.values()] == [2, 2]


def test_long_responses_lose_their_middle(tmp_path: Path, result_writer: Writer, row_maker: RowMaker) -> None:
    rows_ = [row_maker(i, "wrong", response=f"start{'x' * 1_000_000}end{i}") for i in range(5)]
    result_writer(tmp_path, "run", "c", "s", rows_)
    results, problems = load_results(tmp_path)
    assert problems == []
    held = embed_samples(results, None).data["sets"][0]["rows"]
    assert len(held) == 5
    assert len(held[0]["response"]) < 20_100
    assert held[0]["response"].startswith("startxxx")
    assert held[0]["response"].endswith("xxxend0")
    assert held[0]["response_cut"] == 1_000_009 - 20_000
    tight = embed_samples(results, None, budget=15_000)
    assert tight.text_limit == 2_000
    assert len(tight.data["sets"][0]["rows"]) == 5
    assert embed_samples(results, None, budget=5_000).data["sets"][0]["total"] == 5


def test_cut_keeps_both_ends() -> None:
    assert cut("short", 10) == ("short", 0)
    text, missing = cut("a" * 50 + "b" * 50, 10)
    assert text == "aaaaa\n\n[ 90 characters left out here ]\n\nbbbbb"
    assert missing == 90


def test_packed_samples_are_read(tmp_path: Path, result_writer: Writer, row_maker: RowMaker) -> None:
    folder = result_writer(tmp_path, "run", "c", "s", [row_maker(i, "correct") for i in range(3)])
    plain = folder / "samples.jsonl"
    (folder / "samples.jsonl.zst").write_bytes(zstandard.compress(plain.read_bytes()))
    plain.unlink()
    results, problems = load_results(tmp_path)
    assert problems == []
    assert len(results[0].statuses) == 3
    (folder / "samples.jsonl.zst").write_bytes(b"torn")
    assert "its samples could not be read" in load_results(tmp_path)[1][0]


def test_headlines_take_the_last_checkpoint_and_runs_are_compared(results_dir: Path) -> None:
    results, _ = load_results(results_dir)
    baseline = choose_baseline(results)
    assert baseline == ("dapo", "step_0")
    table = rows(results, baseline, all_differences(results, baseline))
    cards = headlines(table)
    assert {card.result.model_key for card in cards} == {("dapo", "step_80"), ("dipo", "step_80")}
    compared = run_comparisons(table)
    assert [(d.suite, d.ours, d.theirs) for d in compared] == [
        (suite, "dipo/step_80", "dapo/step_80") for suite in ("arithmetic-control", "gsm8k")
    ]
    (gsm8k,) = [chart for chart in accuracy_charts(results) if chart.title == "gsm8k"]
    assert gsm8k.xs == [0.0, 40.0, 80.0]
    assert [series.name for series in gsm8k.series] == ["dapo", "dipo"]


def test_a_run_that_is_only_the_baseline_is_a_line_and_not_compared(
    tmp_path: Path, result_writer: Writer, row_maker: RowMaker
) -> None:
    right = [row_maker(i, "correct") for i in range(4)]
    wrong = [row_maker(i, "wrong") for i in range(4)]
    result_writer(tmp_path, "base", "Qwen", "s", wrong)
    result_writer(tmp_path, "dipo", "step_5", "s", right, step=5)
    results, _ = load_results(tmp_path)
    baseline = choose_baseline(results)
    assert baseline == ("base", "Qwen")
    assert run_comparisons(rows(results, baseline, all_differences(results, baseline))) == []
    (chart,) = accuracy_charts(results, baseline)
    assert [(s.name, s.values, s.dashed) for s in chart.series] == [
        ("dipo", [1.0], False),
        ("base/Qwen", [0.0], True),
    ]


def test_chats_read_as_their_messages() -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    assert as_text(chat) == "[system]\nBe brief.\n\n[user]\n2 + 2?"
    assert json.loads(as_text([{"role": "user", "content": "x", "tool_calls": []}]))[0]["tool_calls"] == []
    assert as_text(None) == ""
    assert json.loads(as_text({"gold": ["Zürich"]})) == {"gold": ["Zürich"]}


def test_settings_in_common_are_shown_once(results_dir: Path) -> None:
    results, _ = load_results(results_dir)
    settings = collect_settings(results)
    assert settings.common["settings: temperature"] == "0.6"
    assert [own["model: path"] for own in settings.own[:2]] == ["/models/dapo/step_0", "/models/dapo/step_40"]
    assert all("settings: temperature" not in own for own in settings.own)


def test_csv_and_markdown_agree_with_the_table(results_dir: Path) -> None:
    results, _ = load_results(results_dir)
    baseline = choose_baseline(results)
    table = rows(results, baseline, all_differences(results, baseline))
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [float(line["accuracy"]) for line in lines] == [r.accuracy.value for r in results if r.accuracy]
    assert lines[0]["difference"] == ""
    assert lines[1]["common_items"] == "60"
    markdown = to_markdown(table, baseline).splitlines()
    assert len(markdown) == 2 + len(table)
    assert all(line.count("|") == markdown[0].count("|") for line in markdown)
    assert cell("a|b\n<script>") == "a\\|b \\<script\\>"


def test_figures_over_k_samples_are_in_page_csv_and_markdown(
    tmp_path: Path, result_writer: Writer, row_maker: RowMaker
) -> None:
    statuses = ["correct", "wrong", "wrong", "wrong"]
    rows_ = [row_maker(i, statuses[(i + k) % 4], sample=k) for i in range(4) for k in range(4)]
    figures = metrics_from_samples(rows_)
    result_writer(tmp_path, "r", "c", "s", rows_, step=1, metrics=figures, n_items=4, n_samples_per_item=4)
    results, problems = load_results(tmp_path)
    assert problems == []
    assert figures["pass@4"]["value"] == 1.0
    majority = results[0].highest("maj")
    assert majority is not None
    table = rows(results, None, {})
    (line,) = csv.DictReader(io.StringIO(to_csv(table)))
    assert float(line["pass_at_k"]) == 1.0
    assert float(line["maj_at_k"]) == majority.value == figures["maj@4"]["value"]
    assert "| pass@k | maj@k |" in to_markdown(table, None).splitlines()[0]
    page = write_board(tmp_path, tmp_path / "b.html").read_text()
    assert '<button type="button">pass@k</button>' in page
    assert f'data-v="{majority.value}"' in page


def test_spreadsheet_formula_in_a_name_is_text(
    tmp_path: Path, result_writer: Writer, row_maker: RowMaker
) -> None:
    folder = result_writer(tmp_path, "run", "c", "s", [row_maker(i, "correct") for i in range(3)])
    stated = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**stated, "run": "=HYPERLINK(1)"}))
    results, _ = load_results(tmp_path)
    assert "\n'=HYPERLINK(1),c," in to_csv(rows(results, None, {}))
