"""What a stored result still answers: found as it is, graded again if only the grader has changed, or replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.results.comparable import differences, made_with
from dipo_eval.results.store import read_result, suite_folder
from dipo_eval.runner.options import Options
from dipo_eval.runner.subject import Subject
from dipo_eval.runner.task import Task


def refuse_other_settings(subject: Subject, suites: Sequence[str], options: Options) -> None:
    """Raises UserError for stored results of the same weights and names with other settings, unless forced."""
    wanted = {**options.settings(), **subject.identity.settings}
    del wanted["engine_version"]  # another version replaces the result, as other weights do
    for suite in suites:
        folder = suite_folder(options.results_dir, options.run, subject.checkpoint.name, suite)
        old = None if options.force else read_result(folder, verify=False)
        if old is None or old["model"]["weights_hash"] != subject.identity.weights_hash:
            continue
        differing = [key for key, value in wanted.items() if old["settings"].get(key, value) != value]
        if differing:
            raise UserError(
                f"{folder}: holds results with other settings ({', '.join(differing)}); "
                "use another --run, or --force"
            )


def stored_result(task: Task, options: Options) -> dict[str, Any] | None:
    """The complete result in the task's folder, if it differs in the grader at most; None where it must be replaced."""
    old = None if options.force else read_result(task.folder)
    if old is not None and (reason := _outdated(old, task)):
        options.log(f"{task.folder}: its result is replaced, since {reason}")
        return None
    return old


def _outdated(old: dict[str, Any], task: Task) -> str:
    """Why a stored result is of another model, prompt or item; empty where it differs in the grader at most."""
    others = [
        name
        for name, value in task.header["model"].items()
        if name != "path" and old["model"].get(name) != value
    ]
    if others:
        return f"it is of another model ({', '.join(others)})"
    found = differences(made_with(old), made_with(task.header))
    if old["settings"] == task.header["settings"]:
        return "its items differ" if any(one.name == "items_sha256" for one in found) else ""
    words = ", ".join(one.words("there", "now") for one in found if one.name != "suite_hash")
    return words or "its settings differ"
