"""A command that only tells something imports nothing heavy: torch alone takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dipo_openrlhf.cli import COMMANDS

HEAVY = (
    "torch", "ray", "vllm", "transformers", "datasets", "sympy", "deepspeed", "openrlhf", "numpy", "scipy", "pandas",
    "pyarrow", "tokenizers", "huggingface_hub", "wandb", "jinja2", "starlette", "uvicorn", "httpx", "requests",
)  # fmt: skip
ASKED = [["--help"], ["--version"], ["recipes"], *([name, "--help"] for name in COMMANDS)]
CODE = """
import contextlib, io, json, sys
from dipo_openrlhf.cli import app
found, heavy = [], set(sys.argv[2].split())
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        app(words)
    found.append([words, sorted(heavy & set(sys.modules)), said.getvalue()])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, ...], tuple[list[str], str]]:
    """Words -> (the heavy modules that are there when it has been answered, the answer), in one process."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE, json.dumps(ASKED), " ".join(HEAVY)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {tuple(words): (heavy, said) for words, heavy, said in json.loads(done.stdout)}


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_nothing_heavy_is_imported(
    answers: dict[tuple[str, ...], tuple[list[str], str]], words: list[str]
) -> None:
    heavy, said = answers[tuple(words)]
    assert heavy == []
    assert said.strip()
