"""A request to stop: the first one counts, and a new attempt knows nothing of it."""

from __future__ import annotations

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.record.stop_request import STOP, StopRequest, ask_to_stop, asked_to_stop, withdraw_stop


def test_the_first_request_stays_until_it_is_withdrawn(tmp_path):
    assert asked_to_stop(tmp_path) is None
    first = StopRequest("SIGUSR1", 90.0, may_restart=True)
    ask_to_stop(tmp_path, first)
    ask_to_stop(tmp_path, StopRequest("the pod is ended"))
    assert asked_to_stop(tmp_path) == first
    withdraw_stop(tmp_path)
    withdraw_stop(tmp_path)
    assert asked_to_stop(tmp_path) is None


@pytest.mark.parametrize(
    "more",
    [
        ', "seconds": "soon"',
        ', "seconds": null',
        ', "seconds": -5',
        f', "seconds": {"9" * 401}',
        "",
    ],
)
def test_one_written_by_hand_is_a_request(tmp_path, more):
    (tmp_path / STOP).write_text('{"reason": "x"' + more + "}")
    assert asked_to_stop(tmp_path) == StopRequest("x")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"reason": "x", "seconds": 1e999}'])
def test_what_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / STOP).write_text(text)
    assert asked_to_stop(tmp_path) is None


def test_a_folder_of_that_name_is_one_line(tmp_path):
    (tmp_path / STOP).mkdir()
    assert asked_to_stop(tmp_path) is None
    with pytest.raises(UserError, match=r"STOP\.json: .*: remove it"):
        withdraw_stop(tmp_path)
