"""The harnesses by name. A new one is a new line here."""

from __future__ import annotations

from dipo_eval.errors import UserError
from dipo_eval.harness import bfcl_eval, evalplus, lm_eval
from dipo_eval.harness.base import Harness

HARNESSES: dict[str, Harness] = {
    module.HARNESS.name: module.HARNESS for module in (bfcl_eval, evalplus, lm_eval)
}


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
