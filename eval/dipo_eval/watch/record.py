"""watch.json beside a checkpoint's results: how often its evaluation was tried, what went wrong, what is left to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from dipo_eval.watch.marker import read_json, write_json
from dipo_eval.watch.plan import Plan

RECORD = "watch.json"
_KEPT = 10  # errors


@dataclass(frozen=True)
class Record:
    """State of one (weights, suites, settings); `identity` says which, and another one starts anew."""

    identity: str
    attempts: int = 0
    errors: tuple[str, ...] = ()
    done: bool = False

    def failed(self, error: str) -> Record:
        return replace(self, attempts=self.attempts + 1, errors=(*self.errors, error)[-_KEPT:])


def read_record(plan: Plan, checkpoint: str, weights_hash: str) -> Record:
    """The record of these weights under this plan; a fresh one where there is none."""
    identity = plan.identity(weights_hash)
    content = read_json(plan.results_dir / plan.run / checkpoint / RECORD) or {}
    if content.get("identity") != identity:
        return Record(identity)
    try:
        errors = tuple(str(error) for error in content["errors"])
        return Record(identity, int(content["attempts"]), errors, bool(content["done"]))
    except (KeyError, TypeError, ValueError):
        return Record(identity)


def write_record(plan: Plan, checkpoint: str, record: Record) -> None:
    """Store it. Raises OSError."""
    folder = plan.results_dir / plan.run / checkpoint
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, asdict(record))
