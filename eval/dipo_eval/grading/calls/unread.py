"""Why a call of a model could not be read: one name for each reason, under which training counts it."""

from __future__ import annotations

import enum
import json


class Unread(enum.StrEnum):
    """A reason; its value is the end of the metric ``calls/unread/*``."""

    UNFINISHED_THOUGHT = "unfinished_thought"  # a thought never ends
    UNFINISHED_CALL = "unfinished_call"  # a call's block or its JSON ends too early
    INVALID_JSON = "invalid_json"
    NO_NAME = "no_name"  # a call names no function
    NO_OBJECT = "arguments_not_an_object"
    UNKNOWN_FUNCTION = "unknown_function"  # read, but none of the functions on offer
    OTHER_FORM = "call_in_other_form"  # than the one that was chosen
    OTHER_TEXT = "call_in_other_text"
    BROKEN = "broken_call"  # anything else


class UnreadableError(Exception):
    """The text has no list of calls; the message is the reason in a few words, ``why`` its name."""

    def __init__(self, said: str, why: Unread = Unread.BROKEN) -> None:
        super().__init__(said)
        self.why = why


def not_json(said: str, error: BaseException) -> UnreadableError:
    """The error for JSON that ``json`` refused: unfinished where the text ends before the value does."""
    is_cut = isinstance(error, json.JSONDecodeError) and (
        error.msg.startswith("Unterminated") or error.pos >= len(error.doc.rstrip())
    )
    return UnreadableError(said, Unread.UNFINISHED_CALL if is_cut else Unread.INVALID_JSON)
