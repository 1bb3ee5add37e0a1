"""What a user sees while a run goes on: the stage, then a bar with the figures that matter."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dipo_eval.results.not_finite import not_finite, sentence
from dipo_openrlhf.algorithm.fire_rate import WINDOW_STEPS, fire_warning
from dipo_openrlhf.record.events import read_events
from dipo_openrlhf.record.run_log import read_metrics

POLL_SECONDS = 0.5
FAILED_GRACE = 20.0  # seconds a driver may take to end once a failure is written


def step_line(row: dict[str, Any], acts: bool = True) -> str:
    """One step in words: accuracy, threshold and how many groups DiPO acted on, or would have acted on."""
    parts = []
    if (accuracy := row.get("rollout/accuracy")) is not None:
        parts.append(f"accuracy {accuracy:.3f}")
    if (length := row.get("rollout/response_length_mean")) is not None:
        parts.append(f"length {length:.0f}")
    threshold = row.get("dipo/threshold_ppl")
    if threshold is not None:
        parts.append(f"tau* {threshold:.3f}")
    elif row.get("dipo/infeasible_reason"):
        parts.append(f"no tau* ({row['dipo/infeasible_reason']})")
    if "dipo/fired_hard" in row:
        hard, easy = row.get("dipo/groups_hard") or 0, row.get("dipo/groups_easy") or 0
        parts.append(
            f"{'acted' if acts else 'DiPO would act'} on {row['dipo/fired_hard']:.0f}/{hard:.0f} hard "
            f"{row['dipo/fired_easy']:.0f}/{easy:.0f} easy"
        )
    if (seconds := row.get("timing/step_total")) is not None:
        parts.append(f"{seconds:.1f} s")
    parts += [f"{name} {word}" for name, word in not_finite(row).items()]
    return "  ".join(parts)


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        transient=False,
        disable=not console.is_terminal,
    ) as progress:
        yield progress


def show_progress(
    driver: subprocess.Popen[bytes],
    run_dir: Path,
    start_timeout: float,
    step_timeout: float,
    verbose: bool,
    acts: bool = True,
) -> str | None:
    """Follow the run until its driver ends. Returns a message when a deadline passed, else None.

    A failure that a worker has written ends the run too: the driver may wait for an actor that waits for the dead.

    acts: whether DiPO is on (another method, or alpha 0); then a warning says when it hardly ever acts.
    """
    console = Console()
    earlier = read_metrics(run_dir)
    shown_steps = len(earlier)
    broken = sentence(earlier) or ""  # said once
    shown_stages = 0
    stage = "starting"
    own_limit: float | None = None
    last_change = time.monotonic()
    failed_at: float | None = None
    log_position = (run_dir / "train.log").stat().st_size if verbose else 0
    with _bars(console) as progress:
        task = progress.add_task(stage, total=None, figures="")
        while True:
            ended = driver.poll() is not None
            events = read_events(run_dir)
            for event in events[shown_stages:]:
                stage, last_change = event["stage"], time.monotonic()
                own_limit = event.get("timeout")
                if stage == "failed" and failed_at is None:
                    failed_at = last_change
                if stage in ("failed", "interrupted", "done"):
                    continue
                progress.update(task, description=stage, total=event.get("total_steps"))
                if not console.is_terminal:
                    console.print(stage, highlight=False)
            shown_stages = len(events)
            rows = read_metrics(run_dir)
            for number, row in enumerate(rows[shown_steps:], shown_steps + 1):
                last_change = time.monotonic()
                if acts and number % WINDOW_STEPS == 0 and (warning := fire_warning(rows[:number])):
                    progress.console.print(warning, style="yellow", highlight=False, soft_wrap=True)
                if not broken and (broken := sentence([row]) or ""):
                    progress.console.print(broken, style="red", highlight=False, soft_wrap=True, markup=False)
                progress.update(task, completed=row["step"], figures=step_line(row, acts))
                if not console.is_terminal:
                    console.print(
                        f"step {row['step']:>4}  {step_line(row, acts)}", highlight=False, soft_wrap=True
                    )
            shown_steps = len(rows)
            if verbose:
                log_position = _copy_log(console, run_dir / "train.log", log_position)
            if ended or (failed_at is not None and time.monotonic() - failed_at > FAILED_GRACE):
                return None
            limit = own_limit or (step_timeout if stage == "training" and shown_steps else start_timeout)
            if time.monotonic() - last_change > limit:
                return f"no progress for {limit:.0f} s while {stage}: the run was ended"
            time.sleep(POLL_SECONDS)


def _copy_log(console: Console, path: Path, position: int) -> int:
    with open(path, "rb") as file:
        file.seek(position)
        text = file.read()
    if text:
        console.out(text.decode(errors="replace"), end="", highlight=False)
    return position + len(text)
