"""Run the parts of a check one after another, with what the user sees meanwhile, and write its report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dipo_eval.files.step_log import read_metrics
from dipo_openrlhf.estimate.measured import write_measured
from dipo_openrlhf.gpu_check.processes import PartResult, run_part
from dipo_openrlhf.gpu_check.report import Report, write_report
from dipo_openrlhf.gpu_check.settings import CONTROL_STEPS, KILLED_AFTER, STEPS, CheckSettings
from dipo_openrlhf.record.checkpoints import resumable_steps
from dipo_openrlhf.record.events import read_events

TITLES = {
    "prepare": "model and prompts",
    "device": "speed of the device",
    "train": f"training, killed after step {KILLED_AFTER}",
    "resume": "resumed training",
    "control": "control: weights that are not sent",
    "export": "export in vLLM",
    "compare": "comparison on CPU",
}
NEEDS = {"resume": "train", "export": "resume"}
STEPS_OF = {"train": STEPS, "resume": STEPS, "control": CONTROL_STEPS}


def run_check(settings: CheckSettings, console: Console) -> Report:
    """Run all parts and write report.json. A part that fails does not stop those that need nothing of it."""
    settings.write()
    results: dict[str, PartResult] = {}
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        for number, name in enumerate(TITLES, 1):
            needed = NEEDS.get(name, "prepare")
            if name != "prepare" and not results[needed].ok:
                results[name] = PartResult(name, "failed", 0.0, f"needs the part `{needed}`")
            else:
                task = bar.add_task(f"{number}/{len(TITLES)} {TITLES[name]}", total=None, at="")
                results[name] = run_part(
                    name,
                    settings.root,
                    settings.limit,
                    kill_when=(lambda: killed_step(settings)) if name == "train" else None,
                    on_poll=_shows(settings, name, bar, task),
                )
                bar.remove_task(task)
            _print(console, number, results[name])
    report = Report.of(settings, list(results.values()))
    write_report(settings, report)
    speeds = [row["figures"]["measured"] for row in report.rows if "measured" in row["figures"]]
    if settings.measured and speeds:
        gpu = f"{settings.gpus} x {report.machine['gpu'] or 'simulated GPU, on CPU'}"
        write_measured(Path(settings.measured), gpu, speeds[0])
    return report


def killed_step(settings: CheckSettings) -> bool:
    """Whether the checkpoint is complete after which the run is killed."""
    return bool(resumable_steps(settings.ckpt)[-1:] >= [KILLED_AFTER])


def _shows(settings: CheckSettings, name: str, bar: Progress, task: object) -> Callable[[], None]:
    folder = settings.control_dir if name == "control" else settings.run_dir

    def show() -> None:
        if name in STEPS_OF and bar.console.is_terminal:
            bar.update(task, at=where(folder, STEPS_OF[name]))  # type: ignore[arg-type]

    return show


def where(run_dir: Path, steps: int) -> str:
    """Stage and step of a run, for the progress line."""
    stages = [event["stage"] for event in read_events(run_dir)] if run_dir.is_dir() else []
    done = len({row["step"] for row in read_metrics(run_dir)}) if run_dir.is_dir() else 0
    return f"{stages[-1] if stages else 'starting'}, {done} of {steps} steps"


def _print(console: Console, number: int, result: PartResult) -> None:
    ended = {"done": "done", "killed": "killed, as planned"}.get(result.ended, f"FAILED: {result.why}")
    console.print(
        f"{number}/{len(TITLES)} {TITLES[result.name]}: {ended} ({result.seconds:.0f} s)",
        style=None if result.ok else "red",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
