"""Why no call of a message could be read: what training counts under ``calls/unread/*``."""

from __future__ import annotations

from collections.abc import Iterable

from dipo_eval.grading.calls.chosen_form import ANY, CALL_FORMS, form_in
from dipo_eval.grading.calls.grade import IN_TEXT, UNFINISHED, not_abstained
from dipo_eval.grading.calls.response_text import answer_text
from dipo_eval.grading.calls.unread import Unread, UnreadableError


def why_unread(response: str, names: set[str], chosen: str = ANY) -> Unread | None:
    """The reason for a message of which no call was read; None where it calls nothing and talks to the user.

    ``names``: the functions on offer. ``chosen``: a name of ``CALL_FORMS``; a text that is calls of another form, or is
    begun in one, is ``OTHER_FORM``.
    """
    text = answer_text(response)
    form = form_in(text)
    why = _refused(text)
    is_other = bool(text) and chosen != ANY and form.name not in CALL_FORMS[chosen]
    if is_other and (why is None or form.name not in ("JSON", "Python")):
        return Unread.OTHER_FORM
    said = not_abstained(response, names)
    if said is None:
        return None
    if said == UNFINISHED:
        return Unread.UNFINISHED_THOUGHT
    return Unread.OTHER_TEXT if said == IN_TEXT else why or Unread.BROKEN


def _refused(text: str) -> Unread | None:
    try:
        return None if form_in(text).calls_in(text) else Unread.BROKEN
    except UnreadableError as error:
        return error.why


def unknown_function(called: Iterable[str], names: set[str]) -> Unread | None:
    """The reason for calls that were read, one of which is of no function on offer."""
    return Unread.UNKNOWN_FUNCTION if names and not names.issuperset(called) else None
