"""`make quickstart` of this version and of another, in turn: seconds from the command to the board.

    python benchmarks/quickstart.py CHECKOUT [--repeat 1] [--from-nothing] [--steps 20] [--out FILE.json]

Each is cloned first. Without --from-nothing the environment is that of this checkout, and the model is cached. With it
each clone makes its own environment, from the packages in pip's cache, and teaches the model anew.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, command, header, machine, row, save

from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.record.user_cache import cache_dir

LIMIT = 3600  # seconds of one quickstart


def run_once(checkout: Path, steps: int, from_nothing: bool) -> float:
    """Seconds of one quickstart of `checkout`."""
    with tempfile.TemporaryDirectory(prefix="dipo_quickstart_") as name:
        clone, board = Path(name, "clone"), Path(name, "run", "board.html")
        subprocess.run(["git", "clone", "--quiet", checkout, clone], check=True)
        words = ["--run-dir", str(board.parent), "--steps", str(steps)]
        if from_nothing:
            words = ["make", "quickstart", "ARGS=" + " ".join(words)]
            environment = {**os.environ, "DIPO_CACHE_DIR": str(Path(name, "cache"))}
        else:
            words = [sys.executable, "-m", "dipo_openrlhf.cli", "quickstart", *words]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(clone), str(clone / "eval")))}
        started = time.perf_counter()
        done = subprocess.run(
            words, cwd=clone, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        seconds = time.perf_counter() - started
        if done.returncode or not board.is_file():
            raise SystemExit(f"{checkout}: status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
        return seconds


def main(
    against: Path, repeat: int = 1, from_nothing: bool = False, steps: int = 20, out: Path | None = None
) -> None:
    if not from_nothing:
        pretrained_model(cache_dir(), progress=False)
    print(f"{machine()}; load before: {os.getloadavg()[0]:.1f}")
    header("quickstart", "seconds of the other", "of this", "ratio")
    checkouts, runs = (against.resolve(), ROOT), []
    for number in range(1, repeat + 1):
        pair = [run_once(checkout, steps, from_nothing) for checkout in checkouts]
        runs.append(pair)
        row([number, *(f"{seconds:.0f}" for seconds in pair), f"{pair[1] / pair[0]:.2f}"])
    other, ours = (statistics.median(each) for each in zip(*runs, strict=True))
    row(["median", f"{other:.0f}", f"{ours:.0f}", f"{ours / other:.2f}"])
    save(out, {"from_nothing": from_nothing, "steps": steps, "seconds": runs})


if __name__ == "__main__":
    command(main, __doc__)
