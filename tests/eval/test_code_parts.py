"""Code grading without evalplus: finding the program, carrying results, data files, the environment, the jail."""

from __future__ import annotations

import collections
import datetime
import fractions
import gzip
import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dipo_eval.code_runner import values
from dipo_eval.code_runner.record import FINISHED, HEADER, RAISED, VALUE, parse
from dipo_eval.errors import UserError
from dipo_eval.grading import code_env
from dipo_eval.grading.code_extract import defines, extract_code, fenced_blocks

PROMPT = "from typing import List\n\n\ndef f(x: int) -> int:\n    '''Doc.'''\n"
CODE = "def f(x):\n    return x\n"

RESPONSES = {
    "fenced": (f"Sure:\n```python\n{CODE}```\nDone.", CODE),
    "the last block that defines it": (
        f"```python\ndef f(x): pass\n```\n```py\n{CODE}```\n```python\nf(3)\n```",
        CODE,
    ),
    "no language": (f"```\n{CODE}```", CODE),
    "tildes": (f"~~~Python3\n{CODE}~~~", CODE),
    "truncated": (f"```python\n{CODE}", CODE),
    "in a list": ("1. So:\n   ```python\n   def f(x):\n       return x\n   ```", CODE),
    "carriage returns": (f"```python\r\n{CODE}```".replace("\n", "\r\n").replace("\r\r", "\r"), CODE),
    "longer fence": (f"````python\n{CODE}```\n````", f"{CODE}```\n"),
    "another language": (f"```bash\npip install f\n```\n```python\n{CODE}```", CODE),
    "bare": (CODE, CODE),
    "assigned": ("```python\nf = lambda x: x\n```", "f = lambda x: x\n"),
    "annotated": ("f: object = abs", "f: object = abs"),
    "completion": ("    return x\n", PROMPT + "    return x\n"),
    "completion in a block": ("```python\nreturn x\n```", PROMPT + "    return x\n"),
    "nothing": ("", None),
    "spaces": (" \n ", None),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_the_program_is_found(name: str) -> None:
    response, expected = RESPONSES[name]
    assert extract_code(response, "f", PROMPT) == expected


def test_prose_without_a_prompt_to_complete_is_no_program() -> None:
    assert extract_code("I think f is hard.", "f") is None
    assert extract_code("```python\ndef g(): pass\n```", "f") is None
    assert not defines("  def f(): pass", "f")
    assert not defines("f == 1", "f")
    assert not defines("def ff(): pass", "f")


@pytest.mark.parametrize(
    "text", ["`" * 2_000_000, "```\n" * 500_000, "def " * 500_000, "\n" * 2_000_000, "f:" * 500_000]
)
def test_hostile_responses_take_no_time(text: str) -> None:
    code = extract_code(text, "f", PROMPT)
    assert code is None or len(code) < 200_000
    assert len(fenced_blocks("```\nx\n```")) == 1


PLAIN = [
    1, -0.5, True, None, "text", b"bytes", bytearray(b"x"), 1 + 2j, (1, [2, {3: {4}}]), frozenset({1}), range(3),
    10**400, collections.Counter("aab"), collections.deque([1]), collections.OrderedDict(a=1),
    fractions.Fraction(1, 3), datetime.date(2026, 1, 1), float("inf"), "x" * 200_000,
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:20])
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    back = values.load(values.dump(value))
    assert back == value
    assert type(back) is type(value)


class AnyInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class AnyObject:
    def __eq__(self, other: object) -> bool:
        return True

    def __reduce__(self) -> Any:
        return (os.system, ("true",))


def test_values_of_other_classes_lose_their_ways() -> None:
    assert values.load(values.dump(AnyInt(7))) != 8
    assert values.load(values.dump([AnyInt(7)])) == [7]
    assert values.load(values.dump(AnyObject())) != 1
    assert values.load(values.dump(len)) is not None
    assert values.load(values.dump(collections.namedtuple("P", "x y")(1, 2))) == (1, 2)
    assert values.load(values.dump(collections.defaultdict(lambda: 0, a=1))) == {"a": 1}
    stream = values.load(values.dump(n for n in (1, 2)))
    assert stream != [1, 2]
    assert set(stream) == {1, 2}


def test_numbers_of_numpy_keep_their_kind() -> None:
    back = values.load(values.dump(np.float32(0.5)))
    assert (back, type(back)) == (np.float32(0.5), np.float32)
    array = values.load(values.dump(np.array([[1, 2], [3, 4]])))
    assert array.shape == (2, 2)
    assert values.load(values.dump(np.array([object()]))) is not None


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(AnyObject()),
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cdipo_eval.code_runner.values\npickle\n.",
        b"c__main__\nint\n.",
        b"",
        b"garbage",
    ],
)
def test_anything_else_is_not_read(data: bytes) -> None:
    for tag in (b"-", b"z", b""):
        with pytest.raises(Exception):  # noqa: B017, PT011  (whatever the unpickler or zlib says)
            values.load(tag + data)


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
        (b"V\xff\xff\xff\xff", 0, "the process ended early", False),
    ],
)
def test_frames_are_read_and_damaged_ones_end_the_record(
    output: bytes, count: int, stopped: str, finished: bool
) -> None:
    record = parse(output)
    assert (len(record.results), record.stopped, record.finished) == (count, stopped, finished)


def test_a_missing_environment_says_how_to_make_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIPO_EVALPLUS_PYTHON", str(tmp_path / "none"))
    with pytest.raises(UserError, match="run `make evalplus`, or set DIPO_EVALPLUS_PYTHON"):
        code_env.evalplus_python()
    wrong = tmp_path / "python"
    wrong.write_text("#!/bin/sh\necho 0.2.0\n")
    wrong.chmod(0o755)
    monkeypatch.setenv("DIPO_EVALPLUS_PYTHON", str(wrong))
    with pytest.raises(UserError, match=r"has no evalplus 0\.3\.1 \(found: 0\.2\.0\)"):
        code_env.evalplus_python()


def test_data_that_is_missing_damaged_or_not_official_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIPO_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("DIPO_DATA_DIR", "HUMANEVAL_OVERRIDE_PATH", "MBPP_OVERRIDE_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="--data-dir or the variable DIPO_DATA_DIR"):
        code_env.data_path("mbpp")
    with pytest.raises(UserError, match="cannot be read"):
        code_env.data_path("mbpp", tmp_path)
    path = tmp_path / code_env.DATASETS["mbpp"][1]
    path.write_bytes(b"torn")
    with pytest.raises(UserError, match="not a whole gzip file"):
        code_env.data_path("mbpp", tmp_path)
    path.write_bytes(gzip.compress(b"{}"))
    with pytest.raises(UserError, match="has md5"):
        code_env.data_path("mbpp", tmp_path)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setenv("MBPP_OVERRIDE_PATH", str(path))
    with pytest.raises(UserError, match="has md5"):
        code_env.data_path("mbpp")


JAIL_SCRIPT = """
import json, os, sys, time
sys.path.append(sys.argv[1])
from dipo_eval.code_runner import jail, probe
limits = jail.Limits()
namespaces = sys.argv[3] == "namespaces"
def run(inmate, seconds=5.0):
    made = jail.run_jailed(inmate, seconds, limits, sys.argv[2], namespaces=namespaces)
    return [made.ended, made.output.decode()[:2000], made.detail]
def bomb(descriptor):
    for _ in range(40):
        try: os.fork()
        except OSError: pass
    time.sleep(60)
found = {"probe": run(lambda d: probe.report(d, limits, sys.argv[1]))}
held = json.loads(found["probe"][1] or "{}")
found["flood"] = run(lambda d: [os.write(d, b"x" * 10**6) for _ in range(1000)])
found["sleep"] = run(lambda d: time.sleep(60), 0.5)
if held.get("user") and held.get("processes"):
    found["kill"] = run(lambda d: os.kill(-1, 9))
    found["bomb"] = run(bomb, 1.0)
children = os.popen("ps -o pid= --ppid %d" % os.getpid()).read().split()
print(json.dumps([found, len(os.listdir("/proc/self/task")), children]))
"""


@pytest.mark.parametrize("user", [None, 54321], ids=["ours", "another user"])
@pytest.mark.parametrize("way", ["namespaces", "weak"])
def test_the_jail_holds_for_every_user(user: int | None, way: str, tmp_path: Path) -> None:
    """With the system's own Python, which every user may read: root, and one without rights."""
    python = Path("/usr/bin/python3")
    if not python.exists() or (user is not None and os.getuid() != 0):
        pytest.skip("needs /usr/bin/python3, and root to become another user")
    package = Path(__file__).resolve().parents[2] / "eval" / "dipo_eval"
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    code = tmp_path / "code" / "dipo_eval" / "code_runner"
    code.mkdir(parents=True)
    (code.parent / "__init__.py").touch()
    for file in (package / "code_runner").glob("*.py"):
        (code / file.name).write_bytes(file.read_bytes())
    mount_point = tmp_path / "mount"
    mount_point.mkdir()
    witness = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        done = subprocess.run(
            [str(python), "-c", JAIL_SCRIPT, str(tmp_path / "code"), str(mount_point), way],
            capture_output=True, text=True, timeout=120, check=False, cwd="/", user=user, group=user,
            extra_groups=[] if user else None, env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert witness.poll() is None
    finally:
        witness.kill()
        witness.wait()
    assert done.returncode == 0, done.stderr
    found, threads, children = json.loads(done.stdout)
    if found["probe"][0] == "jail":
        pytest.skip(f"no namespaces here: {found['probe'][2]}")
    held = json.loads(found["probe"][1])
    missing = {name for name, holds in held.items() if not holds}
    expected = set() if way == "namespaces" else {"network", "files", "signals"}
    assert missing == expected | ({"user"} if way == "weak" and user else set())
    assert found["flood"][0] == "size"
    assert found["sleep"][0] == "time"
    assert found.get("kill", ["done"])[0] == "done"
    assert found.get("bomb", ["time"])[0] == "time"
    assert threads == 1
    assert len(children) <= 2, children  # ps itself and its shell
    assert list(mount_point.iterdir()) == []
