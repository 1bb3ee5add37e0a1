"""The form of calls that a recipe names in `run.call_form`, where it reaches the processes that grade: an environment
variable, since OpenRLHF loads rewards and agents by path and gives them no settings.
"""

from __future__ import annotations

import os

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading.calls.chosen_form import ANY, AUTO, CALL_FORMS
from dipo_eval.grading.calls.unread import Unread

CALL_FORM = "DIPO_CALL_FORM"
UNREAD = {why: f"calls/unread/{why.value}" for why in Unread}
"""The metric of each reason, 0 or 1 for a response, a number of messages for an episode."""


def named_form() -> str:
    """The recipe's: a name of `CALL_FORMS`, `any`, or `auto`. Raises UserError."""
    name = os.environ.get(CALL_FORM) or AUTO
    if name not in (AUTO, ANY, *CALL_FORMS):
        raise UserError(
            f"{CALL_FORM}={short_repr(name, 40)}: no form of calls; one of {', '.join((AUTO, ANY, *CALL_FORMS))}"
        )
    return name


def unread_logs(why: Unread | None) -> dict[str, float]:
    """All of a response's metrics."""
    return {name: float(one is why) for one, name in UNREAD.items()}
