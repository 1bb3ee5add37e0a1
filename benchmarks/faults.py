"""Random faults in short trainings of the quickstart's model: each ends in a restart or in one clear line.

Run: python benchmarks/faults.py [--faults 30] [--kinds driver,actor,...] [--async] [--out FOLDER]

It can be stopped and continued: FOLDER/tally.jsonl has a line for every fault. A violation ends it with its name.

    driver, trainer, actor, engine   kill -9 of the process (trainer, actor and engine are Ray workers)
    watcher                          kill -9 of the watcher or of its evaluation; training goes on
    raylet, gcs                      kill -9 of a part of Ray
    disk                             the disk of the checkpoints is filled up, and has room again for the resume
    network                          two nodes in network namespaces; the cable between them is cut (root only)

A training suffers fault after fault until its last step. Half of its commands have run.max_restarts, where the run itself
goes on; after the others `--resume` is typed. Checked: from the fault to the restart's line, or to the end of the
command with one `error:` line, less than 120 s; no process left over; and at the end that every step's prompts,
samples, decisions and queue are those of an undisturbed run, so that no prompt is lost or trained twice. With --async,
sampling goes on while training does; then prompts and the queue's length are compared, since samples depend on timing.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from common import Tally, check, command
from fault_kinds import KINDS, NETWORK, Disk, strike
from fault_places import Place, host, namespaces
from fault_runs import FaultRun, compare, fault_recipe

LIMIT = 120.0  # seconds from a fault to a restart or a clear error
WHOLE = 1200.0  # seconds one command may take on a busy machine


class FaultTally(Tally):
    """Every fault so far."""

    def __init__(self, path: Path, wanted: int) -> None:
        super().__init__(path)
        self.wanted = wanted

    def is_done(self) -> bool:
        return len(self.rows) >= self.wanted

    def next_kind(self, kinds: list[str], rng: random.Random) -> str:
        """A random one of the least frequent so far."""
        least = min(self.count(kind) for kind in kinds)
        return rng.choice([kind for kind in kinds if self.count(kind) == least])

    def summary(self) -> str:
        lines = []
        for kind in dict.fromkeys(row["kind"] for row in self.rows):
            rows = [row for row in self.rows if row["kind"] == kind]
            outcomes = [
                f"{sum(r['outcome'] == o for r in rows)} {o}" for o in sorted({r["outcome"] for r in rows})
            ]
            seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
            took = f"; median {statistics.median(seconds):.0f} s, max {max(seconds):.0f} s" if seconds else ""
            lines.append(f"{kind}: {', '.join(outcomes)}{took}")
        return "\n".join(lines)


def undisturbed(out: Path, asynchronous: bool) -> Path:
    """The run that all others must equal; run once."""
    folder = out / "undisturbed"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        with host() as place:
            status, output = FaultRun(fault_recipe(folder, place, asynchronous), place).finish(WHOLE)
        check(status == 0, f"the undisturbed run failed: {output[-500:]}")
        (folder / "done").touch()
    return folder / "run"


def one_training(
    out: Path, tally: FaultTally, kinds: list[str], asynchronous: bool, rng: random.Random
) -> None:
    """A training with faults until it ends, then compared with the undisturbed one."""
    folder = out / "training"
    shutil.rmtree(folder, ignore_errors=True)
    on_nodes = NETWORK in kinds
    # The disk is mounted before the nodes start: their mount namespaces are copied then.
    with Disk(folder / "disk") as disk, namespaces() if on_nodes else host() as place:
        recipe = fault_recipe(folder, place, asynchronous, disk=disk.path, watched="watcher" in kinds)
        while True:
            run = FaultRun(recipe, place, restarts=rng.choice((0, 2)))
            suffer(run, tally, kinds, disk, place, rng)
            status, output = run.finish(WHOLE)
            left = run.left_over_after(20)
            check(not left, f"left over: {left}")
            if status == 0:
                break
            check(run.faults, f"a command failed by itself: {output[-500:]}")
        problem = compare(undisturbed(out, asynchronous), folder / "run", asynchronous)
        check(problem is None, f"differs from the undisturbed run: {problem}, see {folder}")
    shutil.rmtree(folder)


def suffer(
    run: FaultRun, tally: FaultTally, kinds: list[str], disk: Disk, place: Place, rng: random.Random
) -> None:
    """Inject faults into one command until it ends or enough faults were injected."""
    while not tally.is_done():
        kind = tally.next_kind(kinds, rng)
        run.await_moment(rng, early=kind != "disk" and rng.random() < 0.2)  # a full disk shows at a save
        if not run.is_running():
            return
        what = strike(kind, run, disk, place, rng)
        struck = time.monotonic()
        if not what:
            continue  # the target had already ended
        run.faults += 1
        facts = {"what": what, "restarts_left": run.restarts_left}
        if kind == "watcher":
            tally.add(kind, **facts, outcome="training continues", seconds=None)
            continue
        outcome, line = run.await_reaction(struck + LIMIT)
        seconds = round(time.monotonic() - struck, 1)
        disk.empty()
        place.restore()
        check(outcome != "nothing", f"{kind}: {LIMIT:.0f} s passed with neither a restart nor an end")
        check("Traceback" not in run.output(), f"{kind}: a traceback was shown: {run.log}")
        check(outcome != "error" or line, f"{kind}: ended without a clear line: {run.output()[-300:]}")
        expected = run.restarts_left > 0 and kind != "disk"
        check(outcome != "error" or not expected, f"{kind}: not restarted although it might be: {line}")
        tally.add(kind, **facts, outcome=outcome, seconds=seconds, line=line)
        if outcome != "restart":
            return
        run.restarts_left -= 1


def on_two_nodes(kinds: list[str]) -> list[str]:
    """Kinds for two nodes. Ray's own processes belong to the cluster there: nothing would restart them."""
    return [kind for kind in kinds if kind in (NETWORK, "driver", "trainer", "actor", "engine")]


def main(
    faults: int = 30,
    kinds: str = ",".join(KINDS),
    asynchronous: Annotated[bool, typer.Option("--async")] = False,
    out: Path = Path("runs/faults"),
) -> None:
    chosen = kinds.split(",")
    if unknown := set(chosen) - set(KINDS):
        sys.exit(f"--kinds: {', '.join(sorted(unknown))}: choose from {', '.join(KINDS)}")
    if os.geteuid() != 0:
        sys.exit("faults.py mounts a small disk and makes network namespaces: run it as root")
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    tally = FaultTally(out / "tally.jsonl", faults)
    undisturbed(out, asynchronous)
    rng = random.Random()
    here = [kind for kind in chosen if kind != NETWORK]
    while not tally.is_done():
        cut = NETWORK in chosen and (not here or tally.count(NETWORK) < min(map(tally.count, here)))
        one_training(out, tally, on_two_nodes(chosen) if cut else here, asynchronous, rng)
    print(tally.summary())


if __name__ == "__main__":
    command(main, __doc__)
