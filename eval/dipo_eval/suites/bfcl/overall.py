"""BFCL's overall accuracy from the accuracies of its categories, by the formula of v3 and by that of v4.

Source: bfcl_eval/eval_checker/eval_runner_helper.py, generate_leaderboard_csv; v4 as in bfcl-eval 2026.3.23, v3 as in the
same function of the v3 leaderboard (ShishirPatil/gorilla, first half of 2025).

* v3: a third each for live, non-live and multi-turn. Non-live is the mean of simple, multiple, parallel,
  parallel_multiple and irrelevance; live is weighted by items, irrelevance and relevance included.
* v4: 10% non-live and 10% live, both without irrelevance and relevance, 10% irrelevance (the mean of non-live and
  live), 30% multi-turn, 40% agentic (the mean of web search and memory). Relevance does not count.

In both, simple is the mean of its three languages and multi-turn that of its four categories. Live categories weigh as
many items as bfcl-eval 2026.3.23's data has, also where only some of them were run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dipo_eval.grading.calls.bfcl import MULTI_TURN

_LIVE = {
    "live_simple": 258, "live_multiple": 1053, "live_parallel": 16, "live_parallel_multiple": 24,
    "live_irrelevance": 884, "live_relevance": 16,
}  # fmt: skip


@dataclass(frozen=True)
class _Mean:
    """A weighted mean of categories and of other means."""

    name: str
    parts: tuple[tuple[float, _Mean | str], ...]

    def categories(self) -> Iterator[str]:
        for _, part in self.parts:
            if isinstance(part, str):
                yield part
            else:
                yield from part.categories()

    def of(self, accuracies: Mapping[str, float]) -> float:
        """The mean; a category that is missing counts 0."""
        total = 0.0
        for weight, part in self.parts:
            total += weight * (accuracies.get(part, 0.0) if isinstance(part, str) else part.of(accuracies))
        return total / sum(weight for weight, _ in self.parts)


def _mean(name: str, *parts: _Mean | str) -> _Mean:
    return _Mean(name, tuple((1, part) for part in parts))


def _live(*names: str) -> _Mean:
    return _Mean("live", tuple((_LIVE[name], name) for name in names))


_SIMPLE = _mean("simple", "simple_python", "simple_java", "simple_javascript")
_CALLS = (_SIMPLE, "multiple", "parallel", "parallel_multiple")
_MULTI_TURN = _mean("multi_turn", *MULTI_TURN)
_AGENTIC = _mean(
    "agentic",
    _mean("web_search", "web_search_base", "web_search_no_snippet"),
    _mean("memory", "memory_kv", "memory_vector", "memory_rec_sum"),
)
V3 = _mean("BFCL v3", _live(*_LIVE), _mean("non_live", *_CALLS, "irrelevance"), _MULTI_TURN)
V4 = _Mean(
    "BFCL v4",
    (
        (10, _mean("non_live", *_CALLS)),
        (10, _live("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")),
        (10, _mean("irrelevance", "irrelevance", "live_irrelevance")),
        (30, _MULTI_TURN),
        (40, _AGENTIC),
    ),
)


def overall_scores(accuracies: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """{"BFCL v3": score, "BFCL v4": score} from {category: accuracy in [0, 1]}.

    A score has ``value``, None where a category of the formula is missing; ``missing``, the names of these;
    ``missing_as_zero``, the number that bfcl-eval prints, in which they count 0; and ``parts``, the means that
    the formula weighs, each None where it is incomplete. Raises ValueError for an unknown category.
    """
    known = {*V3.categories(), *V4.categories()}
    unknown = sorted(set(accuracies) - known)
    if unknown:
        raise ValueError(f"no categories of BFCL: {', '.join(unknown)}")
    return {formula.name: _score(formula, accuracies) for formula in (V3, V4)}


def _score(formula: _Mean, accuracies: Mapping[str, float]) -> dict[str, Any]:
    missing = [name for name in formula.categories() if name not in accuracies]
    return {
        "value": None if missing else formula.of(accuracies),
        "missing": missing,
        "missing_as_zero": formula.of(accuracies),
        "parts": {
            part.name: part.of(accuracies) if accuracies.keys() >= {*part.categories()} else None
            for _, part in formula.parts
            if isinstance(part, _Mean)
        },
    }
