"""Speeds that `dipo check-gpu` has measured on this machine, which take the place of assumptions.

One JSON file: $DIPO_CACHE_DIR/measured.json, in the user's cache folder by default, or `dipo doctor RECIPE --measured
FILE`. What is measured with a small model is a machine's own (bandwidths) or a fixed time (of one decoding step, of one
weight sync, of sleep and wake), to which a larger model's bytes are added; no speed of the small model is taken over.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_openrlhf.estimate.options import Assumptions, least_values
from dipo_openrlhf.record.user_cache import cache_dir

FIELDS = ("gpu_memory_gib", "bandwidth_tbs", "host_gbs", "decode_ms", "sync_seconds", "sleep_seconds")


def measured_file() -> Path:
    """Where `dipo check-gpu` writes and `dipo doctor RECIPE` reads by default."""
    return cache_dir() / "measured.json"


def write_measured(path: Path, gpu: str, values: dict[str, float]) -> None:
    """`values`: of FIELDS, those that were measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps({"gpu": gpu, "values": values}, indent=2) + "\n").encode())


def read_measured(path: Path | None) -> tuple[str, dict[str, float]]:
    """(what measured it, values by the name of an assumption). Nothing for the default file where there is none.

    Raises UserError for a named file that is missing, and for one that `dipo check-gpu` did not write.
    """
    where = path or measured_file()
    if not where.is_file():
        if path is None:
            return "", {}
        raise UserError(f"--measured {path}: no such file; `dipo check-gpu` writes one")
    try:
        content = json.loads(where.read_text(encoding="utf-8"))
        values = {name: _figure(value) for name, value in content["values"].items()}
        gpu = str(content["gpu"])
    except (OSError, ValueError, OverflowError, RecursionError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{where}: is not what `dipo check-gpu` writes: run it again, or delete the file"
        ) from None
    least = least_values()
    bad = [
        name
        for name, value in values.items()
        if name not in FIELDS or not least[name] <= value < float("inf")
    ]
    if bad:
        raise UserError(
            f"{where}: {bad[0]}: not a figure of `dipo check-gpu`: run it again, or delete the file"
        )
    return f"{gpu}, {where}", values


def _figure(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)


def with_measured(
    assume: Assumptions, values: dict[str, float], given: Callable[[str], bool]
) -> tuple[Assumptions, list[str]]:
    """(the assumptions with what was measured, its names). `given(name)`: the user set it, which wins."""
    used: dict[str, Any] = {name: value for name, value in values.items() if not given(name)}
    names = [field.name for field in dataclasses.fields(assume) if field.name in used]
    return dataclasses.replace(assume, **used), names
