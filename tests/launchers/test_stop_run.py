"""The hook that ends a pod asks the run to save, and waits for its end alone."""

from __future__ import annotations

import threading
import time

import pytest

from dipo_openrlhf.launchers.stop_run import main, stop_run
from dipo_openrlhf.record.events import ENDED, write_event
from dipo_openrlhf.record.stop_request import asked_to_stop


@pytest.mark.parametrize("stages", [[], ["starting"], ["training", "interrupted", ENDED]])
def test_where_nothing_is_trained_it_asks_nothing(tmp_path, stages):
    for stage in stages:
        write_event(tmp_path, stage)
    assert main([str(tmp_path), "--seconds", "50"]) == 0
    assert asked_to_stop(tmp_path) is None


def test_it_waits_until_the_run_has_saved_and_ended(tmp_path):
    write_event(tmp_path, "training")

    def trainer() -> None:
        while asked_to_stop(tmp_path) is None:
            time.sleep(0.01)
        write_event(tmp_path, ENDED)

    thread = threading.Thread(target=trainer)
    thread.start()
    assert stop_run(tmp_path, 60, "the pod is ended", poll=0.01)
    thread.join()
    request = asked_to_stop(tmp_path)
    assert request is not None
    assert (request.reason, request.seconds, request.may_restart) == ("the pod is ended", 60, False)


def test_it_gives_up_when_the_time_is_over(tmp_path):
    write_event(tmp_path, "training")
    assert main([str(tmp_path), "--seconds", "0"]) == 1
