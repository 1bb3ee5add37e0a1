"""Random faults in short trainings of the quickstart's model: each ends in a restart or in one clear line.

Run: python benchmarks/faults.py [--faults 30] [--kinds driver,actor,...] [--out FOLDER]

It can be stopped and continued: FOLDER/tally.jsonl has a line for every fault. A violation ends it with its name.

    driver, trainer, actor, engine   kill -9 of the process (trainer, actor and engine are Ray workers)
    watcher                          kill -9 of the watcher or of its evaluation; training goes on
    raylet, gcs                      kill -9 of a part of Ray
    disk                             the disk of the checkpoints is filled up, and has room again for the resume
    network                          two nodes in network namespaces; the cable between them is cut (root only)

Half of the runs have run.max_restarts, where the run itself goes on; after the others `--resume` is typed. Checked:
from the fault to the restart's line, or to the end of the command with one `error:` line, less than 120 s; no process
left over; and at the end that every step's prompts, samples, decisions and queue are those of an undisturbed run, so
that no prompt is lost or trained twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from fault_kinds import KINDS, NETWORK, Disk, strike
from fault_runs import FaultRun, Place, compare, host, namespaces, write_recipe

LIMIT = 120.0  # seconds from a fault to a restart or a clear error
WHOLE = 900.0  # seconds one command may take on a busy machine


def check(condition: object, message: str) -> None:
    if not condition:
        raise SystemExit(f"VIOLATION: {message}")


def undisturbed(out: Path) -> Path:
    """The run that all others must equal; made once."""
    folder = out / "undisturbed"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        recipe = write_recipe(folder, host())
        status, output = FaultRun(recipe, host(), []).finish(WHOLE)
        check(status == 0, f"the undisturbed run failed: {output[-500:]}")
        (folder / "done").touch()
    return folder / "run"


def one_fault(out: Path, kind: str, rng: random.Random) -> dict[str, Any]:
    """One run with one fault, brought to its end. What happened."""
    folder = out / f"fault-{kind}"
    shutil.rmtree(folder, ignore_errors=True)
    with namespaces() if kind == NETWORK else host() as place:
        with Disk(folder / "disk") if kind == "disk" else Disk(None) as disk:
            recipe = write_recipe(folder, place, disk=disk.path, watched=kind == "watcher")
            restarts = rng.choice((0, 2)) if kind != "disk" else 0
            run = FaultRun(recipe, place, ["--run.max_restarts", str(restarts)])
            run.await_moment(rng)
            struck = time.monotonic()
            what = strike(kind, run, disk, place, rng)
            facts: dict[str, Any] = {"kind": kind, "what": what, "restarts_allowed": restarts}
            if kind == "watcher":
                status, output = run.finish(WHOLE)
                check(status == 0, f"{kind}: training failed: {output[-500:]}")
                facts |= {"outcome": "training went on", "seconds": None}
            else:
                facts |= follow(run, kind, struck, restarts, place, disk)
        check(not run.left_over_after(20), f"{kind}: left over: {run.left_over_after(0)}")
        problem = compare(undisturbed(out), folder / "run")
        check(problem is None, f"{kind}: after the resume: {problem}, see {folder}")
    shutil.rmtree(folder)
    return facts


def follow(
    run: FaultRun, kind: str, struck: float, restarts: int, place: Place, disk: Disk
) -> dict[str, Any]:
    """Wait for the restart's line or the command's end; mend what was broken; bring the run to its end."""
    outcome, line = run.await_reaction(struck + LIMIT)
    seconds = time.monotonic() - struck
    check(outcome != "nothing", f"{kind}: {LIMIT:.0f} s passed with neither a restart nor an end")
    check("Traceback" not in run.output(), f"{kind}: a traceback was shown")
    disk.empty()
    place.mend()
    facts = {"outcome": outcome, "seconds": round(seconds, 1), "line": line}
    if outcome == "restart":
        status, output = run.finish(WHOLE)
        check(status == 0, f"{kind}: the restarted run failed: {output[-500:]}")
        return facts
    if outcome == "through":
        return facts
    check(restarts == 0 or kind == "driver", f"{kind}: not restarted although it might be: {line}")
    check(line.startswith("error: "), f"{kind}: ended without a clear line: {run.output()[-300:]}")
    check(not run.left_over_after(20), f"{kind}: left over: {run.left_over_after(0)}")
    again = run.again()
    status, output = again.finish(WHOLE)
    check(status == 0, f"{kind}: the resume failed: {output[-500:]}")
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        sys.exit(f"--kinds: {', '.join(sorted(unknown))}: choose of {', '.join(KINDS)}")
    if os.geteuid() != 0:
        kinds = [kind for kind in kinds if kind not in (NETWORK, "disk")]
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    tally = out / "tally.jsonl"
    undisturbed(out)
    rng = random.Random()
    done = [json.loads(line) for line in tally.read_text().splitlines()] if tally.exists() else []
    while len(done) < options.faults:
        # Every kind as often as any other; which comes next, when and where it strikes is drawn.
        least = min(sum(row["kind"] == kind for row in done) for kind in kinds)
        kind = rng.choice([k for k in kinds if sum(row["kind"] == k for row in done) == least])
        done.append(one_fault(out, kind, rng))
        with open(tally, "a", encoding="utf-8") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(f"{len(done)}: {done[-1]}", flush=True)
    for kind in kinds:
        rows = [row for row in done if row["kind"] == kind]
        seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
        outcomes = {row["outcome"] for row in rows}
        longest = (
            f", {statistics.median(seconds):.0f} s in the median, {max(seconds):.0f} s at most"
            if seconds
            else ""
        )
        print(f"{kind}: {len(rows)} ({', '.join(sorted(outcomes))}){longest}")


if __name__ == "__main__":
    main()
