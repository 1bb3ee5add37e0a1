"""From the command to the first training step of the quickstart's model: when, and the processor time of each process.

Run on an idle machine:
    python benchmarks/start_up.py [--repeat 5] [--processes] [--install] [--against CHECKOUT] [--out FILE.json]

Each run trains one step in a folder of its own, with the model that is made before. `training` is when the first prompts
go to the engine. With --processes: seconds of one core of each process until the step is logged, of the last run. With
--install: each run is the first of an environment installed a moment before, whose files are in memory, with empty caches
of vLLM, torch and Triton. With --against: another checkout of this project too, in turn. On a loaded machine compare
processor times alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from common import DIPO, ROOT, command, header, machine, row, save, write_recipe

from dipo_openrlhf.record.events import read_events

LIMIT = 900  # seconds
POLL = 0.1
DRIVER, FORK_SERVER = "driver (OpenRLHF's command line)", "fork server and what it has just forked"


def label(words: list[str]) -> str:
    """What a process is, by its command line."""
    text = " ".join(words)
    known = {
        "log_monitor": "Ray: log monitor",
        "forked_worker.py": "Ray: stand-ins of forked workers",
        "openrlhf_patch.driver": DRIVER,
        "dipo_openrlhf.cli": "dipo train",
        "gcs_server": "Ray: gcs_server",
        "raylet/raylet": "Ray: raylet",
        "dashboard/agent": "Ray: dashboard agent",
        "runtime_env/agent": "Ray: runtime environment agent",
        "dashboard/dashboard": "Ray: dashboard",
        "autoscaler/_private/monitor": "Ray: autoscaler",
        "resource_tracker": "resource tracker",
    }
    for part, name in known.items():
        if part in text:
            return name
    return (
        words[0].split()[0]
        if words and words[0].startswith("ray::")
        else (Path(words[0]).name if words else "?")
    )


def installed(checkout: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """The Python of an environment made now, and the variables that keep other runs' caches from it."""
    venv = folder / "venv"
    words = [checkout / "requirements" / "install.sh", venv, "cpu"]
    subprocess.run(words, check=True, timeout=LIMIT, stdout=subprocess.DEVNULL)
    caches = ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR")
    return venv / "bin" / "python", {name: str(folder / name.lower()) for name in caches}


def run_once(checkout: Path, install: bool = False) -> tuple[dict[str, float], dict[str, float]]:
    """(seconds from the command to each stage, processor seconds of each process until the first step is logged)"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(checkout), str(checkout / "eval")))}
    with tempfile.TemporaryDirectory(prefix="dipo_start_up_") as name:
        python = Path(sys.executable)
        if install:
            python, caches = installed(checkout, Path(name))
            environment |= caches
        recipe = write_recipe(
            Path(name), 64, watch={"enabled": False},
            rollout={"batch_size": 64, "n_samples_per_prompt": 8, "max_new_tokens": 56, "micro_batch_size": 64},
            train={"batch_size": 512, "micro_batch_size": 64},
        )  # fmt: skip
        run_dir = Path(name, "run")
        begun = time.time()
        with open(Path(name, "out"), "wb") as out:
            process = subprocess.Popen(
                [str(python), *DIPO[1:], "train", str(recipe)],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=checkout,
                env=environment,
            )
        try:
            processes = _watch(process, run_dir)
        finally:
            process.wait(LIMIT)
        if process.returncode:
            raise SystemExit(Path(name, "out").read_text()[-2000:])
        stages = {event["stage"]: event["time"] - begun for event in read_events(run_dir)}
        stages["first step logged"] = (run_dir / "metrics.jsonl").stat().st_mtime - begun
        stages["processor time"] = sum(processes.values())
    return stages, processes


def _watch(process: subprocess.Popen[bytes], run_dir: Path) -> dict[str, float]:
    """Processor seconds of the command and all below it, when the first step is logged."""
    spent: dict[tuple[int, str], float] = {}
    parent, deadline = psutil.Process(process.pid), time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        for each in _family(parent):
            with contextlib.suppress(psutil.Error):
                times = each.cpu_times()
                name = label(each.cmdline())
                if name == DRIVER and (above := each.parent()) and label(above.cmdline()) == DRIVER:
                    name = FORK_SERVER
                spent[each.pid, name] = times.user + times.system
        if (run_dir / "metrics.jsonl").exists():
            break
        time.sleep(POLL)
    last: dict[int, tuple[str, float]] = {}
    for (pid, name), seconds in spent.items():  # a Ray worker changes its name: the last one counts
        last[pid] = (name, seconds)
    found: dict[str, float] = {}
    for name, seconds in last.values():
        found[name] = found.get(name, 0.0) + seconds
    return found


def _family(parent: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [parent, *parent.children(recursive=True)]
    return []


def main(
    repeat: int = 5,
    processes: bool = False,
    install: bool = False,
    against: Path | None = None,
    out: Path | None = None,
) -> None:
    print(f"{machine()}; load before: {os.getloadavg()[0]:.1f}")
    checkouts = [ROOT] if against is None else [against.resolve(), ROOT]
    runs: dict[Path, list[dict[str, float]]] = {checkout: [] for checkout in checkouts}
    spent: dict[Path, dict[str, float]] = {}
    for _ in range(repeat):
        for checkout in checkouts:
            stages, spent[checkout] = run_once(checkout, install)
            runs[checkout].append(stages)
            figures = {stage: round(seconds, 1) for stage, seconds in stages.items()}
            print(json.dumps({"checkout": checkout.name, **figures}), flush=True)
    for checkout in checkouts:
        print(f"\n{checkout.name}")
        _tables(runs[checkout], spent[checkout] if processes else {})
    named: dict[str, Any] = {
        checkout.name: {"runs": runs[checkout], "processes": spent[checkout]} for checkout in checkouts
    }
    save(out, {"install": install, "load_before": os.getloadavg(), **named})


def _tables(runs: list[dict[str, float]], spent: dict[str, float]) -> None:
    header("stage", f"median of {len(runs)}", "least", "most")
    for stage in runs[0]:
        seconds = [each[stage] for each in runs if stage in each]
        row([stage, *(f"{f(seconds):.1f}" for f in (statistics.median, min, max))])
    if spent:
        header("process", "processor seconds")
        for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
            row([name, f"{seconds:.1f}"])


if __name__ == "__main__":
    command(main, __doc__)
