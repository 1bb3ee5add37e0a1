"""Responses that have been paid for: kept as soon as they are there, so that a killed evaluation goes on.

    <results>/.cache/<weights hash>/<unique>.jsonl.zst    one line a request: its key and its generations

Each process appends to a file of its own and reads everybody's, so that evaluations on shared storage need no
lock. Every line ends a zstd block and reaches the operating system at once: kill -9 loses the requests in flight
and at most an unreadable tail. A line that cannot be read is a request that is generated again. The folder can be
deleted at any time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import zstandard

from dipo_eval.engine import Generation, Request, Sampling

FOLDER = ".cache"


class GenerationCache:
    """The generations of one model (`weights_hash`), by request and sampling settings.

    `identity` is whatever else changes what a model answers: engine, dtype, server. With `read` false nothing is
    found, and what is generated is still kept.
    """

    def __init__(
        self, results_dir: Path, weights_hash: str, identity: dict[str, Any], *, read: bool = True
    ) -> None:
        self._folder = results_dir / FOLDER / hashlib.sha256(weights_hash.encode()).hexdigest()[:32]
        self._identity = identity
        self._found: dict[str, list[Generation]] = {}
        self._out: Any = None
        self._file: io.FileIO | None = None
        if read and self._folder.is_dir():
            for path in sorted(self._folder.glob("*.jsonl.zst")):
                self._found.update(records(path))

    def key(self, request: Request, sampling: Sampling) -> str:
        """sha256 over everything that decides a response but the weights. Greedy: the seed does not matter."""
        asked = request.prompt.token_ids or request.prompt.text
        settings: dict[str, Any] = {
            **self._identity, **asdict(sampling), "n": request.n, "max_tokens": request.max_tokens,
            "stop": request.stop, "prompt": asked,
        }  # fmt: skip
        if request.prompt.plain and not request.prompt.token_ids:
            settings["plain"] = True  # to a server, the same text as messages is another prompt
        if sampling.temperature > 0:
            settings["seed"] = request.seed
        else:
            settings.pop("top_p")
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> list[Generation] | None:
        """What was generated under this key, or None."""
        return self._found.get(key)

    def put(self, key: str, generations: list[Generation]) -> None:
        """Keep the generations of a finished request, on disk when the call returns."""
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = io.FileIO(self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:12]}.jsonl.zst", "xb")
            self._out = zstandard.ZstdCompressor(level=3).compressobj()
        line = json.dumps({"key": key, "generations": [asdict(one) for one in generations]}) + "\n"
        data = self._out.compress(line.encode()) + self._out.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        self._found[key] = generations

    def close(self) -> None:
        """End the file; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.closing(file):
                file.write(self._out.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH))


def records(path: Path) -> Iterator[tuple[str, list[Generation]]]:
    """(key, generations) of every whole line of a file, up to where it was cut off or damaged."""
    unreadable = (OSError, zstandard.ZstdError, ValueError, KeyError, TypeError, RecursionError)
    with contextlib.suppress(*unreadable), path.open("rb") as file:
        for line in io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file)):
            if not line.endswith(b"\n"):
                return
            record = json.loads(line)
            yield record["key"], [Generation(**one) for one in record["generations"]]
