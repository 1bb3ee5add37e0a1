"""The environment that every command of this project sets before it imports torch."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from dipo_eval.cpu_env import set_process_env

set_process_env()
# The tests write small files under the benchmarks' names; what is refused without this is in eval/test_data_checks.py.
os.environ["DIPO_ACCEPT_DATA"] = "all"
# No test waits for the hub to be found unreachable; tests/eval/test_hub.py asks for it.
os.environ["HF_HUB_OFFLINE"] = "1"
# A busy machine is no failure: no example has a time limit of its own.
settings.register_profile("dipo", deadline=None)
settings.load_profile("dipo")


@pytest.hookimpl(tryfirst=True)  # before xdist's own, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which tests `make test` gives to one process: those of a file, which share fixtures, and all of the real stack."""
    root = Path(__file__).parent
    for item in items:
        file = item.path.relative_to(root)
        group = file.parts[0] if file.parts[0] == "end_to_end" else str(file)
        item.add_marker(pytest.mark.xdist_group(group))
