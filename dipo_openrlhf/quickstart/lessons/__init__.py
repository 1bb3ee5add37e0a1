"""What small models are taught: a module here that defines LESSON is a lesson; nothing else is edited."""

from __future__ import annotations

import sys

from dipo_eval.discovery import named_in
from dipo_openrlhf.quickstart.lessons.lesson import Lesson


def lesson_named(name: str) -> Lesson:
    """A lesson by its name. Raises UserError for an unknown one."""
    found: Lesson = named_in(sys.modules[__name__], "LESSON", "lesson", name)
    return found


__all__ = ["Lesson", "lesson_named"]
