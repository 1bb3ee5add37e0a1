"""BFCL's categories and the language that each of them writes its calls in."""

from __future__ import annotations

import enum

from dipo_eval.errors import UserError

NON_LIVE = (
    "simple_python", "simple_java", "simple_javascript",
    "multiple", "parallel", "parallel_multiple", "irrelevance",
)  # fmt: skip
LIVE = (
    "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple",
    "live_irrelevance", "live_relevance",
)  # fmt: skip
MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
SINGLE_TURN = NON_LIVE + LIVE


class Language(enum.Enum):
    """The language of a category's calls and parameter types."""

    PYTHON = "python"
    JAVA = "java"
    JAVASCRIPT = "javascript"


_LANGUAGES = {name: Language.PYTHON for name in (*SINGLE_TURN, "simple", "relevance")} | {
    "simple_java": Language.JAVA,
    "simple_javascript": Language.JAVASCRIPT,
}


def language_of(category: str) -> Language:
    """The language of a single-turn category. Raises UserError for a name that is none."""
    language = _LANGUAGES.get(category)
    if language is None:
        if category in MULTI_TURN:
            raise UserError(
                f"category {category}: a conversation; grade it with dipo_eval.grading.calls.multi_turn.grade_turns"
            )
        raise UserError(f"category {category!r}: unknown; one of {', '.join(SINGLE_TURN)}")
    return language
