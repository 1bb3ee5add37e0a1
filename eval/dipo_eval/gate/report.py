"""A gate's outcome for people (Markdown), for CI systems (JUnit XML) and for programs (JSON)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from dipo_eval.gate.verdict import EXIT_CODES, GateVerdict, SuiteGate, overall
from dipo_eval.printable import shows

COLUMNS = (
    "suite", "verdict", "candidate", "baseline", "difference", "margin", "p (Holm)", "n x k", "why",
)  # fmt: skip
WORDS: dict[GateVerdict, str] = {
    "pass": "PASS",
    "regression": "REGRESSION",
    "inconclusive": "INCONCLUSIVE",
    "infrastructure": "NOT JUDGED",
}
"""A verdict as people read it; JSON has the verdict itself."""


def to_json(candidate: str, baseline: str, suites: Sequence[SuiteGate]) -> str:
    """Every figure; NaN is null."""
    verdict = overall(suites)
    return json.dumps(
        {
            "candidate": candidate,
            "baseline": baseline,
            "verdict": verdict,
            "exit_code": EXIT_CODES[verdict],
            "suites": [{key: _plain(value) for key, value in asdict(gate).items()} for gate in suites],
        },
        indent=2,
    )


def to_markdown(candidate: str, baseline: str, suites: Sequence[SuiteGate]) -> str:
    """A table for the summary of a CI run. Names are shown as code, so that they render as they are."""
    lines = [
        f"## Gate: {WORDS[overall(suites)]}",
        "",
        f"`{_code(candidate)}` against `{_code(baseline)}`",
        "",
        f"| {' | '.join(COLUMNS).replace('difference', 'difference (interval)')} |",
        "|---" * len(COLUMNS) + "|",
    ]
    for gate in suites:
        cells = [f"`{_code(gate.suite)}`", WORDS[gate.verdict], *figures(gate), _escaped(gate.reason)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"- `{_code(gate.suite)}`: {_escaped(words)}" for gate in suites if (words := differing(gate))]
    return "\n".join([*lines, ""])


def differing(gate: SuiteGate) -> str:
    """What differed and was allowed to, with both values; empty where nothing did."""
    return "; ".join(one.words("for the candidate", "for the baseline") for one in gate.differing)


def figures(gate: SuiteGate) -> list[str]:
    """Candidate, baseline, difference with its interval, margin, p-value, items x samples; empty where unknown."""
    if math.isnan(gate.mean):
        return ["", "", "", f"{gate.margin:.1%}", "", ""]
    same = gate.samples[0] == gate.samples[1]
    samples = str(gate.samples[0]) if same else f"{gate.samples[0]} / {gate.samples[1]}"
    return [
        f"{gate.candidate:.1%}",
        f"{gate.baseline:.1%}",
        f"{100 * gate.mean:+.1f} ({100 * gate.low:+.1f} to {100 * gate.high:+.1f})",
        f"{gate.margin:.1%}",
        f"{gate.p_adjusted:.3f}",
        f"{gate.n_items} x {samples}",
    ]


def to_junit(candidate: str, baseline: str, suites: Sequence[SuiteGate]) -> str:
    """One test case a suite: regression is a failure, not judged an error, inconclusive skipped with the reason."""
    kinds = {"regression": "failure", "infrastructure": "error", "inconclusive": "skipped"}
    counts = Counter(kinds.get(gate.verdict) for gate in suites)
    root = ElementTree.Element(
        "testsuite",
        name=f"dipo gate: {candidate} against {baseline}",
        tests=str(len(suites)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
    )
    for gate in suites:
        case = ElementTree.SubElement(root, "testcase", classname="dipo.gate", name=gate.suite)
        if gate.verdict in kinds:
            ElementTree.SubElement(case, kinds[gate.verdict], message=_xml(gate.reason))
        output = ElementTree.SubElement(case, "system-out")
        parts = (*figures(gate), gate.reason, differing(gate))
        output.text = _xml("; ".join(part for part in parts if part))
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _xml(text: str) -> str:
    """Control characters and lone surrogates, which XML 1.0 cannot hold, are spelled out."""
    return "".join(char if char in "\t\n" or shows(char) else f"\\u{ord(char):04x}" for char in text)


def _code(text: str) -> str:
    return text.replace("`", "'").replace("|", "/")


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
