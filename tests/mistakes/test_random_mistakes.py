"""200 random mistakes: each ends in one line that names where it is, or is none and would train."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from case import contents, run
from random_mistakes import made, problem

SEED = int(os.environ.get("DIPO_MISTAKES_SEED", "0"))
CASES = 200


@pytest.mark.parametrize("number", range(CASES))
def test_a_mistake_is_one_line(tmp_path: Path, model: Path, number: int) -> None:
    case = made(tmp_path, model, 1000 * SEED + number)
    before = contents(tmp_path)
    ended = run(tmp_path, ["train", *case.words, "--dry-run"])
    print(
        f"{'; '.join(case.told)}\n-> {ended.status}: {ended.err.strip() or ended.out.splitlines()[-1:]}"[
            :1500
        ]
    )
    assert problem(case, ended) == ""
    assert contents(tmp_path) == before, "a dry run writes nothing"
