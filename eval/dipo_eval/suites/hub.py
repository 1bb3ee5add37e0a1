"""Public data sets from the hub, where the local file is missing. Not a suite.

Run as a program (``python -P hub.py DATASET CONFIG SPLIT OUT``) it writes one data set as JSON lines: a download may
hang, and a process can be killed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dipo_eval.errors import UserError, one_line

CONNECT_LIMIT_S = 5.0
LIMIT_S = 120.0  # for a complete data set: none of these has more than a few MB

Row = dict[str, Any]


@dataclass(frozen=True)
class HubData:
    """A public data set: its name on the hub (or a folder), and how a row becomes a row of our files.

    ``convert(row, number)`` gives the fields id, question and answer, and what else the suite reads; numbers start at
    1. ``rows``: the benchmark's number of rows; another number is refused.
    """

    dataset: str
    split: str
    convert: Callable[[Row, int], Row]
    rows: int
    config: str | None = None

    @property
    def name(self) -> str:
        """Data set, configuration and split, for messages."""
        return f"{self.dataset} ({', '.join(part for part in (self.config, self.split) if part)})"


def numbered(
    prefix: str, question: str = "question", answer: Callable[[Row], str] = lambda row: str(row["answer"])
) -> Callable[[Row, int], Row]:
    """A conversion to the ids prefix-0, prefix-1, ...; `question` names the problem's field."""
    return lambda row, number: {
        "id": f"{prefix}-{number - 1}",
        "question": row[question],
        "answer": answer(row),
    }


def hub_records(data: HubData, limit_s: float = LIMIT_S) -> list[tuple[int, Row]]:
    """(1-based row number, record) of a public data set, from the hub or from its cache on this machine.

    Takes at most ``limit_s`` seconds; where the hub does not answer within 5 seconds, or HF_HUB_OFFLINE is set, only
    the cache is used. Raises UserError in one line where the data set is not available or differs from the expected.
    """
    offline = _offline_reason()
    if offline and not _may_be_cached(data.dataset):
        raise UserError(f"the hub's {data.name} is not available ({offline})")
    environment = {**os.environ, **({"HF_HUB_OFFLINE": "1"} if offline else {})}
    with tempfile.TemporaryDirectory(prefix="dipo-hub-") as folder:
        out = Path(folder) / "rows.jsonl"
        command = [sys.executable, "-P", __file__, data.dataset, data.config or "", data.split, str(out)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=limit_s, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"the hub's {data.name} did not arrive within {limit_s:g} seconds") from None
        if done.returncode or not out.is_file():
            reason = offline or (done.stderr.strip().splitlines() or ["no reason given"])[-1].strip()[:300]
            raise UserError(f"the hub's {data.name} is not available ({reason})")
        rows = [json.loads(line) for line in out.read_text(encoding="ascii").splitlines()]
    if len(rows) != data.rows:
        raise UserError(f"the hub's {data.name} has {len(rows)} rows, the benchmark has {data.rows}")
    try:
        return [(number, data.convert(row, number)) for number, row in enumerate(rows, start=1)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"the hub's {data.name} has other columns than expected ({type(error).__name__}: {error})"
        raise UserError(message) from None


def unavailable(data: HubData) -> str:
    """Why `hub_records` would find nothing, without loading anything; empty where it may."""
    return "" if _may_be_cached(data.dataset) else _offline_reason() or ""


def final_answer(solution: str) -> str:
    """What follows the last "####" of a GSM8K solution, without thousands separators."""
    _, mark, answer = solution.rpartition("####")
    if not mark:
        raise ValueError("a solution without ####")
    return answer.strip().replace(",", "")


def _offline_reason() -> str | None:
    """Why the hub is not used, or None where it can be."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return "HF_HUB_OFFLINE is set and it is not in the cache"
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return None  # only the proxy reaches the hub
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), CONNECT_LIMIT_S).close()
    except OSError:
        return "the hub is not reachable from here and it is not in the cache"
    return None


def _may_be_cached(dataset: str) -> bool:
    """Whether it is a folder or in a cache of huggingface_hub or datasets; importing either is slow."""
    if Path(dataset).is_dir():
        return True
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    files = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"datasets--{dataset.replace('/', '--')}"
    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    return files.is_dir() or any(prepared.glob(f"{dataset.partition('/')[0]}___*"))


def main(dataset: str, config: str, split: str, out: str) -> None:
    """Write the rows of a data set as JSON lines; one line on standard error and status 1 where it fails."""
    import datasets

    try:
        rows = datasets.load_dataset(dataset, config or None, split=split)
    except Exception as error:  # the library has a dozen back ends
        sys.exit(one_line(error))
    with open(out, "w", encoding="ascii") as file:
        for row in rows:
            file.write(json.dumps(row, default=str) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
