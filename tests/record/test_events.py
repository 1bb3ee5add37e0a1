"""events.jsonl survives what a killed process leaves, and whatever else stands in it."""

from __future__ import annotations

import pytest

from dipo_openrlhf.record.events import ENDED, EVENTS, read_events, write_event


def stages(run_dir):
    return [event["stage"] for event in read_events(run_dir)]


@pytest.mark.parametrize(
    "left",
    [b'{"time": 1, "sta', b'{"stage": "x"', b"\xff\xfe", b"null", b"[1]\n", b'{"stage": 3}', b"[" * 5000],
)
def test_a_half_or_odd_line_loses_no_event(tmp_path, left):
    write_event(tmp_path, "training")
    with open(tmp_path / EVENTS, "ab") as file:
        file.write(left)
    write_event(tmp_path, ENDED, note="é")
    assert stages(tmp_path) == ["training", ENDED]


def test_none_is_an_empty_list(tmp_path):
    assert read_events(tmp_path) == []
