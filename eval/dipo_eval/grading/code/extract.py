"""Find the program in a chat response. Text work alone: nothing here parses or runs it."""

from __future__ import annotations

from dipo_eval.grading.code.fences import PLAIN, fenced_blocks, free_blocks, has_inner_fence
from dipo_eval.grading.code.helpers import with_helpers
from dipo_eval.grading.code.program import (
    completed,
    defines,
    imports,
    indented_program,
    without_prose,
)
from dipo_eval.grading.final_text import final_text

MAX_RESPONSE_CHARS = 400_000
MAX_CODE_CHARS = 100_000


def extract_code(response: str, entry_point: str, prompt: str = "") -> str | None:
    """The program of a response that should define ``entry_point``, or None where there is none.

    Thoughts come off first. Then, the first of these that there is: the last fenced Python block that defines it; the
    last block read more freely (other labels, tags, fences glued to prose); the program between prose, or indented as
    a whole; a block that imports it. With none, a ``prompt`` that opens the function itself (HumanEval's) is completed
    with the last block or the response. Helpers and imports that only earlier blocks or the prompt define are put
    before it. A fence that never closes reaches to the end. Only the last 400,000 characters are read.
    """
    text = (
        final_text(response[-MAX_RESPONSE_CHARS:])
        .replace("\r\n", "\n")
        .replace("\0", "")
        .replace("\ufeff", "")
    )
    blocks = fenced_blocks(text)
    code = _program(text, blocks, entry_point)
    if code is not None and len(code) <= MAX_CODE_CHARS:
        code = with_helpers(
            code, [_preamble(prompt, entry_point), *(one for one in blocks if one != code)], entry_point
        )
    if code is not None:
        return code if len(code) <= MAX_CODE_CHARS else None
    body = blocks[-1] if blocks else text
    if not body.strip() or not defines(prompt, entry_point) or len(body) > MAX_CODE_CHARS:
        return None
    return completed(prompt, body)


def _program(text: str, blocks: list[str], entry_point: str) -> str | None:
    for code in reversed(fenced_blocks(text, PLAIN)):
        if defines(code, entry_point) and not has_inner_fence(code):
            return code
    if entry_point not in text:
        return None
    free = free_blocks(text)
    for code in reversed(free):
        if defines(code, entry_point):
            return without_prose(code, entry_point)
    found = None if blocks else without_prose(text, entry_point)
    if found is not None and found.strip() == text.strip():
        return text
    if found is None:
        found = indented_program(text, entry_point)
    if found is not None:
        return found
    return next((code for code in reversed(free) if imports(code, entry_point)), None)


def _preamble(prompt: str, entry_point: str) -> str:
    """What ``prompt`` has before the function that it opens: imports and helpers."""
    if not defines(prompt, entry_point):
        return ""
    before, _, _ = prompt.partition(f"def {entry_point}")
    return before
