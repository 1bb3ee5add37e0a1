"""`dipo doctor`: is this machine ready, what is changed in OpenRLHF here, and how often DiPO acts on stored rollouts."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

import psutil
from rich.console import Console, OverflowMethod
from rich.markup import escape
from rich.table import Table

from dipo_eval.engines.device import usable_cores
from dipo_eval.errors import UserError
from dipo_eval.grading.code.grade import sandbox_here
from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.openrlhf_patch import overrides
from dipo_openrlhf.openrlhf_patch.cpu import changes
from dipo_openrlhf.recipe.defaults import on_cpu
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.record import rollout_replay
from dipo_openrlhf.record.provenance import installed_versions


def doctor(console: Console) -> bool:
    """Print three tables; returns whether training can start here."""
    ready = _machine(console)
    _overrides(console)
    _changes(console)
    return ready


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


def _machine(console: Console) -> bool:
    table, ready = _table("This machine"), True
    device = "cpu (OpenRLHF with the changes below)" if on_cpu("auto") else "gpu (OpenRLHF unchanged)"
    table.add_row("device", device)
    table.add_row("cores, memory", f"{usable_cores()}, {psutil.virtual_memory().total / 2**30:.0f} GiB")
    table.add_row("free disk here", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB")
    table.add_row("python", f"{platform.python_version()} ({sys.executable})")
    for name, found in installed_versions().items():
        table.add_row(name, found)
    try:
        overrides.check_version()
        table.add_row("OpenRLHF", f"{overrides.OPENRLHF_VERSION}: the version this project patches")
    except UserError as error:
        ready = False
        table.add_row("OpenRLHF", f"[red]{error}[/red]")
    try:  # of the suites humaneval+ and mbpp+; training needs none
        table.add_row("code grading", sandbox_here())
    except UserError as error:
        table.add_row("code grading", f"[yellow]{escape(str(error))}[/yellow]")
    console.print(table)
    return ready


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
