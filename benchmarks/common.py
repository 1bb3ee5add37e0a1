"""What the benchmarks share: command line, timing, tables, JSON, the machine, and trainings of the quickstart's model."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer
import yaml

ROOT = Path(__file__).resolve().parents[1]
DIPO = (sys.executable, "-m", "dipo_openrlhf.cli")
T = TypeVar("T")
DATA_DIR = Path(os.environ.get("DIPO_DATA_DIR") or ROOT.parent / "shared" / "data")


def command(main: Callable[..., None], text: str | None) -> None:
    """Run `main` with the command line's options, one for each of its parameters; --help prints `text` as it is."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help="\b\n" + (text or "").replace("\n\n", "\n\n\b\n"))(main)
    app()


def machine() -> str:
    """Processor, cores and Python."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    processor = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}"


def header(*names: str) -> None:
    """Print the head of a Markdown table."""
    row(names)
    print("|" + "---|" * len(names))


def row(cells: Iterable[object]) -> None:
    """Print one row; at once, since the next may take minutes."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def save(out: Path | None, figures: Any) -> None:
    """Write the figures as JSON, where a file is given."""
    if out is not None:
        out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """(seconds, result)."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def best_of(works: Sequence[Callable[[], T]], repeats: int) -> list[tuple[float, T]]:
    """(seconds, result) of the fastest of `repeats` runs of each, run in turns."""
    runs = [[timed(work) for work in works] for _ in range(repeats)]
    return [min(each, key=lambda run: run[0]) for each in zip(*runs, strict=True)]


def check(condition: object, message: str) -> None:
    if not condition:
        raise SystemExit(f"VIOLATION: {message}")


class Tally:
    """What was done so far: one JSON object a line of a file, so that a benchmark can be stopped and continued."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def add(self, kind: str, **facts: Any) -> None:
        self.rows.append({"kind": kind, **facts})
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")
        print(f"{len(self.rows)}: {self.rows[-1]}", flush=True)

    def count(self, kind: str) -> int:
        return sum(row["kind"] == kind for row in self.rows)


def write_recipe(folder: Path, prompts: int, **sections: dict[str, Any]) -> Path:
    """FOLDER/recipe.yaml: the quickstart's model trained on arithmetic on CPU in FOLDER/run, with `sections` added."""
    from dipo_openrlhf.data.arithmetic import write_prompts
    from dipo_openrlhf.quickstart.pretrain import pretrained_model
    from dipo_openrlhf.record.user_cache import cache_dir

    folder.mkdir(parents=True, exist_ok=True)
    write_prompts(folder / "prompts.jsonl", prompts, 0)
    recipe = {
        **sections,
        "run": {"name": "benchmark", "dir": str(folder / "run"), "device": "cpu", **sections.get("run", {})},
        "actor": {
            "model_name_or_path": str(pretrained_model(cache_dir())),
            "adam": {"lr": 2.0e-4},
            "lr_scheduler": "constant",
        },
        "data": {"prompt_dataset": str(folder / "prompts.jsonl"), "max_len": 128},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return folder / "recipe.yaml"
