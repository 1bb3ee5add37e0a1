"""TRL in an environment of its own, .venv-trl, made from requirements/trl.txt on first use, and GRPOTrainer run there."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import ROOT

VENV = Path(os.environ.get("DIPO_TRL_VENV") or ROOT / ".venv-trl")
_LOCK = ROOT / "requirements" / "trl.txt"


def python() -> str:
    """The environment's interpreter. Made anew where its lock has changed."""
    done = VENV / ".installed-trl"
    if not done.is_file() or done.read_bytes() != _LOCK.read_bytes():
        subprocess.run([ROOT / "requirements" / "install.sh", VENV, "trl"], check=True)
        done.write_bytes(_LOCK.read_bytes())
    return str(VENV / "bin" / "python")


def run_grpo(threads: int, problems: Sequence[dict[str, Any]], **settings: Any) -> list[dict[str, float]]:
    """Facts of each step (trl_grpo.py) of GRPOTrainer on these problems (`question`, `answer`) with `threads` threads."""
    with tempfile.TemporaryDirectory(prefix="dipo_trl_") as folder:
        task = Path(folder, "task.json")
        task.write_text(
            json.dumps({"problems": list(problems), "folder": folder, "threads": threads, **settings})
        )
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONPATH", None)
        subprocess.run(
            [python(), Path(__file__).with_name("trl_grpo.py"), task],
            check=True, env=environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return list(json.loads(Path(folder, "steps.json").read_text()))
