"""The harnesses and the second graders by name. A new one is a new line here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from dipo_eval.errors import UserError
from dipo_eval.harness import bfcl_eval, evalplus, lm_eval, math_verify
from dipo_eval.harness.base import Harness, SecondGrader

HARNESSES: dict[str, Harness] = {
    module.HARNESS.name: module.HARNESS for module in (bfcl_eval, evalplus, lm_eval)
}
SECOND_GRADERS: dict[str, Callable[[], AbstractContextManager[SecondGrader]]] = {
    module.NAME: module.grader for module in (bfcl_eval, math_verify)
}


def second_grader(name: str) -> AbstractContextManager[SecondGrader]:
    """The grader of that name, open while in the block. Raises UserError for an unknown one."""
    if name not in SECOND_GRADERS:
        raise UserError(f"unknown grader {name!r}; choose from {', '.join(SECOND_GRADERS)}")
    return SECOND_GRADERS[name]()


def get_harnesses(named: str | None, suites: str) -> list[Harness]:
    """The harnesses named, all of them installed; names of harnesses and of suites are separated by commas.

    Raises UserError for an unknown one, one that is not installed, and one that scores none of the suites.
    """
    found = []
    for name in dict.fromkeys(_names(named or "")):
        harness = HARNESSES.get(name)
        if harness is None:
            raise UserError(f"--with {name}: unknown harness; choose from {', '.join(HARNESSES)}")
        if not any(harness.covers(suite) for suite in _names(suites)):
            raise UserError(
                f"--with {name}: scores none of the suites {', '.join(_names(suites))}; leave it out"
            )
        harness.version()
        found.append(harness)
    return found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
