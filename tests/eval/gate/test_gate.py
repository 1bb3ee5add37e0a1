"""The gate: verdicts by hand, false alarms and power by simulation, reports, and the command on stored results."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.gate import report as gate_report
from dipo_eval.gate.config import read_config
from dipo_eval.gate.verdict import SuiteGate, compare_suite, decide, infrastructure, overall
from dipo_eval.statistics import lower_bound
from dipo_openrlhf.cli import app

# Loaded by path: the tests are no package, so that no installed `tests` can be taken for them.
STORED = runpy.run_path(str(Path(__file__).parents[1] / "stored_results.py"))


def scores(*columns: list[float]) -> dict[str, list[float]]:
    return {f"item{i}": list(values) for i, values in enumerate(zip(*columns, strict=True))}


def flipped(n: int, lost: int, gained: int) -> tuple[dict, dict]:
    """(candidate, baseline): of n items half are correct, `lost` become incorrect and `gained` correct."""
    before = [float(i % 2) for i in range(n)]
    after = list(before)
    solved, unsolved = [i for i in range(n) if before[i]], [i for i in range(n) if not before[i]]
    for i in solved[:lost]:
        after[i] = 0.0
    for i in unsolved[:gained]:
        after[i] = 1.0
    return scores(after), scores(before)


def judged(candidate: dict, baseline: dict, margin: float = 0.02) -> SuiteGate:
    (gate,) = decide([compare_suite("s", candidate, baseline, margin)])
    return gate


def test_verdicts_by_hand():
    # 1000 items, d = (gained - lost) / 1000, sd of the per-item difference sqrt((lost + gained) / 1000 - d^2)
    assert judged(*flipped(1000, 5, 5)).verdict == "pass"  # se 0.0032: bound -0.52 points above -2
    assert judged(*flipped(1000, 60, 10)).verdict == "regression"  # -5 points, se 0.0083
    gate = judged(*flipped(1000, 45, 35))
    assert gate.verdict == "inconclusive"  # -1 point, se 0.0089: neither below 0 for sure nor above -2
    assert gate.mean == pytest.approx(-0.01)
    # The exact bound is a little lower than the normal one.
    assert gate.low == pytest.approx(-0.01 - 1.6449 * math.sqrt(0.08 - 1e-4) / math.sqrt(1000), abs=1e-3)
    assert gate.low == lower_bound(45, 35, 1000, 0.95)
    assert gate.high == -lower_bound(35, 45, 1000, 0.95)


def test_one_problem_more_solved_and_none_lost_never_turns_a_pass():
    """At 164 items and 2% Student's t passed identical answers and failed this."""
    verdicts = [
        judged(*flipped(164, lost, gained)).verdict for lost, gained in ((0, 0), (0, 1), (0, 2), (1, 2))
    ]
    assert verdicts == ["pass", "pass", "pass", "pass"]


def test_a_verdict_follows_from_the_interval_shown():
    for lost, gained in ((0, 0), (1, 0), (2, 0), (3, 1), (9, 2), (12, 12)):
        gate = judged(*flipped(164, lost, gained))
        assert (gate.low > -0.02) == (gate.verdict == "pass")


def test_where_few_items_carry_a_difference_the_limit_is_printed():
    """Eight samples of 164 items, all correct on both sides but for four: the interval cannot know of others."""
    before = {f"i{i}": [1.0] * 8 for i in range(164)}
    after = before | {f"i{i}": [0.0] * 6 + [1.0] * 2 for i in range(4)}
    gate = judged(after, before, margin=0.1)
    assert gate.verdict == "pass"
    assert gate.carrying == pytest.approx(4, rel=0.1)
    assert "4 of 164 items carry the difference" in gate.reason
    assert "a test at 5% errs in up to 18%" in gate.reason
    rng = np.random.default_rng(0)
    many = {f"i{i}": rng.binomial(1, 0.5, 8).tolist() for i in range(500)}
    more = {f"i{i}": rng.binomial(1, 0.5, 8).tolist() for i in range(500)}
    assert "carry" not in judged(more, many, margin=0.1).reason
    assert "carry" not in judged(*flipped(164, 0, 1)).reason  # exact: nothing to warn of


def test_a_lower_point_estimate_alone_never_fails():
    gate = judged(*flipped(30, 2, 0), margin=0.01)
    assert gate.mean == pytest.approx(-1 / 15)
    assert gate.verdict == "inconclusive"
    assert "cannot be told from luck" in gate.reason


def test_a_real_drop_within_the_margin_passes_and_is_mentioned():
    gate = judged(*flipped(10_000, 60, 10), margin=0.02)  # -0.5 points, certain
    assert gate.verdict == "pass"
    assert "a real drop, but within the margin" in gate.reason


def test_how_much_would_decide_is_the_textbook_number():
    gate = judged(*flipped(1000, 45, 35), margin=0.02)
    variance = 0.08 - 1e-4
    z = 1.644854 + 0.841621
    # Nam 1997: 0.08398 is the variance at the margin of the most likely rates, 0.0322 gained and 0.0522 lost.
    expected = (1.644854 * math.sqrt(0.08398) + 0.841621 * math.sqrt(0.08)) ** 2 / 0.02**2
    assert gate.items_needed == pytest.approx(expected, rel=0.002)
    assert gate.samples_needed is None  # one sample each: nothing tells sampling from items
    assert gate.detectable == pytest.approx(z * math.sqrt(variance / 1000), rel=0.01)


def test_more_samples_help_only_as_far_as_items_allow():
    rng = np.random.default_rng(0)
    same = {f"i{i}": rng.binomial(1, p, 8).tolist() for i, p in enumerate(np.linspace(0.1, 0.9, 30))}
    other = {f"i{i}": rng.binomial(1, p, 8).tolist() for i, p in enumerate(np.linspace(0.1, 0.9, 30))}
    gate = judged(same, other, margin=0.05)
    assert gate.verdict == "inconclusive"
    assert gate.samples_needed is not None
    assert gate.samples_needed > 8
    assert f"{gate.samples_needed} samples of each item" in gate.reason


def test_holm_over_suites():
    candidate, baseline = flipped(400, 22, 9)  # one-sided p about 0.01
    alone = compare_suite("a", candidate, baseline, 0.01)
    assert 0.005 < alone.p_drop < 0.03
    quiet = [compare_suite(f"q{i}", *flipped(400, 5, 5), 0.01) for i in range(9)]
    assert decide([alone])[0].verdict == "regression"
    assert decide([alone, *quiet])[0].verdict == "inconclusive"
    assert decide([alone, *quiet])[0].p_adjusted == pytest.approx(10 * alone.p_drop)


def test_overall_is_the_worst():
    ok, bad = judged(*flipped(1000, 5, 5)), judged(*flipped(1000, 60, 10))
    unsure = judged(*flipped(30, 2, 0))
    broken = infrastructure("x", "no result", 0.01)
    assert [overall(s) for s in ([ok], [ok, unsure], [ok, unsure, bad], [ok, bad, broken], [])] == [
        "pass", "inconclusive", "regression", "infrastructure", "infrastructure",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"margin": 0.0}, "margin"),
        ({"confidence": 0.4}, "confidence"),
        ({"baseline": scores([1.0, 0.0, 1.0])}, "same items"),
        ({"candidate": scores([1.0]), "baseline": scores([1.0])}, "two items"),
    ],
)
def test_bad_arguments(change, words):
    given = {
        "candidate": scores([1.0, 0.0]),
        "baseline": scores([1.0, 1.0]),
        "margin": 0.01,
        "confidence": 0.95,
    }
    given |= change
    with pytest.raises(ValueError, match=words):
        compare_suite("s", **given)


# Several samples an item; one is exact: test_paired_binary.py.
CASES = [(30, 32), (164, 8), (500, 4)]


def simulated(rng: np.random.Generator, n: int, k: int, drop: float) -> SuiteGate:
    """Two checkpoints of one run: item difficulties in common, answers drawn anew, the candidate `drop` lower."""
    difficulty = rng.beta(0.6, 0.6, n) * 0.8 + 0.15  # so that a drop never leaves [0, 1]
    baseline = rng.binomial(1, difficulty[:, None], (n, k))
    candidate = rng.binomial(1, (difficulty - drop)[:, None], (n, k))
    names = [f"i{i}" for i in range(n)]
    return compare_suite(
        "s", dict(zip(names, candidate, strict=True)), dict(zip(names, baseline, strict=True)), 1e-6
    )


def rates(n: int, k: int, repeats: int) -> tuple[float, float, float]:
    """(false alarms at no difference, power at the stated minimum detectable effect, that effect)."""
    rng = np.random.default_rng(n)
    effect = float(np.mean([simulated(rng, n, k, 0.0).detectable for _ in range(50)]))
    alarms = [decide([simulated(rng, n, k, 0.0)])[0].verdict == "regression" for _ in range(repeats)]
    found = [decide([simulated(rng, n, k, effect)])[0].verdict == "regression" for _ in range(repeats)]
    return float(np.mean(alarms)), float(np.mean(found)), effect


@pytest.mark.parametrize(("n", "k"), CASES)
def test_false_alarms_and_power_by_simulation(n, k):
    alarms, power, _ = rates(n, k, 300)
    assert alarms <= 0.05 + 0.04  # 300 draws: three standard errors
    assert abs(power - 0.8) <= 0.05 + 0.07


@pytest.mark.slow
@pytest.mark.parametrize(("n", "k"), CASES)
def test_false_alarms_and_power_by_long_simulation(n, k):
    alarms, power, effect = rates(n, k, 2000)
    print(f"n={n} k={k}: false alarms {alarms:.3f}, power {power:.3f} at a drop of {effect:.3f}")
    assert alarms <= 0.05 + 0.015  # 2,000 draws: three standard errors of a rate of 5%
    assert abs(power - 0.8) <= 0.05


def store(results: Path, checkpoint: str, given: dict, suite: str = "gsm8k", **changes) -> None:
    rows = STORED["rows_of"](given, changes.get("wrong", "wrong"))
    hashes = {"items_sha256": changes.get("items", "i"), "suite_hash": changes.get("grader", "g")}
    more = {"settings": changes.get("settings", {}), "hashes": hashes, **changes.get("result", {})}
    STORED["store"](results, checkpoint, rows, suite, **more)


def gate(results: Path, *arguments: str):
    command = ["gate", "--results", str(results), "--candidate", "new", "--baseline", "old", *arguments]
    return CliRunner().invoke(app, command)


@pytest.mark.parametrize(
    ("lost", "gained", "status", "word"),
    [(5, 5, 0, "pass"), (60, 10, 1, "regression"), (45, 35, 3, "inconclusive")],
)
def test_the_exit_status_is_the_verdict(tmp_path, lost, gained, status, word):
    candidate, baseline = flipped(1000, lost, gained)
    store(tmp_path, "old", baseline)
    store(tmp_path, "new", candidate)
    files = {kind: tmp_path / "out" / f"gate.{kind}" for kind in ("xml", "md", "json")}
    result = gate(
        tmp_path, "--margin", "0.02", "--junit", str(files["xml"]), "--markdown", str(files["md"]),
        "--json", str(files["json"]),
    )  # fmt: skip
    assert result.exit_code == status, result.output
    assert f"gate: {word} (exit status {status})" in result.output
    report = json.loads(files["json"].read_text())
    assert (report["verdict"], report["exit_code"], report["suites"][0]["n_items"]) == (word, status, 1000)
    suite = ElementTree.fromstring(files["xml"].read_text())
    assert suite.get("failures") == str(int(status == 1))
    assert suite.get("skipped") == str(int(status == 3))
    assert word.upper() in files["md"].read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"items": "other"}, "other items"),
        ({"grader": "other"}, "other versions of the grader"),
        ({"settings": {"temperature": 1.0}}, "temperature is 1 for the candidate and 0"),
        ({"wrong": "undecided"}, "undecided"),
    ],
)
def test_what_cannot_be_compared_is_not_judged(tmp_path, changes, words):
    candidate, baseline = flipped(100, 5, 5)
    store(tmp_path, "old", baseline)
    store(tmp_path, "new", candidate, **changes)
    result = gate(tmp_path)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_a_missing_suite_is_not_judged_and_a_named_one_is_required(tmp_path):
    candidate, baseline = flipped(1000, 5, 5)
    store(tmp_path, "old", baseline)
    store(tmp_path, "new", candidate)
    store(tmp_path, "old", baseline, suite="math500")
    assert gate(tmp_path, "--margin", "0.02").exit_code == 2
    config = tmp_path / "gate.yaml"
    config.write_text("suites: {gsm8k: {margin: 0.02}}\n")
    assert gate(tmp_path, "--config", str(config)).exit_code == 0
    config.write_text("suites: {gsm8k: {margin: 0.001}}\n")
    assert gate(tmp_path, "--config", str(config)).exit_code == 3


def test_a_half_written_result_is_no_result(tmp_path):
    candidate, baseline = flipped(100, 5, 5)
    store(tmp_path, "old", baseline)
    store(tmp_path, "new", candidate)
    with (tmp_path / "run" / "new" / "gsm8k" / "samples.jsonl").open("a") as file:
        file.write("{}\n")
    result = gate(tmp_path)
    assert result.exit_code == 2
    assert "no complete result" in " ".join(result.output.split())


def test_mistakes_are_one_line(tmp_path):
    store(tmp_path, "old", flipped(10, 1, 1)[1])
    assert "no evaluated checkpoint 'new'; there is: run/old" in str(gate(tmp_path).exception)
    assert "no such folder" in str(gate(tmp_path / "none").exception)
    config = tmp_path / "gate.yaml"
    for text, words in (
        ("margn: 0.1", "margn"),
        ("margin: 2", "margin: 2"),
        ("suites: {a: {margin: x}}", "suites.a.margin"),
        ("a: [", "not valid YAML"),
    ):
        config.write_text(text)
        with pytest.raises(UserError, match=words):
            read_config(config)


def test_names_in_reports_cannot_break_out_of_their_cell():
    hostile = infrastructure("a|b`<script>", "x | <b>", 0.01)
    markdown = gate_report.to_markdown("c`|", "b", [hostile])
    row = markdown.splitlines()[-1]
    assert row.count("|") - row.count("\\|") == 10
    assert "<script>" in ElementTree.fromstring(gate_report.to_junit("c", "b", [hostile]))[0].get("name")
