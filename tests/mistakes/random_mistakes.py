"""A case with random mistakes, and whether it ended as a mistake must."""

from __future__ import annotations

import random
import re
from pathlib import Path

import file_mistakes
import recipe_mistakes
from case import Case, Ended

MISTAKES = [*recipe_mistakes.MISTAKES, *file_mistakes.MISTAKES]


def made(folder: Path, model: Path, seed: int) -> Case:
    """A case with one mistake, or with two."""
    numbers = random.Random(seed)
    case = Case(folder, model, numbers)
    for mistake in numbers.sample(MISTAKES, numbers.choice([1, 1, 1, 2])):
        mistake(case)
    case.write()
    return case


def problem(case: Case, ended: Ended) -> str:
    """What is wrong with the way in which a case ended; empty where nothing is."""
    said = ended.out + ended.err
    if "Traceback" in said or "DIPO_TRACEBACK" in said:
        return "an error of Python's"
    if ended.status == 0:
        return "" if ended.out.splitlines()[-1].startswith("dipo train ") else "no command at the end"
    if ended.status != 2:
        return f"status {ended.status}"
    if "╭─ Error ─" in ended.err:  # typer's own, of its options
        return ""
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    if len(errors) != 1 or ended.err.splitlines()[-1] != errors[0]:
        return "not one line"
    if re.search(r"[\x00-\x08\x0e-\x1f\x7f\u202e]", errors[0]):
        return "acts on the terminal"
    return "" if any(name in errors[0] for name in case.names) else "does not say where"
