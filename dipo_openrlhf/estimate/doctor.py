"""`dipo doctor`: is this machine ready, what is changed in OpenRLHF here, and how often DiPO acts on stored rollouts."""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, OverflowMethod
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dipo_eval.engines.device import is_cpu_build
from dipo_eval.errors import UserError
from dipo_eval.grading.code.grade import sandbox_here
from dipo_eval.workers.cores import usable_cores
from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.estimate.environment import machine_checks, recipe_checks
from dipo_openrlhf.estimate.gpu_checks import Check
from dipo_openrlhf.estimate.machine import Machine
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.report import estimate_lines
from dipo_openrlhf.openrlhf_patch import overrides
from dipo_openrlhf.openrlhf_patch.cpu import changes
from dipo_openrlhf.recipe.defaults import on_cpu
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.record import rollout_replay
from dipo_openrlhf.record.provenance import installed_versions


def doctor(console: Console, as_json: bool = False) -> bool:
    """Print what this machine has and what is changed in OpenRLHF; returns whether training can start here.

    `as_json`: {"ready", "device", "machine": {name: text}, "gpu": [{"name", "ok", "found", "remedy", "required"}]} alone.
    """
    ready, rows = _machine_rows()
    machine = Machine()
    checks = machine_checks(machine) if machine.devices() else []
    if not is_cpu_build():  # there nothing runs on a GPU
        ready = ready and all_required(checks)
    if as_json:
        found = {name: Text.from_markup(text).plain for name, text in rows}
        print_json({"ready": ready, "device": _device(), "machine": found, "gpu": as_data(checks)})
        return ready
    table = _table("This machine")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    print_checks(console, checks)
    _overrides(console)
    _changes(console)
    console.print(_last_line(ready, checks), markup=False, highlight=False, soft_wrap=True)
    return ready


def _last_line(ready: bool, checks: Sequence[Check]) -> str:
    """What training this machine is ready for, or what is missing."""
    where = "on CPU, with small models" if _device() == "cpu" else "on this machine's GPUs"
    if ready:
        return f"ready for training {where}"
    missing = [check.name for check in checks if check.required and not check.ok]
    return f"not ready for training {where}: {', '.join(missing) or 'OpenRLHF'}, see above"


def doctor_recipe(
    console: Console,
    recipe: Recipe,
    assume: Assumptions,
    as_json: bool,
    measured: Sequence[str] = (),
    by: str = "",
) -> bool:
    """Print a recipe's estimate, and on a machine with a GPU what it lacks for it; returns whether both are fine.

    `measured`: names of assumptions that are measured, `by` what.
    """
    fits, lines = estimate_lines(recipe, assume, measured, by)
    machine = Machine()
    checks = recipe_checks(machine, recipe, assume) if machine.devices() and not recipe.on_cpu else []
    ready = fits and all_required(checks)
    if as_json:
        print_json({"ready": ready, "fits": fits, "estimate": lines, "gpu": as_data(checks)})
        return ready
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not (machine.devices() or recipe.on_cpu):
        console.print("this machine has no NVIDIA device: only the estimate above", highlight=False)
    print_checks(console, checks)
    return ready


def all_required(checks: Sequence[Check]) -> bool:
    """Whether nothing is missing that must be there."""
    return all(check.ok or not check.required for check in checks)


def as_data(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """The checks as plain values."""
    return [dataclasses.asdict(check) for check in checks]


def print_json(value: dict[str, Any]) -> None:
    """On standard output, whatever its width."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_checks(console: Console, checks: Sequence[Check]) -> None:
    """A line each, with a remedy where something is missing."""
    if not checks:
        return
    table = _table("This machine's GPUs", "check", "", "found", "remedy")
    for check in checks:
        state = "ok" if check.ok else "[red]missing[/red]" if check.required else "[yellow]without[/yellow]"
        table.add_row(check.name, state, escape(check.found), "" if check.ok else escape(check.remedy))
    console.print(table)


def _device() -> str:
    return "cpu" if on_cpu("auto") else "gpu"


def fire_rates(console: Console, rollouts: Path, key: str, switches: dict[str, Setting]) -> None:
    """Print how often DiPO would have acted on stored rollouts, for every value of one switch."""
    values = rollout_replay.stored_config(rollouts).to_dict()
    for name, setting in switches.items():
        if not name.startswith("dipo."):
            raise UserError(f"--{name}: only switches of DiPO change what it does: --dipo.NAME VALUE")
        values[name.removeprefix("dipo.")] = setting.value
    try:
        config = DipoConfig.from_dict(values)
    except ValueError as error:
        raise UserError(str(error)) from None
    steps = rollout_replay.read_rollouts(rollouts)
    rates = rollout_replay.compare_values(steps, config, key)
    title = f"{len(steps)} steps of {rollouts}: extreme groups DiPO acts on, by dipo.{key}"
    table = _table(
        title, f"dipo.{key}", "all incorrect", "all correct", "share", "skipped", overflow="ellipsis"
    )
    for value, rate in rates.items():
        skipped = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in rate.idle.items() if n)
        table.add_row(
            f"{value} *" if value == getattr(config, key) else value,
            f"{rate.fired_hard} of {rate.hard}",
            f"{rate.fired_easy} of {rate.easy}",
            f"{rate.share:.1%}",
            skipped,
        )
    console.print(table)
    console.print(
        "* the value of the run. A replay cannot show how a switch changes the training that follows."
    )


def _table(title: str, *columns: str, overflow: OverflowMethod = "fold") -> Table:
    table = Table(title=title, title_justify="left", show_header=bool(columns))
    for column in columns:
        table.add_column(column, overflow=overflow)
    return table


def _machine_rows() -> tuple[bool, list[tuple[str, str]]]:
    """(whether OpenRLHF can be patched here, (name, marked-up text) by row)."""
    device, ready = "gpu (OpenRLHF unchanged)", True
    if on_cpu("auto"):
        device = "cpu (OpenRLHF with the changes below)"
        if Machine().devices():
            device += "; for this machine's GPUs: make gpu, then .venv-gpu/bin/dipo"
    rows = [
        ("device", device),
        ("cores, memory", f"{usable_cores()}, {Machine().memory():.0f} GiB"),
        ("free disk here", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB"),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        *installed_versions().items(),
    ]
    try:
        overrides.check_version()
        rows.append(("OpenRLHF", f"{overrides.OPENRLHF_VERSION}: the version this project patches"))
    except UserError as error:
        ready = False
        rows.append(("OpenRLHF", f"[red]{error}[/red]"))
    try:  # of the suites humaneval+ and mbpp+; training needs none
        rows.append(("code grading", escape(sandbox_here())))
    except UserError as error:
        rows.append(("code grading", f"[yellow]{escape(str(error))}[/yellow]"))
    return ready, rows


def _overrides(console: Console) -> None:
    table = _table("Overridden in OpenRLHF on every device", "method", "why")
    for override in overrides.OVERRIDES:
        table.add_row(override.path.removeprefix("openrlhf."), override.why)
    console.print(table)


def _changes(console: Console) -> None:
    used = "applied here" if on_cpu("auto") else "not applied here: this machine has a GPU"
    table = _table(f"Changed at run time on CPU alone ({used})", "module", "change", "why")
    for change in changes.CHANGES:
        table.add_row(change.module, change.what, change.why)
    console.print(table)
