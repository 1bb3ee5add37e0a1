"""A validated recipe as plain data: the sections of this project and OpenRLHF's arguments. load.py makes one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.recipe.defaults import CPU_TIMES, GPU_TIMES, on_cpu
from dipo_openrlhf.recipe.files import display_name
from dipo_openrlhf.recipe.openrlhf_args import argv_of, openrlhf_actions, portable
from dipo_openrlhf.recipe.schema import CPU_BATCH, OFFLINE_BATCH, EvaluateSection, RunSection, WatchSection

BOOKKEEPING = ("ckpt.", "logger.", "eval.")  # keys that change nothing of what is learnt


@dataclass(frozen=True)
class Recipe:
    """`source`: its file or name. `openrlhf`: dotted key -> value. `where`: key -> file:line, option or default."""

    source: str
    run: RunSection
    dipo: DipoConfig
    evaluate: EvaluateSection
    watch: WatchSection
    openrlhf: dict[str, Any]
    where: dict[str, str]

    @property
    def name(self) -> str:
        return self.run.name or display_name(self.source)

    @property
    def run_dir(self) -> Path:
        return Path(self.run.dir or Path("runs", self.name)).expanduser()

    @property
    def on_cpu(self) -> bool:
        """Whether it runs with the CPU changes, on simulated GPUs."""
        return on_cpu(self.run.device)

    @property
    def start_timeout(self) -> int:
        """`run.start_timeout`, seconds."""
        return self.run.start_timeout or (CPU_TIMES if self.on_cpu else GPU_TIMES).start_timeout

    @property
    def save_before(self) -> int:
        """`run.save_before`, seconds; 0 where no checkpoint that a run can resume from is saved."""
        if self.get("ckpt.disable_ds"):
            return 0
        if self.run.save_before is not None:
            return self.run.save_before
        return (CPU_TIMES if self.on_cpu else GPU_TIMES).save_before

    @property
    def starts_watcher(self) -> bool:
        """Whether `dipo train` evaluates its checkpoints: it has suites and exports, and no one switched it off."""
        return self.watch.enabled and bool(self.evaluate.suites) and bool(self.get("ckpt.save_hf"))

    @property
    def watcher_on_ray(self) -> bool:
        """Whether that watcher is a Ray task with resources of its own, and not a process of this machine.

        In a CPU run only on a cluster that the recipe is sized for, whose GPUs are simulated.
        """
        on_cluster = not self.on_cpu or (self.run.nodes > 0 and self.run.ray == "cluster")
        return self.starts_watcher and self.watch.ray and on_cluster

    @property
    def waits_for_evaluation(self) -> bool:
        """Whether the training waits for its watcher after a save."""
        return self.starts_watcher and self.watch.when == "during" and self.watch.wait

    @property
    def engine_batch(self) -> dict[str, int]:
        """How much an engine takes at once, as vLLM's options: the recipe's, or this project's defaults."""
        given = {name: getattr(self.run, name) for name in OFFLINE_BATCH}
        values = dict(CPU_BATCH if self.on_cpu else OFFLINE_BATCH)
        if self.on_cpu and self.run.max_num_batched_tokens:  # of which vLLM wants one a sequence
            values["max_num_seqs"] = min(values["max_num_seqs"], self.run.max_num_batched_tokens)
        return {**values, **{name: value for name, value in given.items() if value is not None}}

    @property
    def hash(self) -> str:
        """Identity of what the training depends on: 16 hex digits over all values but bookkeeping."""
        openrlhf = {
            key: portable(value) for key, value in self.openrlhf.items() if not key.startswith(BOOKKEEPING)
        }
        content: dict[str, Any] = {"dipo": asdict(self.dipo), "openrlhf": openrlhf}
        if self.run.call_form != "auto":
            content["call_form"] = self.run.call_form
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def place(self, key: str) -> str:
        """Where a value is written, for a message about it."""
        return self.where.get(key, f"{self.source}: default of OpenRLHF")

    def argv(self) -> list[str]:
        """OpenRLHF's command line, without the program."""
        return [token for key, value in self.openrlhf.items() for token in argv_of(key, value)]

    def get(self, key: str) -> Any:
        """An OpenRLHF argument: the recipe's value, or OpenRLHF's default."""
        return self.openrlhf.get(key, openrlhf_actions()[key].default)
