"""events.jsonl: how far a run has come, and why it ended. Written by its processes, read by `dipo train`."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

EVENTS = "events.jsonl"
ENDED = "ended"  # the last stage of each attempt, however it ended
WARNING = "warning"  # the stage of an event that is no stage: its `text` is shown, and the run goes on


def write_event(run_dir: Path, stage: str, **facts: Any) -> None:
    """Append one event; `stage` is a phrase that can be shown to a user, such as "loading the model"."""
    row = {"time": round(time.time(), 3), "stage": stage, **facts}
    with open(run_dir / EVENTS, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_events(run_dir: Path) -> list[dict[str, Any]]:
    """All complete events so far."""
    path = run_dir / EVENTS
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            events.append(json.loads(line))
    return events
