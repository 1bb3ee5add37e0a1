"""Whether the names and numbers of a comparison go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dipo_eval.discovery import unknown
from dipo_eval.errors import UserError, short_repr
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.compare.spec import Comparison, TuneSection, entry_of
from dipo_openrlhf.compare.tasks import task_named, task_names
from dipo_openrlhf.compare.tasks.task import Split

MAX_NAME = 100
"""Bytes of a name that a folder has."""


class KeyedError(ValueError):
    """What is wrong, with the key that it is wrong at."""

    def __init__(self, key: list[str | int], message: str) -> None:
        super().__init__(f"{'.'.join(str(part) for part in key)}: {message}")
        self.key = key


def check_comparison(found: Comparison) -> None:
    """Raise UserError with one line where names or numbers do not go together."""
    try:
        check(found)
    except KeyedError as error:
        raise UserError(str(error)) from None


def check(found: Comparison) -> None:
    """Raise KeyedError for the first thing that is wrong."""
    if found.name:
        _check_name(["name"], found.name)
    for index, name in enumerate(found.tasks):
        if name not in task_names():
            raise KeyedError(["tasks", index], str(unknown("task", name, task_names())))
        if name in found.tasks[:index]:
            raise KeyedError(["tasks", index], f"{name} is named twice")
    if len(found.methods) < 2:
        raise KeyedError(["methods"], "one method has nothing to be compared with: name two or more")
    for name, switches in found.methods.items():
        _check_entry(["methods", name], name, switches)
        if found.stack == "reference" and found.entry(name).dipo.keep_and_refill:
            rule = "keep_and_refill: the reference trainer does not have it; stack: openrlhf does"
            raise KeyedError(["methods", name], rule)
    if found.baseline and found.baseline not in found.methods:
        raise KeyedError(["baseline"], str(unknown("entry of methods", found.baseline, found.methods)))
    if found.seeds.most < found.seeds.least:
        raise KeyedError(
            ["seeds", "most"], f"{found.seeds.most}: must be at least seeds.least = {found.seeds.least}"
        )
    for task in dict.fromkeys([*found.tasks, *(found.tune.tasks if found.tune else [])]):
        _check_sizes(found, task)
    a_step = found.train.prompts_per_step * found.train.n_samples_per_prompt
    if found.train.mini_batches > a_step:
        raise KeyedError(["train", "mini_batches"], "must be at most the responses of a step")
    if found.stack == "openrlhf" and a_step % found.train.mini_batches:
        rule = f"{found.train.mini_batches}: must divide the {a_step} responses of a step on the full stack"
        raise KeyedError(["train", "mini_batches"], rule)
    if found.budget_tokens < a_step:
        rule = f"{found.budget_tokens}: is under one step, {a_step} responses of a token or more"
        raise KeyedError(["budget_tokens"], rule)
    if found.tune is not None:
        _check_tuning(found, found.tune)


def _check_sizes(found: Comparison, task: str) -> None:
    """Whether the task has as many different problems as are wanted."""
    if task not in task_names():
        return  # _check_tuning says so
    wanted: tuple[tuple[list[str | int], Split, int], ...] = (
        (["train", "prompts"], "train", found.train.prompts),
        (["evaluate", "items"], "test", found.evaluate.items * (2 if found.tune else 1)),
    )
    for key, split, count in wanted:
        try:
            task_named(task).problems(split, count, 0)
        except UserError as error:
            half = ", half of them for tuning" if found.tune and split == "test" else ""
            raise KeyedError(key, f"{count}{half}: {task}: {error}") from None


def _check_name(key: list[str | int], name: str) -> None:
    if not name or not all(c.isalnum() or c in "._-" for c in name) or name[0] in ".-":
        rule = "must have letters, digits, . _ and - alone, and begin with a letter, digit or _: a folder is named so"
        raise KeyedError(key, f"{short_repr(name)}: {rule}")
    if len(name.encode()) > MAX_NAME:
        raise KeyedError(key, f"must have at most {MAX_NAME} bytes: a folder is named so")


def _check_entry(key: list[str | int], name: str, switches: Mapping[str, Any]) -> None:
    _check_name(key, name)
    try:
        entry = entry_of(name, switches)
    except ValueError as error:
        raise KeyedError(key, str(error)) from None
    method = methods.get(entry.dipo.method)
    read = {"method", "lr", "correct_from", *(["refill_cap"] if method.dynamic_sampling else [])}
    for switch in switches:
        if not method.reallocates and switch not in read:
            raise KeyedError(key, f"{switch} does nothing with method {method.name}: leave it out")


def _check_tuning(found: Comparison, tune: TuneSection) -> None:
    compared = range(found.seeds.first, found.seeds.first + found.seeds.most)
    if same := [seed for seed in tune.seeds if seed in compared]:
        raise KeyedError(["tune", "seeds"], f"{same[0]} is a seed of the comparison: tune on others")
    for index, name in enumerate(tune.tasks):
        if name not in task_names():
            raise KeyedError(["tune", "tasks", index], str(unknown("task", name, task_names())))
    if left_out := [name for name in found.methods if name not in tune.options]:
        rule = f"{left_out[0]} has none: each entry of methods gets as many"
        raise KeyedError(["tune", "options"], rule)
    if empty := [name for name, options in tune.options.items() if not options]:
        raise KeyedError(["tune", "options", empty[0]], "is empty: give one option or more")
    if len(set(tune.seeds)) < len(tune.seeds):
        raise KeyedError(["tune", "seeds"], "names a seed twice")
    counts = {name: len(options) for name, options in tune.options.items()}
    for name, options in tune.options.items():
        if name not in found.methods:
            raise KeyedError(["tune", "options", name], str(unknown("entry of methods", name, found.methods)))
        if len(options) != max(counts.values()):
            rule = (
                f"{len(options)} options, where another entry has {max(counts.values())}: each gets as many"
            )
            raise KeyedError(["tune", "options", name], rule)
        for index, option in enumerate(options):
            _check_entry(["tune", "options", name, index], name, {**found.methods[name], **option})
