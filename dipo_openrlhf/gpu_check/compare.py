"""All rows of the table, each from the files that the parts have left."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path

from dipo_eval.secrets.masking import mask_text
from dipo_openrlhf.gpu_check.evidence import Evidence, MissingEvidenceError
from dipo_openrlhf.gpu_check.row import Row
from dipo_openrlhf.gpu_check.rows import (
    advantages,
    export,
    gradient,
    memory,
    resume,
    scoring,
    speed,
    weights,
)
from dipo_openrlhf.gpu_check.settings import CheckSettings

Check = Callable[[Evidence], Row]
ROWS: dict[str, tuple[str, Check]] = {
    module.NAME: (module.SHOWN, module.check)
    for module in (weights, scoring, advantages, gradient, memory, speed, resume, export)
}


def rows_file(settings: CheckSettings) -> Path:
    return settings.root / "rows.json"


def check_rows(evidence: Evidence) -> list[Row]:
    """Every row; one whose evidence is missing, or cannot be computed, has failed."""
    return [_one(name, *ROWS[name], evidence) for name in ROWS]


def _one(name: str, shown: str, check: Check, evidence: Evidence) -> Row:
    try:
        return check(evidence)
    except MissingEvidenceError as error:
        return Row(name, False, "-", shown, f"not checked: {error}; a part above says why")
    except Exception as error:
        print(mask_text(traceback.format_exc()))
        return Row(
            name, False, "-", shown, mask_text(f"not checked: {type(error).__name__}: {error} (compare.log)")
        )


def compare(settings: CheckSettings) -> None:
    """Write rows.json."""
    rows = check_rows(Evidence(settings))
    rows_file(settings).write_text(json.dumps([row.as_dict() for row in rows]) + "\n", encoding="utf-8")
