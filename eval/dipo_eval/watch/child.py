"""One evaluation in a process of its own: a crash, a kill or a leak of an engine ends with that checkpoint.

    python -m dipo_eval.watch.child     a task as one line of JSON on standard input, which then stays open

The child leads a process group with all that an engine starts. It ends that group when its input closes, so that
nothing outlives a watcher that was killed; the watcher ends the group at the deadline or when it is interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dipo_eval.files.processes import end_with_parent, start_session
from dipo_eval.secrets.masking import mask_text
from dipo_eval.subject.marker import Marked, read_json, write_json
from dipo_eval.watch.plan import Plan

_POLL = 0.1
_OOM_SCORE = "500"  # where memory runs out, the kernel ends the evaluation, not the training beside it


def evaluate_in_child(
    plan: Plan, checkpoint: Marked, deadline: float, cancelled: threading.Event
) -> str | None:
    """Evaluate one checkpoint; returns None, or in one line why there is no result.

    deadline: seconds without a finished response or verdict after which it is ended; what is finished is kept for the
    next attempt. How long an evaluation may take in all follows from its responses, of which each is bounded.

    Ends the child in every case, also where an exception (Ctrl-C) passes through; `cancelled` ends it early.
    """
    log = plan.folder(checkpoint) / "watch.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dipo_watch_") as folder:
        outcome, beats = Path(folder, "outcome.json"), Path(folder, "beats")
        task = {
            "checkpoint": (str(checkpoint.hf_path), checkpoint.name, checkpoint.step), "outcome": str(outcome),
            "beats": str(beats),
            "suites": list(plan.given), "results_dir": str(plan.results_dir), "run": plan.run,
            "options": asdict(plan.options),
        }  # fmt: skip
        log.unlink(missing_ok=True)
        process = start_session([sys.executable, "-P", "-m", "dipo_eval.watch.child"], log, {})
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(task).encode() + b"\n")
                process.stdin.flush()
            problem = _wait(process, beats, deadline, cancelled)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
            with contextlib.suppress(OSError):
                process.stdin.close()
        answer = read_json(outcome)
    if answer is not None:
        return answer.get("error")
    return f"{problem or _exit_reason(process.returncode)} (log: {log})"


def _wait(
    process: subprocess.Popen[bytes], beats: Path, deadline: float, cancelled: threading.Event
) -> str | None:
    last, until = 0, time.monotonic() + deadline
    while process.poll() is None:
        if cancelled.wait(_POLL):
            return "the lease was lost"
        found = _size(beats)
        if found != last:
            last, until = found, time.monotonic() + deadline
        if time.monotonic() > until:
            return f"no progress for {deadline:.0f} s"
    return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _exit_reason(status: int) -> str:
    if status == -signal.SIGKILL:
        return "the evaluation was killed (signal 9): often the memory was full"
    return f"the evaluation ended with {f'signal {-status}' if status < 0 else f'status {status}'}"


def _kill_group() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _run(task: dict[str, Any]) -> None:
    from dipo_eval.runner.run import evaluate
    from dipo_eval.subject.checkpoints import Checkpoint

    path, name, step = task["checkpoint"]
    places = {"results_dir": Path(task["results_dir"]), "run": task["run"]}
    if data_dir := task["options"].pop("data_dir"):
        places["data_dir"] = Path(data_dir)
    checkpoint = Checkpoint(Path(path), name, step)
    with open(task["beats"], "ab", buffering=0) as beats:

        def beat() -> None:
            beats.write(b".")

        evaluate(
            [checkpoint], task["suites"], progress=False, log=print, beat=beat, **places, **task["options"]
        )


def main() -> int:
    """Evaluate one task; status 0, or 1 with the error in its outcome file."""
    with open(0, "rb", buffering=0, closefd=False) as task_input:  # reads nothing beyond the line
        task = json.loads(task_input.readline())
    end_with_parent(_kill_group)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    error = None
    try:
        _run(task)
    except Exception as problem:  # of any kind: it is recorded, and the other checkpoints go on
        print(mask_text(traceback.format_exc()), file=sys.stderr)
        lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
        error = mask_text(lines[0] if lines else type(problem).__name__)[:500]
    write_json(Path(task["outcome"]), {"error": error})
    sys.stdout.flush()
    return 0 if error is None else 1


if __name__ == "__main__":
    status = main()
    os._exit(status)  # an engine's threads must not keep a finished evaluation alive
