"""What a watcher measures every checkpoint on, and whether a checkpoint's results answer that already."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dipo_eval.results.store import read_result, suite_folder
from dipo_eval.runner.provenance import suite_hash
from dipo_eval.subject.checkpoints import generation_hash
from dipo_eval.subject.identity import engine_version
from dipo_eval.subject.marker import Marked
from dipo_eval.suites import get_suites
from dipo_eval.suites.user import is_suite_path

Results = dict[str, dict[str, Any]]
"""results.json by suite."""


@dataclass(frozen=True)
class EvalOptions:
    """The options of dipo_eval.runner.run.evaluate that are the same for all checkpoints."""

    engine: str = "vllm"
    samples: int = 1
    limit: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 1024
    max_model_len: int | None = None
    dtype: str = "auto"
    seed: int = 0
    data_dir: str | None = None

    def settings(self) -> dict[str, Any]:
        """Those that results.json states too; dtype "auto" is resolved by the evaluation alone."""
        settings = asdict(self)
        settings["n_samples"] = settings.pop("samples")
        del settings["data_dir"]
        if self.dtype == "auto":
            del settings["dtype"]
        return settings


@dataclass(frozen=True)
class Plan:
    """Suites by name with their hashes, options, and the place of the results. `given`: suites as names and paths."""

    suites: dict[str, str]
    given: tuple[str, ...]
    results_dir: Path
    run: str
    options: EvalOptions

    def folder(self, checkpoint: Marked) -> Path:
        """The folder of a checkpoint's results."""
        return self.results_dir / self.run / checkpoint.name

    def identity(self, weights_hash: str) -> str:
        """16 hex digits that stand for (weights, suites with their graders, settings)."""
        content = [weights_hash, self.suites, self.options.settings()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def make_plan(suites: list[str], results_dir: Path, run: str, options: EvalOptions) -> Plan:
    """Load every suite once, for its hash. Raises UserError for an unknown suite, bad data or a bad name."""
    hashes = {}
    data_dir = Path(options.data_dir) if options.data_dir else None
    for suite in get_suites(suites):
        suite_folder(results_dir, run, "checkpoint", suite.name)
        hashes[suite.name] = suite_hash(suite, suite.load(data_dir, options.limit, options.seed))
    given = tuple(str(Path(suite).resolve()) if is_suite_path(suite) else suite for suite in suites)
    return Plan(hashes, given, results_dir, run, options)


def found_results(plan: Plan, checkpoint: Marked, *, verify: bool = True) -> Results | None:
    """The results of every suite, where all are complete and of these weights, suites and settings; else None.

    Tokenizer, end tokens and chat template must be those of the checkpoint's folder too.
    """
    found = {}
    wanted = {**plan.options.settings(), "engine_version": engine_version(plan.options.engine)}
    try:
        files = generation_hash(checkpoint.hf_path)
    except OSError:  # pruned this moment
        return None
    for suite, digest in plan.suites.items():
        result = read_result(suite_folder(plan.results_dir, plan.run, checkpoint.name, suite), verify=verify)
        if (
            result is None
            or result["model"]["weights_hash"] != checkpoint.weights_hash
            or result["model"].get("generation_hash") != files
            or result["hashes"]["suite_hash"] != digest
            or any(result["settings"].get(key) != value for key, value in wanted.items())
        ):
            return None
        found[suite] = result
    return found
