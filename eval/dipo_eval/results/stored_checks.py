"""What a results.json and a row of samples.jsonl must be: the one place where stored files are checked.

Gate, board, export and evaluation all read through it (store.py). Whatever the files hold, an invalid one raises a
ValueError whose message is one line, and nothing else.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

SCHEMA = 1
STATUSES = ("correct", "wrong", "undecided")
MAX_COUNT = 10**15
"""Upper limit of counts, steps and sample numbers."""

LONGEST_NAME = 200
"""Characters of a metric's name."""

Row = dict[str, Any]


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, protected_namespaces=())


class StoredMetric(_Stored):
    """One number of `metrics`."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    stderr: FiniteFloat | None = None
    n: int = Field(ge=0, le=MAX_COUNT)
    k: int = Field(ge=1, le=MAX_COUNT)
    interval: str | None = None


class StoredModel(_Stored):
    """`model` of a results.json."""

    weights_hash: str


class StoredHashes(_Stored):
    """`hashes` of a results.json; there may be others."""

    items_sha256: str
    suite_hash: str
    samples_sha256: str


class StoredCounts(_Stored):
    """`counts` of a results.json: samples."""

    correct: int = Field(ge=0, le=MAX_COUNT)
    wrong: int = Field(ge=0, le=MAX_COUNT)
    undecided: int = Field(ge=0, le=MAX_COUNT)
    truncated: int = Field(ge=0, le=MAX_COUNT)


class StoredResult(_Stored):
    """The required fields of a results.json; there may be others."""

    schema_: Literal[1] = Field(alias="schema")
    run: str
    checkpoint: str
    suite: str
    step: int | None = Field(None, ge=0, le=MAX_COUNT)
    model: StoredModel
    settings: dict[str, Any]
    hashes: StoredHashes
    n_items: int = Field(ge=1, le=MAX_COUNT)
    n_samples_per_item: int = Field(ge=1, le=MAX_COUNT)
    metrics: dict[Annotated[str, Field(max_length=LONGEST_NAME)], StoredMetric]
    counts: StoredCounts
    versions: dict[str, str]
    seconds: dict[str, FiniteFloat]
    created: str

    @field_validator("metrics")
    @classmethod
    def _has_accuracy(cls, metrics: dict[str, StoredMetric]) -> dict[str, StoredMetric]:
        if "accuracy" not in metrics:
            raise ValueError("has no metric 'accuracy'")
        return metrics


# Optional fields of a row, and their types.
_OPTIONAL: dict[str, tuple[type, ...]] = {
    "response": (str,), "reason": (str,), "finish_reason": (str,), "prompt_hash": (str,),
    "extracted": (str, type(None)), "truncated": (bool,), "prompt_tokens": (int, type(None)),
    "response_tokens": (int, type(None)),
}  # fmt: skip
_WORDS = {str: "a string", bool: "true or false", int: "a whole number", type(None): "null"}


def parse_json(data: bytes) -> Any:
    """JSON in UTF-8 without NaN or infinity. Raises ValueError, also for what is nested too deeply to read."""
    try:
        return _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON ({str(error)[:120]})") from None


def parse_row(line: bytes, *, graded: bool = True) -> Row:
    """One line of samples.jsonl. Raises ValueError. Without `graded` it need have neither sample nor status."""
    row = parse_json(line)
    if not isinstance(row, dict):
        raise ValueError(f"is a {type(row).__name__}, not a JSON object")
    for name in ("item_id", "sample", "status"):
        if name not in row and (graded or name == "item_id"):
            raise ValueError(f"has no field {name!r}")
    if not isinstance(row["item_id"], str) or not row["item_id"]:
        raise ValueError(f"item_id {shown(row['item_id'])}: must be a non-empty string")
    sample, status = row.get("sample"), row.get("status")
    if (sample is not None or graded) and (type(sample) is not int or not 0 <= sample <= MAX_COUNT):
        raise ValueError(f"sample {shown(sample)}: must be a whole number, 0 or more")
    if (status is not None or graded) and (not isinstance(status, str) or status not in STATUSES):
        raise ValueError(f"status {shown(status)}: must be one of {', '.join(STATUSES)}")
    for name, kinds in _OPTIONAL.items():
        if name in row and type(row[name]) not in kinds:
            raise ValueError(
                f"{name} {shown(row[name])}: must be {' or '.join(_WORDS[kind] for kind in kinds)}"
            )
    return row


def check_result(data: Any) -> dict[str, Any]:
    """`data` itself, a parsed results.json of this schema. Raises ValueError naming the first invalid field."""
    if not isinstance(data, dict):
        raise ValueError(f"is a {type(data).__name__}, not a JSON object")
    if data.get("schema") != SCHEMA or isinstance(data.get("schema"), bool):
        raise ValueError(f"schema {shown(data.get('schema'))}: this version reads {SCHEMA}")
    try:
        StoredResult.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise ValueError(f"has no field {key[:200]!r}") from None
        raise ValueError(f"{key[:200]} {shown(first['input'])}: {first['msg']}") from None
    return data


def check_complete(result: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Raises ValueError unless the rows are those that `result` counts: each item with the same number of samples."""
    items, samples = result["n_items"], result["n_samples_per_item"]
    if len(rows) != items * samples:
        raise ValueError(
            f"has {len(rows)} rows, its results.json counts {items} items with {samples} samples each"
        )
    for item, count in Counter(row["item_id"] for row in rows).items():
        if count != samples:
            raise ValueError(f"item {shown(item)} has {count} samples, its results.json counts {samples}")


def shown(value: Any) -> str:
    """A value for a message: on one line, escaped, at most 60 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer too long to be written out, or nested too deeply
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:30]} is too large for a number")
    return value


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
