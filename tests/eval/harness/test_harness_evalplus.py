"""evalplus's own verdicts beside ours: what it passes and we do not is listed, and nothing leaves the jail."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading.code.extract import extract_code
from dipo_eval.grading.code.grade import CodeGrader
from dipo_eval.harness import evalplus
from dipo_eval.harness.report import official_scores
from dipo_eval.results.store import write_suite

helpers = runpy.run_path(str(Path(__file__).parents[1] / "code_helpers.py"))

ENTRY = "has_close_elements"
HEADER = f"def {ENTRY}(numbers, threshold):\n"
RIGHT = (
    HEADER + "    return any(abs(a - b) < threshold for i, a in enumerate(numbers) for b in numbers[:i])\n"
)
LIAR = "class Liar:\n    def __eq__(self, other):\n        return True\n" + HEADER + "    return Liar()\n"
HANGS = HEADER + "    while True:\n        pass\n"
FORGES = HEADER + (
    "    import posix\n"
    "    for descriptor in range(3, 64):\n"
    "        try:\n"
    '            posix.write(descriptor, b\'{"base": "pass", "plus": "pass"}\')\n'
    "        except OSError:\n"
    "            pass\n"
    "    posix._exit(0)\n"
    "    return True\n"
)
FORKS = HEADER + (
    "    import posix, time\n"
    "    for _ in range(40):\n"
    "        try:\n"
    "            posix.fork()\n"
    "        except OSError:\n"
    "            pass\n"
    "    time.sleep(300)\n"
    "    return True\n"
)


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    helpers["python"]()
    monkeypatch.setenv("DIPO_DATA_DIR", str(helpers["data_dir"]()))
    grader = CodeGrader()
    try:
        grader.limits()
    except UserError as error:
        pytest.skip(str(error))
    finally:
        grader.close()


def fenced(code: str) -> str:
    return f"Here it is:\n```python\n{code}```\nIt works."


def official(folder: Path, programs: list[str], statuses: list[str]) -> dict[str, Any]:
    rows = [
        {
            "item_id": "HumanEval/0", "sample": number, "prompt": "", "response": fenced(program),
            "gold": "HumanEval/0", "entry_point": ENTRY, "status": status, "reason": "ours",
        }
        for number, (program, status) in enumerate(zip(programs, statuses, strict=True))
    ]  # fmt: skip
    result = write_suite(folder, rows, {"suite": "humaneval+"})
    return official_scores(folder, result, evalplus.HARNESS)


def test_base_and_plus_beside_ours_and_what_fools_it_is_listed(tmp_path: Path) -> None:
    programs = [RIGHT, LIAR, HEADER + "    return True\n", HANGS, "nothing\n"]
    with_ours = []
    grader = CodeGrader(data_dir=helpers["data_dir"]())
    try:
        for program in programs:
            with_ours.append(grader.grade("HumanEval/0", extract_code(fenced(program), ENTRY)).plus.status)
    finally:
        grader.close()
    found = official(tmp_path, programs, with_ours)
    assert [one["scores"] for one in found["per_sample"]] == [
        {"base": value, "plus": value} for value in (1.0, 1.0, 0.0, 0.0, 0.0)
    ]
    assert found["metrics"] == {
        "pass@1,base": {"value": pytest.approx(0.4), "n": 5, "ours": None, "disagreements": None},
        "pass@1,plus": {"value": pytest.approx(0.4), "n": 5, "ours": 0.2, "disagreements": 1},
    }
    assert found["disagreements"] == [
        {
            "item_id": "HumanEval/0", "sample": 1, "metric": "pass@1,plus", "ours": "wrong", "our_reason": "ours",
            "theirs": 1.0, "their_reason": "base: pass, plus: pass",
        }
    ]  # fmt: skip


def test_no_program_reaches_the_machine_the_verdict_or_outlives_its_jail(tmp_path: Path) -> None:
    """In a jail none of these is right: a file of ours is not there, a verdict cannot be forged, forks end."""
    secret = tmp_path / "secret"
    secret.write_text("here")
    written = tmp_path / "written"
    reads = RIGHT.replace("    return any", f"    import _io\n    _io.open({str(secret)!r})\n    return any")
    writes = RIGHT.replace(
        "    return any", f"    import _io\n    _io.open({str(written)!r}, 'w')\n    return any"
    )
    found = official(tmp_path / "s", [reads, writes, FORGES, FORKS], ["wrong"] * 4)
    assert [one["scores"]["base"] for one in found["per_sample"]] == [0.0] * 4
    assert not written.exists()
    assert helpers["processes_of"]("dipo_eval.harness.evalplus_worker") == []


def test_a_sanitizer_that_does_not_end_is_undecided_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """evalplus tries every range of lines of a response for the longest one that parses."""
    monkeypatch.setattr(evalplus, "LIMIT_S", 5.0)
    endless = "".join(f"word {number} of a text\n" for number in range(3000))
    found = official(tmp_path, [endless, RIGHT], ["wrong", "correct"])
    assert found["undecided"] == 1
    assert found["per_sample"][0]["undecided"] == "time limit"
    assert found["metrics"]["pass@1,plus"] == {"value": 0.5, "n": 2, "ours": 0.5, "disagreements": 0}
