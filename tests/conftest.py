"""The environment that every command of this project sets before it imports torch."""

import gc
import os
from typing import Any

import pytest
from hypothesis import settings

from dipo_eval.engines.device import set_process_env
from dipo_eval.workers.cores import usable_cores
from dipo_openrlhf.estimate.machine import Machine

set_process_env()
# The tests write small files under the benchmarks' names; tests/eval/suites/test_data_checks.py is without this.
os.environ["DIPO_ACCEPT_DATA"] = "all"
# No test waits for the hub to be found unreachable; tests/eval/suites/test_hub.py does.
os.environ["HF_HUB_OFFLINE"] = "1"
END_TO_END = "/end_to_end/"
MOST_PROCESSES = 8
"""More would wait for the real stack's tests, of which one process has all."""
PROCESS_GIB = 3
"""A test process with torch, vLLM and what it starts."""
# A busy machine is no failure: no example has a time limit of its own.
settings.register_profile("dipo", deadline=None)
settings.load_profile("dipo")


def pytest_configure(config: pytest.Config) -> None:
    """Test processes side by side: two threads each would wait for one another's cores at every product."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The real stack's tests first: one process has them all (below), and the others must not wait for it at the end."""
    items.sort(key=lambda item: END_TO_END not in item.nodeid)


def pytest_collection_finish() -> None:
    leave_to_rest()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is not None and nextitem.path != item.path:
        leave_to_rest()


def leave_to_rest() -> None:
    """What is imported and collected by now is no garbage: looked through again, it takes a second at every gc.collect,
    of which engines and libraries make hundreds.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One for each core, where there is memory; two at least, since the real stack waits a good deal."""
    return max(2, min(MOST_PROCESSES, usable_cores(), int(Machine().memory() / PROCESS_GIB)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of `make test`'s processes: a file's tests, which share fixtures, stay together, as do all of the real stack.

    xdist's own groups (loadgroup) do nothing with pytest 9.2, whose node ids can no longer be changed.
    """
    from xdist.scheduler import LoadScopeScheduling

    class TogetherScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return END_TO_END if END_TO_END in file else file

    return TogetherScheduling(config, log)
