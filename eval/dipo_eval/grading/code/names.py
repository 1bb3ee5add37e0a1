"""The names that the text of a program reads outside strings, and those that it assigns. Nothing is parsed."""

from __future__ import annotations

from collections.abc import Iterator

from dipo_eval import linear

NAME = linear.bounded(r"[A-Za-z_]\w{0,60}")
TRIPLE = ('"""', "'''")
_MARK = linear.bounded(r"[#\"']")
_PARAMETERS = linear.bounded(r"(?:\bdef\s{1,3}\w{1,60}\s?\(|\blambda\s)([^\n]{0,300})")
_PARAMETER = linear.bounded(r"(?:^|[,*(])\s{0,3}([A-Za-z_]\w{0,60})")
_TAKEN = linear.bounded(r"\bfor\s{1,3}([^\n:=]{1,100}?)\s{1,3}in\b|\bas\s{1,3}(\w{1,60})|\b(\w{1,60})\s?:=")
_TARGET = linear.bounded(r"[\s*()\[\]]{0,40}([A-Za-z_]\w{0,60})[\s()\[\]]{0,4}(?::.{0,60})?$")


def without_strings(code: str) -> str:
    """``code`` without comments and without what strings say, but for f-strings, which hold names."""
    parts: list[str] = []
    at = line_end = 0
    for mark in _MARK.finditer(code):
        start = mark.start()
        if start < at:
            continue
        if start >= line_end:
            line_end = code.find("\n", start) % (len(code) + 1)  # -1: the end of the text
        if code[start] == "#":
            end = line_end
        elif code.startswith(TRIPLE, start):
            end = _closed(code, code[start] * 3, start + 3, len(code))
        else:
            end = _closed(code, code[start], start + 1, line_end)
        parts.append(code[at:start])
        if code[start] != "#":
            is_formatted = "f" in code[max(0, start - 2) : start].lower()
            parts.append(code[start:end] if is_formatted else " ")
        at = end
    return "".join([*parts, code[at:]])


def _closed(code: str, quote: str, start: int, limit: int) -> int:
    """The place after the closing quote of a string whose text begins at ``start``; ``limit`` where there is none."""
    at = start
    while (close := code.find(quote, at, limit)) >= 0:
        before = code[at:close]
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            return close + len(quote)
        at = close + 1
    return limit


def own_variables(code: str) -> Iterator[str]:
    """Names that ``code``, without strings, gives values to: parameters, loop variables, targets of assignments."""
    for parameters in _PARAMETERS.findall(code):
        yield from _PARAMETER.findall(parameters)
    for loop, alias, walrus in _TAKEN.findall(code):
        yield from NAME.findall(loop) if loop else (alias or walrus,)
    depth = 0
    for line in code.split("\n"):
        if depth == 0 and "=" in line:
            for target in line.split("=")[:-1]:
                yield from (found[1] for part in target.split(",") if (found := _TARGET.match(part)))
        depth = max(0, depth + sum(map(line.count, "([{")) - sum(map(line.count, ")]}")))
