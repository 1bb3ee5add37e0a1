"""Ask a run to save and end, and wait until it has: the preStop hook of its pods.

python -m dipo_openrlhf.launchers.stop_run RUN_DIR --seconds 1800

Kubernetes ends a pod's Ray when the hook is done, or its grace time is over.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from dipo_openrlhf.record.events import ENDED, TRAINING, read_events
from dipo_openrlhf.record.stop_request import StopRequest, ask_to_stop

POLL = 1.0


def is_running(run_dir: Path) -> bool:
    """Whether a training has begun there and not ended."""
    stages = [event["stage"] for event in read_events(run_dir)]
    return TRAINING in stages and ENDED not in stages


def stop_run(run_dir: Path, seconds: float, reason: str, poll: float = POLL) -> bool:
    """Ask, and wait at most `seconds` for the run's end. Returns whether nothing is running any more."""
    deadline = time.monotonic() + seconds
    asked = False
    while is_running(run_dir):
        if not asked:
            ask_to_stop(run_dir, StopRequest(reason, seconds))
            asked = True
        if time.monotonic() > deadline:
            return False
        time.sleep(poll)
    return True


def main(arguments: list[str]) -> int:
    """Exit status: 0 where nothing is running, 1 where the time was too short."""
    parser = argparse.ArgumentParser(description="Ask a run to save and end, and wait until it has.")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--reason", default="the pod is ended")
    options = parser.parse_args(arguments)
    return 0 if stop_run(options.run_dir, options.seconds, options.reason) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
