"""Any program behind a pool: order of questions, errors, deaths, what a worker sees of its parent."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_eval.workers.pool import WorkerPool
from dipo_eval.workers.process import Program, WorkerStartError

SERVED = """
import os, pathlib, resource, time
def load(settings):
    if settings.get("broken"):
        raise OSError(settings["broken"])
    seen = []
    def answer(task):
        seen.append(task["do"])
        print("noise that must not reach the protocol")
        if task["do"] == "die":
            with open(pathlib.Path(settings["log"]), "a") as log:
                log.write("died ")
            os._exit(1)
        if task["do"] == "sleep":
            time.sleep(60)
        if task["do"] == "raise":
            raise {"memory": MemoryError, "depth": RecursionError, "other": ValueError}[task["what"]]
        if task["do"] == "environment":
            return {"variables": sorted(os.environ), "folder": os.listdir(settings["folder"])}
        if task["do"] == "limits":
            return {"limits": [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_CORE)]}
        return {"seen": seen}
    return answer
"""
Open = Callable[..., WorkerPool]


@pytest.fixture
def open_pool(tmp_path: Path) -> Iterator[Open]:
    (tmp_path / "served.py").write_text(SERVED)
    made: list[WorkerPool] = []

    def opened(**settings: str) -> WorkerPool:
        program = Program(
            "served:load", {"log": str(tmp_path / "log"), **settings}, 2**30, variables={"PYTHONPATH": str(tmp_path)}
        )  # fmt: skip
        made.append(
            WorkerPool(lambda: program, start_error=lambda error: UserError(f"{error.kind}: {error}"))
        )
        return made[-1]

    yield opened
    for pool in made:
        pool.close()


def test_one_worker_answers_all_questions_of_a_caller_in_order(open_pool: Open) -> None:
    pool = open_pool()
    before = [({"do": "first"}, 30.0), ({"do": "second"}, 30.0)]
    assert pool.ask({"do": "last"}, 30.0, before=before) == {"seen": ["first", "second", "last"]}


@pytest.mark.parametrize(
    ("what", "reason"),
    [("memory", "memory limit"), ("depth", "nested too deeply"), ("other", "raised ValueError")],
)
def test_what_an_answer_raises_is_a_reason_and_the_worker_goes_on(
    open_pool: Open, what: str, reason: str
) -> None:
    pool = open_pool()
    assert pool.ask({"do": "raise", "what": what}, 30.0) == {"reason": reason}
    assert pool.ask({"do": "next"}, 30.0) == {"seen": ["raise", "next"]}


def test_a_death_is_tried_once_more_but_not_after_an_answer(open_pool: Open, tmp_path: Path) -> None:
    pool = open_pool()
    assert pool.ask({"do": "die"}, 30.0) == {"reason": "worker lost: ended"}
    assert (tmp_path / "log").read_text() == "died died "
    assert pool.ask({"do": "die"}, 30.0, before=[({"do": "first"}, 30.0)])["reason"] == "worker lost: ended"
    assert (tmp_path / "log").read_text() == "died died died "
    assert pool.ask({"do": "next"}, 30.0) == {"seen": ["next"]}


def test_a_late_answer_ends_its_worker_and_a_program_that_does_not_load_is_an_error(open_pool: Open) -> None:
    pool = open_pool()
    pool.ask({"do": "first"}, 30.0)
    worker = pool.workers()[0]
    assert pool.ask({"do": "sleep"}, 0.5) == {"reason": "time limit"}
    assert worker.process.poll() is not None
    assert not Path(worker.folder).exists()
    with pytest.raises(UserError, match="OSError: no data") as error:
        open_pool(broken="no data").ask({"do": "first"}, 30.0)
    assert isinstance(error.value.__cause__, WorkerStartError)


def test_a_worker_has_limits_a_folder_and_no_secret(open_pool: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPO_TEST_TOKEN", "secret")
    pool = open_pool()
    found = pool.ask({"do": "environment"}, 30.0)
    assert "DIPO_TEST_TOKEN" not in found["variables"]
    assert found["folder"] == []
    assert pool.ask({"do": "limits"}, 30.0) == {"limits": [2**30, 0]}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_workers_of_its_own(open_pool: Open) -> None:
    pool = open_pool()
    assert pool.ask({"do": "parent"}, 30.0) == {"seen": ["parent"]}
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        answer = pool.ask({"do": "child"}, 30.0)
        pool.close()
        os._exit(0 if answer == {"seen": ["child"]} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert pool.ask({"do": "parent"}, 30.0) == {"seen": ["parent", "parent"]}
