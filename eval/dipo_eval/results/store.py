"""Results on disk: the only interface between evaluation, gate and board.

    <results>/<run>/<checkpoint>/<suite>/samples.jsonl   one row a sample; or samples.jsonl.zst, zstd-packed
                                        /results.json    metrics, settings, hashes; written last

A folder counts only with a results.json whose samples_sha256 is that of the samples beside it (unpacked), so a
killed evaluation leaves no result. All writes go to a temporary file that is synced and renamed. All that is read is
checked (stored_checks.py) and limited in size (bounded_file.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from dipo_eval.errors import UserError, short_repr
from dipo_eval.files.atomic import write_atomic
from dipo_eval.files.bounded_file import MAX_RESULT, MAX_SAMPLES, open_regular, pieces, read_limited, unpacked
from dipo_eval.files.bounded_file import lines as lines_of
from dipo_eval.results.stored_checks import SCHEMA, check_complete, check_result, parse_json, parse_row
from dipo_eval.secrets.masking import mask_values

SAMPLES = "samples.jsonl"
PACKED = "samples.jsonl.zst"
RESULTS = "results.json"
_AGAIN = "evaluate this checkpoint again"
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@=-]{0,199}")


def suite_folder(results_dir: Path, run: str, checkpoint: str, suite: str) -> Path:
    """Folder of one (run, checkpoint, suite). Raises UserError for a name that could leave `results_dir`."""
    for label, name in (("run", run), ("checkpoint", checkpoint), ("suite", suite)):
        if not is_safe_name(name):
            raise UserError(
                f"{label} name {name!r} cannot be a folder: use letters, digits and . _ + @ = - only"
            )
    return results_dir / run / checkpoint / suite


def is_safe_name(name: str) -> bool:
    """Whether a name may be a folder of the results."""
    return _SAFE_NAME.fullmatch(name) is not None


def safe_name(text: str) -> str:
    """`text` with everything that suite_folder refuses replaced by "-"; never empty."""
    return re.sub(r"[^A-Za-z0-9._+@=-]+", "-", text).lstrip("-.+@=")[:200].rstrip("-.") or "model"


def check_not_stored(path: Path, option: str) -> None:
    """Raise UserError for a file of a stored result, which what a command is to write would replace."""
    has_samples = any((path.parent / name).is_file() for name in (SAMPLES, PACKED))
    if path.name in (SAMPLES, PACKED, RESULTS) and path.exists() and has_samples:
        raise UserError(f"{option} {path}: is part of a stored result; name another file")


def write_suite(
    folder: Path, rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any], *, compress: bool = False
) -> dict[str, Any]:
    """Write the samples, then results.json with `schema` and the samples' hash filled in; return it.

    With `compress` the samples are packed with zstd. An older result in the folder is removed first: between the two
    renames there is no result, not a mixed one. Raises ValueError for a NaN or infinite number, and OSError.
    """
    # ASCII-only JSON: no line separator or lone surrogate of a response can break a row.
    samples = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode("ascii")
    hashes = {**result.get("hashes", {}), "samples_sha256": hashlib.sha256(samples).hexdigest()}
    complete = {"schema": SCHEMA, **result, "hashes": hashes}
    encoded = (json.dumps(complete, indent=2, allow_nan=False) + "\n").encode("ascii")
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (folder / RESULTS).unlink()
    name, other = (PACKED, SAMPLES) if compress else (SAMPLES, PACKED)
    if compress:
        samples = zstandard.ZstdCompressor(level=10, write_checksum=True).compress(samples)
    write_atomic(folder / name, samples)
    (folder / other).unlink(missing_ok=True)
    write_atomic(folder / RESULTS, encoded)
    return complete


def read_result(folder: Path, *, verify: bool = True) -> dict[str, Any] | None:
    """results.json of a folder as load_result gives it, or None where there is no complete result."""
    try:
        return load_result(folder, verify=verify)
    except UserError:
        return None


def load_result(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """results.json of a folder, checked. Raises UserError naming the file and what is wrong with it.

    With `verify` the samples are hashed and compared; without, only their presence is checked (for listings).
    """
    path = folder / RESULTS
    try:
        result = check_result(parse_json(read_limited(path, MAX_RESULT)))
        for part in result.keys() & {"settings", "model"}:  # older versions kept credentials in addresses
            result[part] = mask_values(result[part])
        samples = samples_file(folder)
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        raise UserError(f"{path}: {error}; {_AGAIN}") from None
    if samples is None:
        raise UserError(f"{folder / SAMPLES}: cannot be read (no such file); {_AGAIN}")
    if verify and samples_sha256(samples) != result["hashes"]["samples_sha256"]:
        raise UserError(f"{samples}: not the samples that its results.json was made from; {_AGAIN}")
    return result


def samples_sha256(path: Path) -> str:
    """sha256 of a samples file, unpacked. Raises UserError where it cannot be read."""
    try:
        digest = hashlib.sha256()
        with open_samples(path) as samples:
            for piece in pieces(samples, MAX_SAMPLES):
                digest.update(piece)
        return digest.hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror or error}); {_AGAIN}")


def samples_file(folder: Path) -> Path | None:
    """The samples of a folder, plain or packed; None where there are none. Raises OSError for an unreadable folder."""
    return next((path for name in (SAMPLES, PACKED) if (path := folder / name).exists()), None)


@contextlib.contextmanager
def open_samples(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a samples file, to be read forwards, unpacked where its name ends in .zst.

    Raises OSError, also while reading: for a file that is damaged, too large or not a regular one.
    """
    with open_regular(path, MAX_SAMPLES) as raw:
        yield unpacked(raw) if path.suffix == ".zst" else raw


def sample_lines(samples: BinaryIO) -> Iterator[bytes]:
    """The lines of what open_samples gives. Raises OSError, also for a line or a file that is too long."""
    return lines_of(samples, MAX_SAMPLES)


def read_samples(folder: Path) -> list[dict[str, Any]]:
    """Rows of a folder's samples, checked, at least one. Raises UserError naming the file and the first bad line."""
    path = folder / SAMPLES
    try:
        path = samples_file(folder) or path
        with open_samples(path) as samples:
            return _rows(path, sample_lines(samples))
    except OSError as error:
        raise _unreadable(path, error) from None


def _rows(path: Path, lines: Iterable[bytes]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    seen: dict[tuple[str, int], int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_row(line)
            first = seen.setdefault((row["item_id"], row["sample"]), number)
            if first != number:
                raise ValueError(
                    f"item {short_repr(row['item_id'], 60)} has sample {row['sample']} twice, first in line {first}"
                )
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}; {_AGAIN}") from None
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: holds no samples; {_AGAIN}")
    return rows


def load_complete(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """results.json and its samples, each checked and the one against the other. Raises UserError naming the file."""
    result, rows = load_result(folder), read_samples(folder)
    try:
        check_complete(result, rows)
    except ValueError as error:
        raise UserError(f"{samples_file(folder)}: {error}; {_AGAIN}") from None
    return result, rows


def iter_results(
    results_dir: Path, *, verify: bool = False, left_out: Callable[[str], None] = lambda line: None
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(folder, results.json) of every complete result under `results_dir`, sorted by path.

    `left_out` is called with one line for each invalid results.json.
    """
    for path in sorted(results_dir.glob(f"*/*/*/{RESULTS}")):
        try:
            result = load_result(path.parent, verify=verify)
        except UserError as error:
            left_out(str(error))
        else:
            yield path.parent, result
