"""Inspect's logs: a .eval file, which is a zip of samples/ID_epoch_N.json, or a folder of them.

Values of scores: C, I, P and N are 1, 0, 0.5 and 0 (inspect_ai/scorer/_metric.py, value_to_float). Of several scorers the
first counts. The archive is read member by member with a limit; nothing is unpacked to disk.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.results.stored_checks import parse_json
from dipo_openrlhf.compare.finished.scores import Finished, Reader, averaged, score_in

LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
MAX_MEMBER = 64 << 20  # bytes of one sample, unpacked
MAX_MEMBERS = 1_000_000


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".eval" else []
    return sorted(path.glob("*.eval"))


def _read(path: Path) -> list[Finished]:
    found: dict[str, Finished] = {}
    for file in _files(path):
        try:
            with zipfile.ZipFile(file) as archive:
                task = _task(archive)
                found[task] = averaged(
                    task, _samples(archive, file), file
                )  # of a task, the newest by its name
        except (OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{file}: is no log of Inspect's ({type(error).__name__}: {error})") from None
        except ValueError as error:
            raise UserError(f"{file}: {error}") from None
    return list(found.values())


def _task(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    header = next((name for name in ("header.json", "_journal/start.json") if name in names), None)
    content = _member(archive, header) if header else {}
    return (
        str(content.get("eval", {}).get("task", "inspect"))
        if isinstance(content.get("eval"), dict)
        else "inspect"
    )


def _samples(archive: zipfile.ZipFile, file: Path) -> Iterator[tuple[str, float]]:
    names = [name for name in archive.namelist() if name.startswith("samples/") and name.endswith(".json")]
    if len(names) > MAX_MEMBERS:
        raise UserError(f"{file}: has more than {MAX_MEMBERS:,} samples")
    for name in names:
        sample = _member(archive, name)
        scores = sample.get("scores")
        if not isinstance(scores, dict) or not scores:
            continue  # a sample that failed has no score
        score = next(iter(scores.values()))
        value = score.get("value") if isinstance(score, dict) else score
        known = LETTERS.get(value) if isinstance(value, str) else None
        yield str(sample.get("id")), score_in(value if known is None else known, f"{file}: {name}: the score")


def _member(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    with archive.open(name) as file:
        data = file.read(MAX_MEMBER + 1)
    if len(data) > MAX_MEMBER:
        raise ValueError(f"{name} has more than {MAX_MEMBER:,} bytes")
    content = parse_json(data)
    return content if isinstance(content, dict) else {}


READER = Reader("Inspect", lambda path: bool(_files(path)), _read)
