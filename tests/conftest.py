"""The environment that every command of this project sets before it imports torch."""

import os

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
