"""What the command line asks for: a comparison from a file, from options, or from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import methods as known_methods
from dipo_openrlhf.compare.checks import MAX_NAME, check_comparison
from dipo_openrlhf.compare.read import read_comparison, shipped
from dipo_openrlhf.compare.spec import Comparison
from dipo_openrlhf.compare.tasks import task_named, task_names


def chosen(
    what: Sequence[str], methods: str | None, tasks: str | None, seeds: int | None, budget_tokens: int | None,
    stack: str | None = None, margin: float | None = None,
) -> Comparison:  # fmt: skip
    """The comparison with what the options change. Raises UserError with one line."""
    if len(what) > 1:
        raise UserError(f"unexpected argument {what[1]!r}: give one comparison")
    if not what and (methods is None or tasks is None):
        raise UserError(
            "nothing to compare: name a comparison (dipo compare --list), or give --methods and --tasks"
        )
    changes: dict[str, Any] = {}
    if tasks is not None:
        changes["tasks"] = _names(tasks, "--tasks")
    if budget_tokens is not None:
        changes["budget_tokens"] = budget_tokens
    if stack is not None:
        if stack not in ("reference", "openrlhf"):
            raise UserError(f"--stack {stack!r}: must be reference or openrlhf")
        changes["stack"] = stack

    def changed(found: Comparison) -> Comparison:
        if what and methods is not None:
            changes.update(_selected(found, _names(methods, "--methods")))
        if seeds is not None:
            least = min(found.seeds.least, seeds)
            changes["seeds"] = found.seeds.model_copy(update={"most": seeds, "least": least})
        if margin is not None:
            changes["verdict"] = found.verdict.model_copy(update={"margin": margin})
        return found.model_copy(update=changes)

    if what:
        return read_comparison(what[0], changed)
    given: dict[str, dict[str, Any]] = {name: {} for name in _names(methods or "", "--methods")}
    found = changed(Comparison(name="-".join(given)[:MAX_NAME], methods=given, tasks=changes["tasks"]))
    check_comparison(found)
    return found


def refuse_without_effect(given: Mapping[str, Any]) -> None:
    """Raise UserError for the first option that is given beside finished runs, which run nothing."""
    for option, value in given.items():
        if value is not None:
            raise UserError(f"{option}: does nothing with finished runs, which are only read: leave it out")


def _selected(found: Comparison, names: list[str]) -> dict[str, Any]:
    """Of a comparison's entries these alone; a name that it lacks is a method without switches."""
    entries = {name: found.methods.get(name, {}) for name in names}
    changes: dict[str, Any] = {"methods": entries}
    if found.baseline not in entries:
        changes["baseline"] = ""
    if found.tune is not None:
        options = {name: one for name, one in found.tune.options.items() if name in entries}
        changes["tune"] = found.tune.model_copy(update={"options": options}) if options else None
    return changes


def _names(text: str, option: str) -> list[str]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UserError(f"{option} {text!r}: give names, separated by commas")
    if len(set(names)) < len(names):
        raise UserError(f"{option} {text!r}: names something twice")
    return names


def listing() -> str:
    """Comparisons, tasks and methods."""
    lines = ["comparisons:"]
    for name in shipped():
        lines.append(f"  {name:<20}{read_comparison(name).question}")
    lines.append("tasks:")
    lines += [f"  {name:<20}{task_named(name).question}" for name in task_names()]
    lines.append(f"methods: {', '.join(known_methods.names())}")
    return "\n".join(lines)


def described(comparison: Comparison, folder: Path, workers: int, runs: int) -> str:
    """The whole comparison as YAML, and what it takes."""
    text = yaml.safe_dump(comparison.model_dump(), sort_keys=False, allow_unicode=True)
    return f"{text}# at most {runs} runs, {workers} at a time, in {folder}"
