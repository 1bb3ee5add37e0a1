"""Does every node of a joined cluster see the run's folder, the prompts and the model? Asked of each by a Ray task."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, one_line
from dipo_eval.files.atomic import write_atomic
from dipo_openrlhf.openrlhf_patch.failures import root_cause

ANSWER_TIMEOUT = 180.0  # seconds: a node may first have to unpack the job's code
_LOOK_FOR = 10.0  # seconds that a file system may take to show a new file
_PREFIX = ".seen-"


def check_shared(ray: Any, folders: dict[str, str], files: dict[str, str]) -> None:
    """Raise UserError for the first path that some node does not see.

    folders: recipe key -> what all nodes write to, files: recipe key -> what they read. A node that does not say what it
    sees is named in the log, with the reason: it may be busy, and the run may not need it.
    """
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if len(nodes) < 2:
        return
    tokens = {key: _write_token(Path(folder)) for key, folder in folders.items()}
    try:
        answers = _ask(ray, list(nodes), files, {key: str(path) for key, path in tokens.items()})
    finally:
        for path in tokens.values():
            path.unlink(missing_ok=True)
    for node, answer in answers.items():
        if isinstance(answer, str):
            print(f"{nodes[node]} did not say what it sees of the run's files: {answer}", flush=True)
        elif answer:
            key = answer[0]
            raise UserError(
                f"{key}: {(files | folders)[key]!r}: node {nodes[node]} of the Ray cluster does not see it, or has no "
                f"right to {'write' if key in folders else 'read'} it: put it on storage that every node sees under the "
                "same path"
            )


def unseen(files: dict[str, str], tokens: dict[str, str], patience: float = _LOOK_FOR) -> list[str]:
    """On a node: keys of the files it may not read, and of the tokens that are not there or in a folder it may not write
    to, after `patience` seconds. A folder that may not be entered hides what is in it.
    """

    def usable() -> set[str]:
        found = {key for key, path in files.items() if os.access(path, os.R_OK)}
        for key, path in tokens.items():
            if os.access(path, os.F_OK) and os.access(os.path.dirname(path), os.W_OK | os.X_OK):
                found.add(key)
        return found

    deadline = time.monotonic() + patience
    while missing := sorted({*tokens, *files} - usable(), key=[*tokens, *files].index):
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    return missing


def _write_token(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = (
        folder / f"{_PREFIX}{uuid.uuid4().hex}"
    )  # a name that no node has looked for, and remembers as missing
    write_atomic(path, b"")
    return path


def _ask(
    ray: Any, nodes: list[str], files: dict[str, str], tokens: dict[str, str]
) -> dict[str, list[str] | str]:
    """Node id -> keys of what it does not see; a string where it does not say: why."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(unseen)
    asked = {
        task.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(files, tokens): node
        for node in nodes
    }
    answers: dict[str, list[str] | str] = {}
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_TIMEOUT)
    for reference in ready:
        try:
            answers[asked[reference]] = ray.get(reference)
        except ray.exceptions.RayError as error:
            answers[asked[reference]] = one_line(
                root_cause(error)
            )  # Ray's own text has colours of a terminal
    for reference in late:
        ray.cancel(reference, force=True)
        answers[asked[reference]] = f"no answer in {ANSWER_TIMEOUT:.0f} s"
    return answers
