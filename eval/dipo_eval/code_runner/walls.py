"""Choose the walls of the jails on this machine: the first kind behind which every limit is seen to hold."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dipo_eval.code_runner import probe
from dipo_eval.code_runner.jail import Limits, Place, Walls, run_jailed

PROBE_S = 20.0


@dataclass(frozen=True)
class Choice:
    """``walls`` None: ``reason`` says what each kind lacks. ``limits``: name -> whether it was seen to hold."""

    walls: Walls | None
    limits: dict[str, bool]
    reason: str = ""


def choose(kinds: Sequence[Walls], limits: Limits, mount_point: str) -> Choice:
    """Try ``kinds`` in their order. Behind "weak" walls, which are asked for by name, some limits may fail."""
    reasons = []
    is_root = os.getuid() == 0 and Path("/proc/self/uid_map").read_text().split()[2] != "1"

    secret = Path(mount_point, "secret")

    def inmate(descriptor: int) -> None:
        probe.report(descriptor, limits, str(secret), is_root=is_root)

    for walls in kinds:
        secret.touch()
        try:
            outcome = run_jailed(inmate, PROBE_S, limits, Place(mount_point, walls))
        finally:
            secret.unlink()
        if outcome.ended != "done":
            reasons.append(f"{walls}: {outcome.detail or f'the trial ended with {outcome.ended}'}")
            continue
        held = json.loads(outcome.output)
        if not held.pop("python"):
            where = f"{os.__file__}; install Python where every user can read it"
            reasons.append(f"{walls}: a user without rights cannot read {where}")
        elif walls == "weak" or all(held.values()):
            return Choice(walls, held)
        else:
            missing = ", ".join(name for name, holds in held.items() if not holds)
            reasons.append(f"{walls}: no limit on {missing}")
    return Choice(None, {}, "; ".join(reasons))


def main() -> None:
    """Print the choice as one JSON line. argv[2]: JSON with walls and folder."""
    settings = json.loads(sys.argv[2])
    print(json.dumps(asdict(choose(settings["walls"], Limits(), settings["folder"]))))
