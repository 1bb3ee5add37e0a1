"""Whether an answer where no call was wanted tells the user something: in training, what is paid is learnt.

Stricter than evaluation, which passes an empty answer as BFCL does (dipo_eval.grading.grade_calls).
"""

from __future__ import annotations

from dipo_eval import linear
from dipo_eval.grading.calls.grade import BROKEN, not_abstained
from dipo_eval.grading.calls.response_text import answer_text

EMPTY = "an empty answer"
_STARTS = ("[", "{", "<", "```")
_KEYS = ('{"name"', "{'name'", '{"function"', '"arguments"')
_MARK = linear.bounded(r"</?tool_|<[/|]?[A-Za-z_|]{1,24}\Z")
"""Of a tool's result, or one that the end of the text cuts off."""
_CALL = linear.compile(r"(?:\A|\W)[A-Za-z]\w*_\w*\(\s*\w+\s*=")
"""Of any function, on offer or not, with an argument: an underscore tells it from one in mathematics."""


def not_paid(response: str, names: set[str]) -> str | None:
    """Why a response without a readable call is not paid, None where it is.

    `names`: the functions on offer. Not paid are a thought that never ends, a call that is broken or in a form that is
    not read, a call that is shown, in a refusal too, a text that begins as calls do, a function's name alone, and a text
    without a letter, such as `[]`.
    """
    answer = answer_text(response).removeprefix("<response>").removesuffix("</response>").strip()
    if reason := not_abstained(response, names) or (answer and not_abstained(answer, names)):
        return reason
    if not any(map(str.isalpha, answer)):
        return EMPTY
    return BROKEN if _begins_a_call(answer, names) else None


def _begins_a_call(answer: str, names: set[str]) -> bool:
    head, opened, _ = answer.partition("(")
    if answer.startswith(_STARTS) or (opened and head.replace(".", "_").isidentifier()):
        return True
    if answer.strip("`*.: ") in names or _MARK.search(answer) or _CALL.search(answer.replace("\\_", "_")):
        return True
    unclosed = any(f"{name}(" in answer and ")" not in answer.rpartition(f"{name}(")[2] for name in names)
    return unclosed or any(key in answer for key in _KEYS)
