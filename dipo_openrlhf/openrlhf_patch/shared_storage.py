"""Does every node of a joined cluster see the run's folder, the prompts and the model? Asked of each by a Ray task."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic

ANSWER_TIMEOUT = 180.0  # seconds: a node may first have to unpack the job's code
_LOOK_FOR = 10.0  # seconds that a file system may take to show a new file
_PREFIX = ".seen-"


def check_shared(ray: Any, folders: dict[str, str], files: dict[str, str]) -> None:
    """Raise UserError for the first path that some node does not see.

    folders: recipe key -> what all nodes write to, files: recipe key -> what they read. A node that does not answer in
    time is named in the log: it may be busy, and the run may not need it.
    """
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if len(nodes) < 2:
        return
    tokens = {key: _write_token(Path(folder)) for key, folder in folders.items()}
    try:
        answers = _ask(ray, list(nodes), {key: str(path) for key, path in tokens.items()} | files)
    finally:
        for path in tokens.values():
            path.unlink(missing_ok=True)
    for node, missing in answers.items():
        if missing is None:
            print(
                f"{nodes[node]} did not say in {ANSWER_TIMEOUT:.0f} s what it sees of the run's files",
                flush=True,
            )
        elif missing:
            key = missing[0]
            raise UserError(
                f"{key}: {(files | folders)[key]!r}: node {nodes[node]} of the Ray cluster does not see it: put it on "
                "storage that every node sees under the same path"
            )


def unseen(paths: dict[str, str], patience: float = _LOOK_FOR) -> list[str]:
    """On a node: keys of the paths that are not there, after `patience` seconds."""
    deadline = time.monotonic() + patience
    while missing := [key for key, path in paths.items() if not Path(path).exists()]:
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


def _ask(ray: Any, nodes: list[str], paths: dict[str, str]) -> dict[str, list[str] | None]:
    """Node id -> keys of what it does not see; None where it does not answer."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(unseen)
    asked = {
        task.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(paths): node
        for node in nodes
    }
    answers: dict[str, list[str] | None] = dict.fromkeys(nodes)
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_TIMEOUT)
    for reference in ready:
        try:
            answers[asked[reference]] = ray.get(reference)
        except ray.exceptions.RayError as error:
            print(f"a node could not look for the run's files: {str(error).splitlines()[0]}", flush=True)
    for reference in late:
        ray.cancel(reference, force=True)
    return answers
