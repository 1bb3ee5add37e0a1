"""A run's driver, and one that imports while `dipo train` still reads and checks the recipe.

Only where this environment can do nothing but train on CPU, where starts are seconds of imports (cpu/fork_server.py). It
knows nothing of the recipe: it is told where the plan is, or ended where there is none.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dipo_eval.engines.device import is_cpu_build
from dipo_eval.files.processes import start_session
from dipo_eval.workers.cores import usable_cores
from dipo_openrlhf.openrlhf_patch.cpu import changes, fork_server
from dipo_openrlhf.record.processes import RUN_ID

DRIVER = "dipo_openrlhf.openrlhf_patch.driver"
EARLY = "--early"  # in the place of the plan
# Set meanwhile where a local model's tokenizer was loaded: by preflight/prompts.py, load_tokenizer, and by torch.
ADDED = ("HF_HUB_OFFLINE", "TORCHINDUCTOR_CACHE_DIR")


@dataclass
class EarlyDriver:
    """A driver without a plan. `process`: None once it has one, or where there is none."""

    process: subprocess.Popen[bytes] | None
    run_id: str
    environment: dict[str, str]  # with which it imports, added to what was this process's
    inherited: dict[str, str]
    log: Path

    def take(
        self, plan: Path, log: Path, environment: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], str] | None:
        """(driver, run id) with this plan, its output so far in `log`; None where another is to be started: it has ended,
        or the run has another environment.
        """
        process = self.process
        now = dict(os.environ)
        added = {name: now.pop(name) for name in ADDED if name in now and name not in self.inherited}
        same = self.environment.items() <= environment.items() and self.inherited == now
        if process is None or process.stdin is None or process.poll() is not None or not same:
            return None
        with open(log, "ab") as file:
            file.write(self.log.read_bytes())
        told = {"plan": str(plan), "log": str(log), "environment": {**added, **environment}}
        try:
            process.stdin.write(f"{json.dumps(told)}\n".encode())
            process.stdin.flush()
        except OSError:
            return None
        self.process = None
        return process, self.run_id

    def end(self) -> None:
        """End it where it has got no plan."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def early_driver() -> Iterator[EarlyDriver]:
    """Started, and ended where nothing has taken it."""
    environment, run_id = changes.environment(usable_cores()), uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="dipo_driver_") as folder:
        early = EarlyDriver(None, run_id, environment, dict(os.environ), Path(folder, "log"))
        if is_cpu_build() and os.environ.get(fork_server.ENABLED) != "0":
            early.process = start_session(
                command_of(DRIVER, EARLY), early.log, {**environment, RUN_ID: run_id}
            )
        try:
            yield early
        finally:
            early.end()


def start_driver(
    module: str, plan: Path, log: Path, environment: Mapping[str, str], early: EarlyDriver | None
) -> tuple[subprocess.Popen[bytes], str]:
    """(driver, run id): `early` where it can be used, once; else it is ended, since it holds memory and a core."""
    if early is not None:
        if module == DRIVER and (found := early.take(plan, log, environment)):
            return found
        early.end()
    run_id = uuid.uuid4().hex
    return start_session(command_of(module, str(plan)), log, {**environment, RUN_ID: run_id}), run_id


def command_of(module: str, argument: str) -> list[str]:
    return [sys.executable, "-P", "-m", module, argument]
