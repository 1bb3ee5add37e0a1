"""Read what a model wrote as a Python expression, without a word on the terminal about its odd spellings."""

from __future__ import annotations

import ast
import warnings

_FILE = "<string>"  # as eval calls it: the text of an error, which a tool answers with, names it
# One filter for good: catch_warnings changes the whole process and cannot be used in threads.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=_FILE)


def parse_expression(text: str) -> ast.expr:
    """The expression; nothing of it is run. Raises SyntaxError, ValueError, MemoryError or RecursionError."""
    return ast.parse(text, filename=_FILE, mode="eval").body
