"""What a user sees while a run goes on: the stage, then a bar with the figures that matter."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich import progress as bars
from rich.console import Console

from dipo_eval import linear
from dipo_eval.files.step_log import METRICS, StepFollower
from dipo_eval.printable import spelled, visible
from dipo_eval.results.not_finite import not_finite, sentence
from dipo_openrlhf.algorithm.fire_rate import WINDOW_STEPS, fire_warning
from dipo_openrlhf.record.events import TRAINING, WARNING, read_events

POLL_SECONDS = 0.5
FAILED_GRACE = 20.0  # seconds a driver may take to end once a failure is written
_COLOUR = linear.bounded(r"\x1b\[[0-9;]{0,16}m")


def step_line(row: dict[str, Any], dipo_enabled: bool = True) -> str:
    """One step as text: accuracy, threshold and how many groups DiPO acted on, or would have acted on."""
    parts = []
    if (accuracy := row.get("rollout/accuracy")) is not None:
        parts.append(f"accuracy {accuracy:.3f}")
    if (length := row.get("rollout/response_length_mean")) is not None:
        parts.append(f"length {length:.0f}")
    if (threshold := row.get("dipo/threshold_ppl")) is not None:
        parts.append(f"tau* {threshold:.3f}")
    elif row.get("dipo/infeasible_reason"):
        parts.append(f"no tau* ({row['dipo/infeasible_reason']})")
    if "dipo/fired_hard" in row:
        hard, easy = row.get("dipo/groups_hard") or 0, row.get("dipo/groups_easy") or 0
        parts.append(
            f"{'acted' if dipo_enabled else 'DiPO would act'} on {row['dipo/fired_hard']:.0f}/{hard:.0f} hard "
            f"{row['dipo/fired_easy']:.0f}/{easy:.0f} easy"
        )
    if (seconds := row.get("timing/step_total")) is not None:
        parts.append(f"{seconds:.1f} s")
    on_gpus = any(key.startswith("memory/") for key in row)  # else they are simulated
    if on_gpus and (idle := row.get("gpu/idle_share")) is not None:
        parts.append(f"GPUs idle {100 * idle:.0f}%")
    parts += [f"{name} {word}" for name, word in not_finite(row).items()]
    return "  ".join(parts)


def show_progress(
    driver: subprocess.Popen[bytes],
    run_dir: Path,
    start_timeout: float,
    step_timeout: float,
    verbose: bool,
    dipo_enabled: bool = True,
    check: Callable[[], None] = lambda: None,
) -> str | None:
    """Follow the run until its driver ends. Returns a message when a deadline passed, else None.

    start_timeout, step_timeout: seconds, as run.start_timeout and run.step_timeout. The first step of a start has both:
    much is compiled in it. `check` is called every POLL_SECONDS; what it raises ends the following.

    A failure that a worker has written ends the run too: the driver may wait for an actor that waits for the dead.

    dipo_enabled: not so with another method or alpha 0; else a warning is shown when DiPO hardly ever acts.
    """
    console = Console()
    columns = (
        bars.SpinnerColumn(), bars.TextColumn("{task.description}", markup=False), bars.BarColumn(bar_width=24),
        bars.MofNCompleteColumn(), bars.TimeElapsedColumn(), bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[figures]}", markup=False),
    )  # fmt: skip
    log = run_dir / "train.log"
    position = log.stat().st_size if verbose else 0
    with bars.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        follower = _Follower(run_dir, bar, dipo_enabled)
        while True:
            ended = driver.poll() is not None
            if not ended:
                check()
            follower.show_stages()
            follower.show_steps()
            if verbose:
                position = _copy_log(console, log, position)
            failed = follower.failed_at is not None and time.monotonic() - follower.failed_at > FAILED_GRACE
            if ended or failed:
                return None
            if message := follower.deadline_passed(start_timeout, step_timeout):
                return message
            time.sleep(POLL_SECONDS)


class _Follower:
    """What of a run's events and metrics has been shown."""

    def __init__(self, run_dir: Path, bar: bars.Progress, dipo_enabled: bool) -> None:
        self.run_dir, self.bar, self.dipo_enabled = run_dir, bar, dipo_enabled
        self.log = StepFollower(run_dir / METRICS)
        for _ in self.log.new_rows():  # those of an earlier start
            pass
        self.any_step = False
        self.stages = 0
        self.not_finite_shown = sentence(self.log.rows) is not None
        self.stage = "starting"
        self.stage_limit: float | None = None  # seconds; of an event with a limit of its own
        self.last_change = time.monotonic()
        self.failed_at: float | None = None
        self.task = bar.add_task(self.stage, total=None, figures="")

    def show_stages(self) -> None:
        events = read_events(self.run_dir)
        for event in events[self.stages :]:
            if event["stage"] == WARNING:
                self._print(event["text"], "yellow")
                continue
            self.stage, self.last_change = event["stage"], time.monotonic()
            self.stage_limit = event.get("timeout")
            if self.stage == "failed" and self.failed_at is None:
                self.failed_at = self.last_change
            if self.stage in ("failed", "interrupted", "done"):
                continue
            self.bar.update(self.task, description=visible(self.stage), total=event.get("total_steps"))
            if not self.bar.console.is_terminal:
                self._print(self.stage)
        self.stages = len(events)

    def show_steps(self) -> None:
        for row in self.log.new_rows():
            self.any_step, self.last_change = True, time.monotonic()
            in_window = self.dipo_enabled and len(self.log.rows) % WINDOW_STEPS == 0
            if in_window and (warning := fire_warning(self.log.rows)):
                self._print(warning, "yellow")
            if not self.not_finite_shown and (problem := sentence([row])):
                self.not_finite_shown = True
                self._print(problem, "red")
            line = step_line(row, self.dipo_enabled)
            self.bar.update(self.task, completed=row["step"], figures=line)
            if not self.bar.console.is_terminal:
                self._print(f"step {row['step']:>4}  {line}")

    def _print(self, line: str, style: str | None = None) -> None:
        self.bar.console.print(
            visible(line, 2000), style=style, highlight=False, soft_wrap=True, markup=False
        )

    def deadline_passed(self, start_timeout: float, step_timeout: float) -> str | None:
        if self.stage != TRAINING:
            limit = self.stage_limit or start_timeout
        elif not self.any_step:
            limit = start_timeout + step_timeout
        else:
            limit = step_timeout
        if time.monotonic() - self.last_change <= limit:
            return None
        return f"no progress for {limit:.0f} s while {self.stage}: the run was ended"


def _copy_log(console: Console, path: Path, position: int) -> int:
    """Show what was written since `position`; a response in it moves no cursor and sets no window's title."""
    with open(path, "rb") as file:
        file.seek(position)
        text = file.read()
    if text:
        console.out(shown_log(text.decode(errors="replace")), end="", highlight=False)
    return position + len(text)


def shown_log(text: str) -> str:
    """A log without colours, its control characters spelled; a progress bar's carriage return is a line's end."""
    lines = _COLOUR.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(char if char in "\n\t" else spelled(char) for char in lines)
