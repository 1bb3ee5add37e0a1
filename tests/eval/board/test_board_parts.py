"""The parts of the page: numbers, axes, embedded JSON, logs and words."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipo_eval.board import numbers
from dipo_eval.board.charts.chart import Chart, Series, render, summary
from dipo_eval.board.charts.scales import Scale, log_ticks, rounded_range, ticks
from dipo_eval.board.charts.svg import area_path, line_path
from dipo_eval.board.charts.training import PHASES, health_charts, trailing_rate, training_charts
from dipo_eval.board.data.runlog import RunLog, bucket_means, buckets, read_run_log
from dipo_eval.board.embed import json_script, safe_json
from dipo_eval.board.page.sentences import (
    feasible_sentence,
    fire_sentence,
    lookup,
    method,
    run_sentence,
    short_name,
)
from dipo_eval.files.step_log import drop_superseded

finite = st.floats(-1e9, 1e9)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_safe_json_parses_back_and_holds_no_markup(value: object) -> None:
    text = safe_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")
    text.encode("utf-8")


@given(st.text())
def test_json_script_is_one_element(text: str) -> None:
    seen: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append(tag)

        def handle_data(self, data: str) -> None:
            seen.append(data)

        def handle_comment(self, data: str) -> None:
            raise AssertionError(data)

    parser = Parser()
    parser.feed(str(json_script([text], "id", 'a"b')))
    parser.close()
    assert seen[0] == "script"
    assert json.loads("".join(seen[1:])) == [text]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (1234.5, "1,234"),
        (0.012345, "0.0123"),
        (-0.5, "\u22120.5"),
        (2e-5, "2e\u22125"),
        (3.2e7, "3.2e7"),
        (999.96, "1,000"),
        (None, "\u2013"),
        (math.nan, "\u2013"),
    ],
)
def test_plain(value: float | None, text: str) -> None:
    assert numbers.plain(value) == text


def test_number_words() -> None:
    assert numbers.percent(0.6123) == "61.2%"
    assert numbers.points(0.034) == "+3.4"
    assert numbers.points(-0.0001) == "0.0"
    assert numbers.points(-0.034) == "\u22123.4"
    assert numbers.percent_interval(0.585, 0.638) == "58.5 to 63.8%"
    assert numbers.percent_interval(None, 0.6) == "\u2013"
    assert [numbers.p_value(p) for p in (0.0002, 0.0042, 0.34)] == ["p < 0.001", "p = 0.004", "p = 0.34"]
    assert [numbers.duration(s) for s in (0.93, 42, 210, 7560)] == ["0.93 s", "42 s", "3.5 min", "2.1 h"]
    assert [numbers.plural(n, "step") for n in (1, 2, 1200)] == ["1 step", "2 steps", "1,200 steps"]


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 80, 6) == [0, 20, 40, 60, 80]
    assert ticks(0.31, 0.52) == pytest.approx([0.35, 0.4, 0.45, 0.5])
    assert ticks(1, 3, 6, whole=True) == [1, 2, 3]
    assert ticks(4, 4) == [4]
    assert log_ticks(1, 40) == [1, 2, 5, 10, 20]
    assert log_ticks(1, 1e5) == [1, 10, 100, 1000, 10_000, 100_000]


@given(finite, finite, st.booleans(), st.none() | st.just(1.0))
def test_rounded_range_holds_its_data(a: float, b: float, from_zero: bool, cap: float | None) -> None:
    low, high = min(a, b), max(a, b)
    start, end = rounded_range(low, high, from_zero, cap)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert start - slack <= low
    assert high <= end + slack
    assert start < end
    assert all(start - slack <= tick <= end + slack for tick in ticks(start, end))


def test_scale() -> None:
    assert Scale(0, 10, 100, 0)(2.5) == 75
    assert Scale(1, 100, 0, 10, log=True)(10) == pytest.approx(5)
    assert Scale(0, 1, 0, 10)(7) == 10
    assert Scale(3, 3, 0, 10)(3) == 5


def test_paths_break_at_gaps() -> None:
    assert line_path([(0, 0), (1, 1), None, (3, 3)]) == "M0.0 0.0L1.0 1.0M3.0 3.0h0"
    assert line_path([None, None]) == ""
    assert area_path([(0, 2), (1, 2)], [(0, 0), (1, 0)]) == "M0.0 2.0L1.0 2.0L1.0 0.0L0.0 0.0Z"


def test_resumed_steps_replace_what_they_overtake() -> None:
    rows = [{"step": s, "try": 1} for s in (1, 2, 3, 4)] + [{"step": s, "try": 2} for s in (3,)]
    assert [(r["step"], r["try"]) for r in drop_superseded(rows)] == [(1, 1), (2, 1), (3, 2)]


def test_buckets_cover_every_step_once() -> None:
    ranges = buckets(1001, limit=240)
    assert len(ranges) <= 240
    assert [i for r in ranges for i in r] == list(range(1001))
    assert bucket_means([1.0, None, 3.0, None], [range(0, 2), range(2, 3), range(3, 4)]) == [1.0, 3.0, None]


def test_trailing_rate_pools_counts() -> None:
    # By hand, window 2: 1/4, (1+0)/(4+0), (0+3)/(0+6); a step without groups alone has no rate.
    assert trailing_rate([1, 0, 3], [4, 0, 6], window=2) == [0.25, 0.25, 0.5]
    assert trailing_rate([0, None], [0, None]) == [None, None]


def test_log_with_broken_lines_and_odd_values(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "rollout/accuracy": NaN, "unknown": {"a": 1}}\nnot json\n[1]\n{"no": "step"}\n'
        '{"step": 2, "rollout/accuracy": "0.5", "dipo/groups_hard": 1e999}\n'
        '{"step": 3, "rollout/accuracy": 0.5}\n{"st'
    )
    (tmp_path / "recipe.yaml").write_text("name: mine\n a: [\n")
    run = read_run_log(tmp_path)
    assert [row["step"] for row in run.rows] == [1, 2, 3]
    assert run.values("rollout/accuracy") == [None, None, 0.5]
    assert run.values("dipo/groups_hard") == [None, None, None]
    assert "4 of 7 lines" in run.problems[0]
    assert "recipe.yaml could not be read" in run.problems[1]
    assert [chart.title for chart in training_charts(run)] == ["Training accuracy"]


def test_run_with_every_key_makes_every_chart(run_dir: Path) -> None:
    run = read_run_log(run_dir)
    assert len(training_charts(run)) == 14
    assert len(health_charts(run)) == 11


def test_the_phases_of_a_step_are_drawn_as_one_stack(run_dir: Path) -> None:
    """Every key of the log is in one area, so that the areas add up to the step's time; older logs have fewer."""
    run = read_run_log(run_dir)
    chart = next(one for one in training_charts(run) if one.title == "Time per step")
    assert [series.name for series in chart.series] == [name for name, _, _ in PHASES]
    for place, wall in enumerate(run.values("timing/wall")):
        assert sum(series.values[place] or 0.0 for series in chart.series) == pytest.approx(wall)
    old = RunLog("old", [{"step": 1, "timing/generation": 2.0, "timing/step_total": 3.0}])
    (chart,) = training_charts(old)
    assert [(series.name, series.values) for series in chart.series] == [
        ("sampling", [2.0]),
        ("other", [1.0]),
    ]


def test_long_run_is_thinned_but_its_totals_are_not(run_dir: Path) -> None:
    base = read_run_log(run_dir).rows
    run = RunLog("long", [{**base[i % 80], "step": i + 1} for i in range(8000)])
    assert all(len(chart.xs) <= 240 for chart in training_charts(run))
    assert run.total("dipo/groups_hard") == 100 * RunLog("short", base).total("dipo/groups_hard")


def test_fire_sentence() -> None:
    row = {"dipo/groups_hard": 200, "dipo/groups_easy": 112, "dipo/fired_hard": 25, "dipo/fired_easy": 16}
    sentence = fire_sentence(RunLog("r", [{"step": 1, **row}]))
    assert sentence == "DiPO acted on 41 of 312 extreme groups (13%): 25 of 200 hard, 16 of 112 easy."
    nothing = fire_sentence(RunLog("r", [{"step": 1, "dipo/groups_hard": 0}]))
    assert nothing == "No group was all-correct or all-incorrect, so DiPO had nothing to act on."
    assert fire_sentence(RunLog("r", [{"step": 1}])) is None


def test_reasons_without_a_threshold_are_put_in_words() -> None:
    rows = [
        {"step": 1, "dipo/feasible": 0.0, "dipo/infeasible_reason": "not_significant"},
        {"step": 2, "dipo/feasible": 1.0, "dipo/infeasible_reason": ""},
        {"step": 3, "dipo/feasible": None},
    ]
    assert feasible_sentence(RunLog("r", rows)) == (
        "A threshold was found on 1 of 2 steps. On the others, most often: "
        "no threshold separated correct from incorrect with enough confidence."
    )


def test_run_sentence_with_and_without_a_recipe() -> None:
    recipe = {
        "actor": {"model_name_or_path": "/m/Qwen3-4B-Base/"},
        "rollout.batch_size": 128,
        "rollout": {"n_samples_per_prompt": 8},
        "dipo": {"alpha": 0},
    }
    run = RunLog("r", [{"step": 1}], recipe)
    assert lookup(recipe, "rollout.n_samples_per_prompt") == 8
    assert run_sentence(run) == (
        "Qwen3-4B-Base was trained with DAPO (DiPO's weight alpha is 0) "
        "for 1 step of 128 prompts with 8 responses each."
    )
    assert run_sentence(RunLog("r", [])) == "Trained with an unnamed method for 0 steps."
    assert method(RunLog("r", [{"step": 1, "dipo/groups_hard": 2}])) == "DiPO"
    settings = {"dipo.method": "grpo", "dipo.alpha": 0.1, "data.prompt_dataset": "/d/p.jsonl"}
    resolved = RunLog("r", [], {"name": "r", "settings": settings})
    assert run_sentence(resolved) == "Trained with GRPO on p.jsonl for 0 steps."
    assert short_name("org/data/train.jsonl") == "data/train.jsonl"


def test_chart_says_its_ends_and_escapes_its_names() -> None:
    series = [Series("<b>", [0.1, None, 0.3], "blue", [0.0, None, 0.2], [0.2, None, 0.4])]
    chart = Chart("Accuracy", "share", [0.0, 10.0, 20.0], series, numbers.percent)
    assert summary(chart) == "Accuracy. <b>: 10.0% at training step 0, 30.0% at 20"
    html = str(render(chart))
    assert "<b>" not in html
    assert '["30.0% (20.0% to 40.0%)"]' in html


@pytest.mark.parametrize("values", [[None], [0.0], [5e8, -5e8], [1e-12, 1e12], [7.0] * 3])
@pytest.mark.parametrize("log", [True, False])
def test_chart_draws_any_numbers(values: list[float | None], log: bool) -> None:
    xs = [float(i) for i in range(len(values))]
    html = str(render(Chart("t", "u", xs, [Series("s", values, "blue")], may_be_log=log)))
    assert "nan" not in html
    assert "inf" not in html
