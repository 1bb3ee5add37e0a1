"""kill -9 at random moments: watchers over tiny checkpoints, and whole trainings of the quickstart's model.

Run: python benchmarks/kill_watch_and_train.py [--watcher-kills 100] [--trainer-kills 25] [--out FOLDER]

It can be stopped and continued: FOLDER/tally.json counts what was done, and any violation ends it with its name.
Checked after every kill: a result that was whole is never made again; a result on disk is whole or is not taken for
one; no process is left over; a resume goes on from a whole checkpoint. At the end of a round: no checkpoint skipped.
A watcher kill takes a few seconds, a trainer kill about a minute.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import random
import runpy
import shutil
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil

from dipo_eval.files.atomic import write_atomic
from dipo_eval.results.store import read_result
from dipo_eval.subject.checkpoints import weights_hash
from dipo_eval.subject.marker import MARKER, complete_checkpoints, write_json
from dipo_openrlhf.record.checkpoints import resumable_steps
from dipo_openrlhf.record.processes import processes_of
from dipo_openrlhf.record.run_log import read_metrics

MARK = "DIPO_KILL_BENCHMARK"
SUITE = "arithmetic-control"
CHECKPOINTS = 6  # of one round of watcher kills
STEPS = 12  # of one training that is killed again and again
LIMIT = 900.0


@dataclass
class Tally:
    """What was done so far; kept in tally.json."""

    watcher_kills: int = 0
    watcher_rounds: int = 0
    kills_while_evaluating: int = 0
    checkpoints_evaluated: int = 0
    trainer_kills: int = 0
    trainer_runs: int = 0
    resumed_from: list[int] = dataclasses.field(default_factory=list)

    def save(self, folder: Path) -> None:
        write_atomic(folder / "tally.json", (json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode())


def check(condition: object, message: str) -> None:
    if not condition:
        raise SystemExit(f"VIOLATION: {message}")


def start(mark: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, MARK: mark, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "dipo_openrlhf.cli", *arguments],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def no_orphans(mark: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while left := processes_of(mark, MARK):
        check(time.monotonic() < until, f"left over {seconds:.0f} s after its kill: {left}")
        time.sleep(0.2)


def whole_results(results: Path) -> dict[str, str]:
    """Hash of results.json of every result that is taken for one, by its place."""
    found = {}
    for path in results.glob("*/*/*/results.json"):
        if read_result(path.parent) is not None:
            found[str(path.relative_to(results))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def unchanged(before: dict[str, str], now: dict[str, str]) -> None:
    for place, digest in before.items():
        check(now.get(place) == digest, f"{place} was whole and has been made again")


def watcher_round(folder: Path, tally: Tally, wanted: int, rng: random.Random) -> None:
    """Tiny checkpoints, and watchers (one or two at a time) that are killed until all are evaluated."""
    shutil.rmtree(folder, ignore_errors=True)
    tiny = runpy.run_path(str(Path(__file__).parent.parent / "tests" / "eval" / "tiny_model.py"))
    for step in range(1, CHECKPOINTS + 1):
        export = tiny["save_tiny_model"](folder / "ckpt" / f"global_step{step}_hf", seed=rng.getrandbits(31))
        facts = {"step": step, "weights_hash": weights_hash(export), "save_steps": 1}
        write_json(export / MARKER, facts)
    command = [
        "watch",
        str(folder / "ckpt"),
        "--suites",
        SUITE,
        "--results",
        str(folder / "results"),
        "--run",
        "r",
    ]
    command += ["--engine", "hf", "--limit", "4", "--max-new-tokens", "8", "--once"]
    before: dict[str, str] = {}
    while len(before) < CHECKPOINTS and tally.watcher_kills < wanted:
        mark = uuid.uuid4().hex
        watchers = [start(mark, *command) for _ in range(rng.choice((1, 1, 2)))]
        await_moment(watchers, folder / "results", len(before), rng)
        running = [watcher for watcher in watchers if watcher.poll() is None]
        tally.kills_while_evaluating += len(processes_of(mark, MARK)) > len(running)
        for watcher in running:
            watcher.kill()
            tally.watcher_kills += 1
        for watcher in watchers:
            watcher.wait()
        no_orphans(mark, 10)
        now = whole_results(folder / "results")
        unchanged(before, now)
        before = now
        tally.save(folder.parent)
        print(f"watcher kills {tally.watcher_kills}, whole results {len(now)} of {CHECKPOINTS}", flush=True)
    last = start(uuid.uuid4().hex, *command)
    check(last.wait(LIMIT) == 0, "an undisturbed watcher after the kills failed")
    now = whole_results(folder / "results")
    unchanged(before, now)
    check(len(now) == CHECKPOINTS, f"skipped: {CHECKPOINTS - len(now)} checkpoints")
    tally.watcher_rounds += 1
    tally.checkpoints_evaluated += CHECKPOINTS
    tally.save(folder.parent)


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


RECIPE = """\
run: {{name: killed, dir: {run_dir}, device: cpu, start_timeout: 300, step_timeout: 90}}
actor: {{model_name_or_path: {model}, adam: {{lr: 2.0e-4}}, lr_scheduler: constant}}
data: {{prompt_dataset: {prompts}, max_len: 112}}
rollout: {{batch_size: 8, n_samples_per_prompt: 8, max_new_tokens: 48, micro_batch_size: 32}}
train: {{batch_size: 64, micro_batch_size: 32}}
ckpt: {{save_steps: 1, max_num: 1}}
dipo: {{min_side_samples: 10}}
"""


def trainer_run(folder: Path, tally: Tally, wanted: int, rng: random.Random) -> None:
    """One training, killed and resumed until it is through. max_num 1: where OpenRLHF's own rotation dies."""
    from dipo_openrlhf.data.arithmetic import write_prompts
    from dipo_openrlhf.quickstart.cache import cache_dir
    from dipo_openrlhf.quickstart.pretrain import pretrained_model

    run_dir = folder / "run"
    if not (folder / "recipe.yaml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_prompts(folder / "prompts.jsonl", 8 * STEPS, rng.getrandbits(31))
        text = RECIPE.format(
            run_dir=run_dir, model=pretrained_model(cache_dir()), prompts=folder / "prompts.jsonl"
        )
        (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    while True:
        steps = resumable_steps(run_dir / "ckpt") if (run_dir / "ckpt").exists() else []
        for checkpoint in complete_checkpoints(run_dir / "ckpt"):
            digest = weights_hash(checkpoint.hf_path)
            check(digest == checkpoint.weights_hash, f"{checkpoint.name} is marked and not whole")
        arguments = ["train", str(folder / "recipe.yaml"), *(["--resume"] if steps else [])]
        mark = uuid.uuid4().hex
        process = start(mark, *arguments)
        kill = tally.trainer_kills < wanted
        done = follow(process, run_dir, steps, rng) if kill else process.wait(LIMIT) == 0
        if done:
            check(process.returncode == 0, f"a resume from step {steps[-1:]} failed, see {run_dir}/train.log")
            break
        check(kill, f"an undisturbed resume failed, see {run_dir}/train.log")
        victim(process, mark, rng).kill()
        # Whichever was hit, `dipo train` or a process below it: nothing may stay.
        process.wait(LIMIT)
        no_orphans(mark, 120)
        tally.trainer_kills += 1
        after = resumable_steps(run_dir / "ckpt") if (run_dir / "ckpt").exists() else []
        check(not steps or (after and after[-1] >= steps[-1]), f"step {steps[-1:]} was whole and is lost")
        tally.resumed_from.append(after[-1] if after else 0)
        tally.save(folder.parent)
        print(f"trainer kills {tally.trainer_kills}, resumes from {tally.resumed_from[-1]}", flush=True)
    check([row["step"] for row in read_metrics(run_dir)] == list(range(1, STEPS + 1)), "a step is missing")
    tally.trainer_runs += 1
    tally.save(folder.parent)
    shutil.rmtree(folder)


def follow(process: subprocess.Popen[bytes], run_dir: Path, steps: list[int], rng: random.Random) -> bool:
    """Wait for a random moment from the first new step on; True where the training ended before it."""
    until = time.monotonic() + LIMIT
    known = len(read_metrics(run_dir)) if run_dir.exists() else 0
    early = rng.random() < 0.2  # now and then before the first step
    while process.poll() is None and time.monotonic() < until:
        if early or (run_dir.exists() and len(read_metrics(run_dir)) != known):
            break
        time.sleep(0.05)
    ended = time.monotonic() + rng.uniform(0, 12)
    while process.poll() is None and time.monotonic() < ended:
        time.sleep(0.01)
    return process.poll() is not None


def victim(process: subprocess.Popen[bytes], mark: str, rng: random.Random) -> psutil.Process:
    """`dipo train` itself, or its driver, or any Ray worker."""
    parent = psutil.Process(process.pid)
    return rng.choice([parent, *processes_of(mark, MARK)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--watcher-kills", type=int, default=100)
    parser.add_argument("--trainer-kills", type=int, default=25)
    parser.add_argument("--out", type=Path, default=Path("runs/kills"))
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    path = out / "tally.json"
    tally = Tally(**json.loads(path.read_text())) if path.exists() else Tally()
    rng = random.Random()
    while tally.watcher_kills < options.watcher_kills:
        watcher_round(out / "watchers", tally, options.watcher_kills, rng)
    while tally.trainer_kills < options.trainer_kills:
        trainer_run(out / "training", tally, options.trainer_kills, rng)
    print(json.dumps(dataclasses.asdict(tally), indent=2))


if __name__ == "__main__":
    main()
