"""kill -9 at random moments: watchers over tiny checkpoints, and complete trainings of the quickstart's model.

Run: python benchmarks/kill_watch_and_train.py [--watcher-kills 100] [--trainer-kills 25] [--out FOLDER]

It can be stopped and continued: FOLDER/kills.jsonl has a line for every kill, and any violation ends it with its name.
Checked after every kill: a complete result is never made again; a result on disk is complete or is not taken for one; no
process is left over; a marked checkpoint is complete, and none is lost. At the end of a round: no checkpoint skipped.
A watcher kill takes a few seconds, a trainer kill about a minute. Unlike in faults.py, `dipo train` itself is killed too,
and ckpt.max_num is 1, with which OpenRLHF's own rotation fails.
"""

from __future__ import annotations

import hashlib
import random
import runpy
import shutil
import subprocess
import time
import uuid
from pathlib import Path

import psutil
from common import DIPO, ROOT, Tally, check, command
from fault_places import MARK, Place
from fault_runs import STEPS, FaultRun, fault_recipe

from dipo_eval.files.processes import start_session
from dipo_eval.results.store import read_result
from dipo_eval.subject.checkpoints import weights_hash
from dipo_eval.subject.marker import MARKER, complete_checkpoints, write_json
from dipo_openrlhf.record.checkpoints import resumable_steps
from dipo_openrlhf.record.processes import processes_of
from dipo_openrlhf.record.run_log import read_metrics

CHECKPOINTS = 6  # of one round of watcher kills
LIMIT = 900.0


def complete_results(results: Path, before: dict[str, str]) -> dict[str, str]:
    """Hash of results.json of every result that is taken for one, by its place; those of `before` are unchanged."""
    found = {}
    for path in results.glob("*/*/*/results.json"):
        if read_result(path.parent) is not None:
            found[str(path.relative_to(results))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for place, digest in before.items():
        check(found.get(place) == digest, f"{place} was complete and has been made again")
    return found


def watcher_round(folder: Path, tally: Tally, wanted: int, rng: random.Random) -> None:
    """Tiny checkpoints, and watchers (one or two at a time) that are killed until all are evaluated."""
    shutil.rmtree(folder, ignore_errors=True)
    tiny = runpy.run_path(str(ROOT / "tests" / "eval" / "tiny_model.py"))
    for step in range(1, CHECKPOINTS + 1):
        export = tiny["save_tiny_model"](folder / "ckpt" / f"global_step{step}_hf", seed=rng.getrandbits(31))
        facts = {"step": step, "weights_hash": weights_hash(export), "save_steps": 1}
        write_json(export / MARKER, facts)
    watch = [*DIPO, "watch", str(folder / "ckpt"), "--results", str(folder / "results"), "--once"]
    watch += ["--suites", "arithmetic-control", "--engine", "hf", "--limit", "4", "--max-new-tokens", "8"]
    found: dict[str, str] = {}
    while len(found) < CHECKPOINTS and tally.count("watcher") < wanted:
        mark = uuid.uuid4().hex
        watchers = [start(watch, folder, mark) for _ in range(rng.choice((1, 1, 2)))]
        await_moment(watchers, folder / "results", len(found), rng)
        running = [watcher for watcher in watchers if watcher.poll() is None]
        evaluating = len(processes_of(mark, MARK)) > len(running)
        for watcher in running:
            watcher.kill()
        for watcher in watchers:
            watcher.wait()
        until = time.monotonic() + 10
        while left := processes_of(mark, MARK):
            check(time.monotonic() < until, f"left over 10 s after its kill: {left}")
            time.sleep(0.2)
        found = complete_results(folder / "results", found)
        for _ in running:
            tally.add("watcher", while_evaluating=evaluating, complete_results=len(found))
    last = start(watch, folder, "undisturbed")
    check(last.wait(LIMIT) == 0, "an undisturbed watcher after the kills failed")
    found = complete_results(folder / "results", found)
    check(len(found) == CHECKPOINTS, f"skipped: {CHECKPOINTS - len(found)} checkpoints")
    tally.add("round", checkpoints=CHECKPOINTS)


def start(watch: list[str], folder: Path, mark: str) -> subprocess.Popen[bytes]:
    return start_session(watch, folder / "watch.log", {MARK: mark, "OMP_NUM_THREADS": "1"})


def await_moment(
    watchers: list[subprocess.Popen[bytes]], results: Path, known: int, rng: random.Random
) -> None:
    """A random moment: somewhere in start-up or evaluation, or, as often, around the writing of a result."""
    by_time = rng.random() < 0.5
    ended = time.monotonic() + (rng.uniform(0.3, 12) if by_time else LIMIT)
    while time.monotonic() < ended and any(watcher.poll() is None for watcher in watchers):
        if not by_time and len(list(results.glob("*/*/*/samples.jsonl"))) > known:
            time.sleep(rng.choice((0.0, rng.uniform(0, 0.05), rng.uniform(0, 1))))
            return
        time.sleep(0.002)


def training(folder: Path, tally: Tally, wanted: int, rng: random.Random) -> None:
    """One training, killed and resumed until it is complete."""
    ckpt, recipe = folder / "run" / "ckpt", folder / "recipe.yaml"
    if not recipe.exists():
        fault_recipe(folder, Place(), asynchronous=False)
    while True:
        steps = resumable_steps(ckpt)
        for checkpoint in complete_checkpoints(ckpt):
            digest = weights_hash(checkpoint.hf_path)
            check(digest == checkpoint.weights_hash, f"{checkpoint.name} is marked and not complete")
        run = FaultRun(recipe, Place(), "--ckpt.max_num", "1")
        if tally.count("trainer") < wanted:
            run.await_moment(rng, early=rng.random() < 0.2)
            if run.is_running():  # `dipo train` itself, its driver or a Ray worker: no process may stay
                rng.choice([psutil.Process(run.process.pid), *processes_of(run.mark, MARK)]).kill()
                run.process.wait(LIMIT)
                left = run.left_over_after(120)
                check(not left, f"left over 120 s after its kill: {left}")
                after = resumable_steps(ckpt)
                check(not steps or after[-1:] >= steps[-1:], f"step {steps[-1:]} was complete and is lost")
                tally.add("trainer", resumes_from=after[-1:])
                continue
        status, _ = run.finish(LIMIT)
        check(status == 0, f"an undisturbed command from step {steps[-1:]} failed, see {run.log}")
        break
    trained = [row["step"] for row in read_metrics(folder / "run")]
    check(trained == list(range(1, STEPS + 1)), f"a step is missing: {trained}")
    tally.add("training", steps=STEPS)
    shutil.rmtree(folder)


def main(watcher_kills: int = 100, trainer_kills: int = 25, out: Path = Path("runs/kills")) -> None:
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    tally, rng = Tally(out / "kills.jsonl"), random.Random()
    while tally.count("watcher") < watcher_kills:
        watcher_round(out / "watchers", tally, watcher_kills, rng)
    while tally.count("trainer") < trainer_kills:
        training(out / "training", tally, trainer_kills, rng)
    evaluating = sum(row.get("while_evaluating", False) for row in tally.rows)
    print({kind: tally.count(kind) for kind in ("watcher", "round", "trainer", "training")})
    print(f"{evaluating} watcher kills while evaluating, no violation")


if __name__ == "__main__":
    command(main, __doc__)
