"""One training of the quickstart's recipe on a small model, as a user has it in a folder, before and after mistakes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dipo_openrlhf import cli
from dipo_openrlhf.recipe.files import BUILT_IN
from dipo_openrlhf.recipe.yaml_lines import read_settings

Edit = Callable[[bytes], bytes]
DEADLINE = 60  # seconds of one command
QUICKSTART = {key: one.value for key, one in read_settings(BUILT_IN / "quickstart.yaml").items()}
ROWS = [{"input": f"{a} + {b} = ?", "label": str(a + b)} for a in range(8) for b in range(8)]
REWARD = """\
def reward_func(queries, prompts, labels):
    right = [float(label in query[len(prompt):]) for query, prompt, label in zip(queries, prompts, labels)]
    return {"rewards": right, "scores": right, "extra_logs": {"length": [float(len(query)) for query in queries]}}
"""


@dataclass
class Case:
    """What a user has, and what was done to it: `told`. An error must contain one of `names`."""

    folder: Path
    model: Path
    random: random.Random
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[Any] = field(default_factory=lambda: [dict(row) for row in ROWS])
    words: list[str] = field(default_factory=list)  # after `dipo train`
    recipe_edits: list[Edit] = field(default_factory=list)
    data_edits: list[Edit] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings |= QUICKSTART | {
            "actor.model_name_or_path": str(self.model),
            "data.prompt_dataset": "prompts.jsonl",
            "evaluate.limit": 4,
        }
        self.words = ["mine.yaml", *self.words]

    def say(self, what: str, *names: str) -> None:
        self.told.append(what)
        self.names += names

    def write(self) -> None:
        """The files, except those that a mistake has put there itself."""
        nested = self.random.random() < 0.5
        text = yaml.safe_dump(
            _nested(self.settings) if nested else self.settings, allow_unicode=True
        ).encode()
        rows = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in self.rows).encode()
        for name, content, edits in (
            ("mine.yaml", text, self.recipe_edits),
            ("prompts.jsonl", rows, self.data_edits),
        ):
            for edit in edits:
                content = edit(content)
            if not (self.folder / name).exists():
                (self.folder / name).write_bytes(content)


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in settings.items():
        *above, last = key.split(".")
        inner = made
        for part in above:
            inner = inner.setdefault(part, {}) if isinstance(inner.get(part, {}), dict) else inner
        inner[last] = value
    return made


class HangError(BaseException):
    """Past the deadline; no handler of the command's catches it."""


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


@contextlib.contextmanager
def _deadline(seconds: int) -> Iterator[None]:
    def end(number: int, frame: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(folder: Path, words: list[str]) -> Ended:
    """`dipo WORDS` in a folder, in this process: its main function with its exit status and both streams."""
    argv, here, handlers = sys.argv, Path.cwd(), {}
    for number in (signal.SIGTERM, signal.SIGUSR1):
        handlers[number] = signal.getsignal(number)
    out, err = io.StringIO(), io.StringIO()
    status = 0
    sys.argv = ["dipo", *words]
    os.chdir(folder)
    try:
        with _deadline(DEADLINE), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        os.chdir(here)
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Ended(status, out.getvalue(), err.getvalue())


def contents(folder: Path) -> dict[str, str]:
    """Path -> hash of everything in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }
