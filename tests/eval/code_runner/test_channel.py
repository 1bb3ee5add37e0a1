"""The result channel, attacked: 100,000 random and changed results are compared, and none passes for another."""

from __future__ import annotations

import json
import runpy
import subprocess
from pathlib import Path

import pytest

from dipo_eval.grading.code.grade import CodeGrader

helpers = runpy.run_path(str(Path(__file__).parents[1] / "code_helpers.py"))
COUNT = 100_000
BATCH = 2_000

# In evalplus's environment: each batch is one record of results that were changed at random, compared with what is
# expected in a jail of its own, as judge.py does. A result may be accepted only where it reads as an equal value.
FUZZ = """
import collections, json, os, random, sys, tempfile
sys.path.append(sys.argv[1])
import evalplus.eval, numpy
from dipo_eval.code_runner import compare, jail, record, wire
from dipo_eval.code_runner.record import Tests
walls, count, batch = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
place = jail.Place(tempfile.mkdtemp(), walls)
draw = random.Random(7)
VALUES = [True, 7, 2.5, "text", [1, 2.5], (1, "a"), {"a": 1}, {1, 2}, None, 10**30, 1 + 2j, [], [0.5, 0.25],
          collections.Counter("aab"), [("a", "b")] * 3, [[1], [2]], "", 0, b"x", [None], [True, False]]
SEEDS = [wire.dump(value) for value in [*VALUES, numpy.arange(3.0), numpy.float64(2), iter([1]), len, 0.1, -1, "other"]]
def changed(data):
    data = bytearray(data)
    for _ in range(draw.randint(1, 5)):
        at = draw.randrange(len(data) + 1)
        data[at : at + draw.randint(0, 3)] = draw.choice([draw.randbytes(draw.randint(0, 4)), draw.choice(SEEDS)])
    return bytes(data)
def forged(results):
    frames = [record.HEADER.pack(b"V", len(data)) + data for data in results]
    return b"".join(frames) + record.HEADER.pack(b"E", 0)
def equal(data, expected):
    try:
        value = wire.load(data)
        if value == expected:
            return True
        return isinstance(expected, (float, list)) and numpy.allclose(value, expected, rtol=1e-7, atol=1e-6)
    except Exception:
        return False
accepted = wrong = unread = 0
for start in range(0, count, batch):
    expected = [draw.choice(VALUES) for _ in range(batch)]
    results = [changed(draw.choice(SEEDS) if draw.random() < 0.9 else draw.randbytes(60)) for _ in expected]
    tests = Tests("humaneval", "f", [[] for _ in expected], expected, [5.0] * batch, 0)
    def inmate(descriptor):
        found = compare.accepted_tests(tests, record.parse(forged(results)), 8 * 1024**3)
        os.write(descriptor, bytes(found))
    outcome = jail.run_jailed(inmate, 120, jail.Limits(8 * 1024**3), place)
    assert outcome.ended == "done" and len(outcome.output) == batch, outcome
    for data, value, good in zip(results, expected, outcome.output):
        if good:
            accepted += 1
            wrong += not equal(data, value)
    whole = jail.run_jailed(
        lambda d: compare.compare(tests, forged(results), d, 8 * 1024**3), 120, jail.Limits(8 * 1024**3), place)
    assert whole.output != b"correct", whole
    for _ in range(20):  # the frames themselves
        output = changed(forged(results[:5]))
        assert not record.parse(output).finished or output.endswith(record.HEADER.pack(b"E", 0))
print(json.dumps({"accepted": accepted, "wrong": wrong, "left": os.listdir(place.mount_point)}))
"""


grader = pytest.fixture(scope="module")(helpers["open_grader"])


def test_no_changed_result_passes_for_another(grader: CodeGrader) -> None:
    root = Path(__file__).resolve().parents[3] / "eval"
    done = subprocess.run(
        [str(helpers["python"]()), "-c", FUZZ, str(root), grader.walls[0], str(COUNT), str(BATCH)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == 0
    assert found["accepted"] < COUNT / 10  # those that read as the very value
    assert found["left"] == []
