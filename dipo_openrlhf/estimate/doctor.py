"""`dipo doctor`: is this machine ready, what will be changed in OpenRLHF here, and does a recipe fit it."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dipo_eval.engines.cpu_env import usable_cores
from dipo_eval.errors import UserError
from dipo_eval.grading.code.grade import sandbox_here
from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.openrlhf_patch import overrides as version
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
from dipo_openrlhf.recipe.defaults import on_cpu
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.record import rollout_replay
from dipo_openrlhf.run.supervisor import installed_versions


def doctor(console: Console) -> bool:
    """Print three tables; returns whether training can start here."""
    ready = _machine(console)
    _seams(console)
    _changes(console)
    return ready


def fire_rates(console: Console, rollouts: Path, key: str, overrides: dict[str, Setting]) -> None:
    """Print how often DiPO would have acted on stored rollouts, for every value of one switch."""
    config = rollout_replay.stored_config(rollouts)
    switches = config.to_dict()
    for name, setting in overrides.items():
        if not name.startswith("dipo."):
            raise UserError(f"--{name}: only switches of DiPO change what it does: --dipo.NAME VALUE")
        switches[name.removeprefix("dipo.")] = setting.value
    try:
        config = DipoConfig.from_dict(switches)
    except ValueError as error:
        raise UserError(str(error)) from None
    steps = rollout_replay.read_rollouts(rollouts)
    rates = rollout_replay.compare_values(steps, config, key)
    table = Table(
        title=f"{len(steps)} steps of {rollouts}: extreme groups DiPO acts on, by dipo.{key}",
        title_justify="left",
    )
    for column in (f"dipo.{key}", "all wrong", "all right", "share", "left alone"):
        table.add_column(column)
    for value, rate in rates.items():
        left = ", ".join(
            f"{count} {reason.replace('_', ' ')}" for reason, count in rate.idle.items() if count
        )
        table.add_row(
            f"{value} *" if value == getattr(config, key) else value,
            f"{rate.fired_hard} of {rate.hard}",
            f"{rate.fired_easy} of {rate.easy}",
            f"{rate.share:.1%}",
            left,
        )
    console.print(table)
    console.print(
        "* the value of the run. Other switches change how training goes on; a replay cannot tell that."
    )


def _machine(console: Console) -> bool:
    table = Table(title="This machine", title_justify="left", show_header=False)
    ready = True
    device = "cpu (OpenRLHF with the changes below)" if on_cpu("auto") else "gpu (OpenRLHF unchanged)"
    table.add_row("device", device)
    table.add_row("cores, memory", f"{usable_cores()}, {psutil.virtual_memory().total / 2**30:.0f} GiB")
    table.add_row("free disk here", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB")
    table.add_row("python", f"{platform.python_version()} ({sys.executable})")
    for name, found in installed_versions().items():
        table.add_row(name, found)
    try:
        version.check_version()
        table.add_row("OpenRLHF", f"{version.OPENRLHF_VERSION}: the version this project patches")
    except UserError as error:
        ready = False
        table.add_row("OpenRLHF", f"[red]{error}[/red]")
    table.add_row("code grading", _code_grading())
    console.print(table)
    return ready


def _code_grading() -> str:
    """Whether the suites humaneval+ and mbpp+ can be graded here; training needs none of it."""
    try:
        return sandbox_here()
    except UserError as error:
        return f"[yellow]{escape(str(error))}[/yellow]"


def _seams(console: Console) -> None:
    table = Table(title="Overridden in OpenRLHF on every device", title_justify="left")
    for column in ("method", "why"):
        table.add_column(column, overflow="fold")
    for override in version.OVERRIDES:
        table.add_row(override.path.removeprefix("openrlhf."), override.why)
    console.print(table)


def _changes(console: Console) -> None:
    used = "applied here" if on_cpu("auto") else "not applied here: this machine has a GPU"
    table = Table(title=f"Changed at run time on CPU alone ({used})", title_justify="left")
    for column in ("module", "change", "why"):
        table.add_column(column, overflow="fold")
    for change in cpu.CHANGES:
        table.add_row(change.module, change.what, change.why)
    console.print(table)
