"""What a jail wrote: the frames of a record, and what is said of a comparison."""

from __future__ import annotations

import random

import pytest

from dipo_eval.code_runner.compare import Comparison, read
from dipo_eval.code_runner.record import FINISHED, HEADER, RAISED, VALUE, parse


def frame(tag: bytes, data: bytes = b"") -> bytes:
    return HEADER.pack(tag, len(data)) + data


@pytest.mark.parametrize(
    ("output", "count", "stopped", "finished"),
    [
        (b"", 0, "the process ended early", False),
        (frame(VALUE, b"a") + frame(FINISHED), 1, "", True),
        (frame(VALUE, b"a") + frame(RAISED, b"KeyError"), 1, "KeyError", False),
        (frame(VALUE, b"abc")[:-1], 0, "the process ended early", False),
        (frame(b"?", b"abc"), 0, "the process ended early", False),
        (frame(VALUE, b"a") + frame(FINISHED) + frame(VALUE, b"b"), 1, "the process ended early", False),
        (frame(VALUE, b"a") + frame(FINISHED, b"x"), 1, "the process ended early", False),
        (b"V\xff\xff\xff\xff", 0, "the process ended early", False),
    ],
)
def test_frames_are_read_and_damaged_ones_end_the_record(
    output: bytes, count: int, stopped: str, finished: bool
) -> None:
    record = parse(output)
    assert (len(record.results), record.stopped, record.finished) == (count, stopped, finished)


def test_of_a_comparison_only_a_number_and_a_few_letters_are_taken() -> None:
    assert read(b"correct", 7) == Comparison(None, "")
    assert read(b"3 wrong result", 7) == Comparison(3, "wrong result")
    for message in (
        b"", b"correct\n", b"Correct", b" correct", b"7 wrong result", b"-1 wrong result", b"3", b"3 ", b"3 <b>",
        b"3 a\nb",
        "\u0663 wrong result".encode(), b"9" * 5000 + b" x", b"0x3 wrong result", b"3 " + b"\xff" * 9, b"\0correct",
    ):  # fmt: skip
        assert read(message, 7) is None, message


def test_random_bytes_are_no_comparison_and_no_finished_record() -> None:
    draw = random.Random(0)
    for _ in range(20_000):
        data = bytearray(draw.randbytes(draw.randrange(40)))
        if draw.random() < 0.5:
            data[:0] = draw.choice((b"correct", b"3 wrong result", frame(VALUE, b"a"), frame(FINISHED)))
        message = bytes(data)
        assert read(message, 7) is None or message[:1] in b"c0123456"
        assert (read(message, 7) == Comparison(None, "")) == (message == b"correct")
        assert not parse(message).finished or message.endswith(frame(FINISHED))
