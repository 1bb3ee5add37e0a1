"""events.jsonl: how far a run has come, and why it ended. Written by its processes, read by `dipo train`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

EVENTS = "events.jsonl"
TRAINING = "training"  # the stage from the first prompts on
SAVING = "saving the final model"  # after the last step
ENDED = "ended"  # the last stage of each attempt, however it ended
WARNING = "warning"  # the stage of an event that is no stage: its `text` is shown, and the run goes on


def write_event(run_dir: Path, stage: str, **facts: Any) -> None:
    """Append one event; `stage` is a phrase that can be shown to a user, such as "loading the model"."""
    row = json.dumps({"time": round(time.time(), 3), "stage": stage, **facts})
    with open(run_dir / EVENTS, "ab+") as file:
        # What a killed process or a full disk left unfinished stays a line of its own.
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            row = row if file.read(1) == b"\n" else f"\n{row}"
        file.write(f"{row}\n".encode())


def read_events(run_dir: Path) -> list[dict[str, Any]]:
    """All complete events so far."""
    try:
        raw = (run_dir / EVENTS).read_bytes()
    except FileNotFoundError:  # a new attempt removes it
        return []
    events = []
    for line in raw.decode("utf-8", errors="replace").split("\n"):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("stage"), str):
            events.append(event)
    return events
