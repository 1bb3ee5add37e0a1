"""A cluster whose nodes do not see the run's files is refused in one line, by asking every node.

The second node is in a mount namespace of its own, where one folder is another file system.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import RayTaskError

from dipo_eval.errors import UserError
from dipo_openrlhf.openrlhf_patch.shared_storage import check_shared, unseen

SECOND = "127.0.0.3"
NODE = 'mount -t tmpfs none "$1" && shift && exec "$@"'
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces are made by root")


def test_what_a_node_does_not_see(tmp_path):
    (tmp_path / "here").touch()
    (tmp_path / "here").touch()
    files = {"data.prompt_dataset": str(tmp_path / "here"), "actor.model_name_or_path": str(tmp_path / "not")}
    tokens = {"run.dir": str(tmp_path / "not" / "token"), "ckpt.path": str(tmp_path / "here")}
    assert unseen(files, tokens, patience=0) == ["run.dir", "actor.model_name_or_path"]


ASKS = """
import os, sys
from dipo_openrlhf.openrlhf_patch.shared_storage import unseen
os.setgid(65534), os.setuid(65534)
folder = sys.argv[1]
files = {"closed": f"{folder}/closed/file", "private": f"{folder}/private", "open": f"{folder}/open"}
print(*unseen(files, {"folder": f"{folder}/token", "in closed": f"{folder}/closed/token"}, patience=0), sep=",")
"""


@needs_root
def test_what_a_nodes_user_may_not_use(tmp_path):
    """Where a folder may not be entered, to ask whether a file is there raises PermissionError."""
    with tempfile.TemporaryDirectory(prefix="dipo-shared-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "closed").mkdir(mode=0o700)
        for path in ("closed/file", "closed/token", "private", "open", "token"):
            (folder / path).touch()
        (folder / "private").chmod(0o600)
        words = [sys.executable, "-c", ASKS, name]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == "folder,in closed,closed,private\n", done.stderr


class SilentNodes:
    """What check_shared calls of a Ray of two nodes: the task of one raises, that of the other does not end."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.references = ["raises", "is late"]

    def nodes(self) -> list[dict[str, object]]:
        return [
            {"NodeID": digit * 56, "NodeManagerAddress": f"10.0.0.{digit}", "Alive": True} for digit in "12"
        ]

    def remote(self, *given: object) -> object:
        return self if len(given) == 1 else self.references.pop(0)

    def options(self, **settings: object) -> object:
        return self

    def wait(self, references: list[str], **settings: object) -> tuple[list[str], list[str]]:
        return references[:1], references[1:]

    def get(self, reference: str) -> object:
        raise RayTaskError("unseen", "\x1b[36mray::unseen()\x1b[39m (pid=1)", MemoryError("no memory"))

    def cancel(self, reference: str, force: bool) -> None:
        assert reference == "is late"


def test_a_node_that_does_not_say_is_named_with_the_reason(tmp_path, capsys):
    check_shared(SilentNodes(), {"run.dir": str(tmp_path)}, {})
    assert capsys.readouterr().out.splitlines() == [
        "10.0.0.1 did not say what it sees of the run's files: MemoryError: no memory",
        "10.0.0.2 did not say what it sees of the run's files: no answer in 180 s",
    ]


@pytest.fixture(scope="module")
def local_folder() -> Iterator[Path]:
    """On the driver's node alone; the cluster of both nodes is joined."""
    folder = Path(tempfile.mkdtemp(prefix="dipo-local-", dir="/tmp"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    words = ["unshare", "--mount", "bash", "-c", NODE, "bash", str(folder)]
    words += [
        str(Path(sys.executable).with_name("ray")),
        "start",
        f"--address={cluster.address}",
        "--num-cpus=1",
    ]
    words += [f"--node-ip-address={SECOND}", "--disable-usage-stats", "--block"]
    second = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        deadline = time.monotonic() + 200
        while sum(node["Alive"] for node in ray.nodes()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        yield folder
    finally:
        ray.shutdown()
        for process in [*psutil.Process(second.pid).children(recursive=True), second]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        second.wait(20)
        cluster.shutdown()
        shutil.rmtree(folder)


@needs_root
def test_storage_that_all_nodes_see_passes(local_folder, tmp_path):
    (tmp_path / "prompts.jsonl").touch()
    folders = {"run.dir": str(tmp_path / "run"), "ckpt.path": str(tmp_path / "run" / "ckpt")}
    check_shared(ray, folders, {"data.prompt_dataset": str(tmp_path / "prompts.jsonl")})
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [], "nothing stays behind"


@needs_root
@pytest.mark.parametrize("key", ["run.dir", "actor.model_name_or_path"])
def test_what_one_node_does_not_see_is_a_one_line_error(local_folder, tmp_path, key):
    (local_folder / "model").touch()
    folders = {"run.dir": str(local_folder if key == "run.dir" else tmp_path)}
    files = {} if key == "run.dir" else {key: str(local_folder / "model")}
    with pytest.raises(UserError) as raised:
        check_shared(ray, folders, files)
    path = {**folders, **files}[key]
    assert str(raised.value) == (
        f"{key}: {path!r}: node {SECOND} of the Ray cluster does not see it, or has no right to "
        f"{'write' if key == 'run.dir' else 'read'} it: put it on storage that every node sees under the same path"
    )
    assert not list(local_folder.glob(".*"))
