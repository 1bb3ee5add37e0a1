"""What a program needs from earlier blocks of a response: definitions, imports, constants. Nothing is parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dipo_eval import linear

_BOUND = linear.compile(
    r"^(?:(?:async[ ]+)?def|class)[ ]+(\w+)|^(\w+)[ ]*(?::[^=\n]*)?=[^=]"
    r"|^import[ ]+(.*)$|^from[ ]+\S+[ ]+import[ ]+(.*)$",
    re.MULTILINE,
)
_NAME = linear.bounded(r"[A-Za-z_]\w{0,60}")
_STATEMENT = linear.bounded(r"(?:async[ ]{1,3})?(?:def|class)\s|import\s|from\s|@")
_TRIPLE = ('"""', "'''")
_MARK = linear.bounded(r"[#\"']")
_PARAMETERS = linear.bounded(r"(?:\bdef\s{1,3}\w{1,60}\s?\(|\blambda\s)([^\n]{0,300})")
_PARAMETER = linear.bounded(r"(?:^|[,*(])\s{0,3}([A-Za-z_]\w{0,60})")
_TAKEN = linear.bounded(r"\bfor\s{1,3}([^\n:=]{1,100}?)\s{1,3}in\b|\bas\s{1,3}(\w{1,60})|\b(\w{1,60})\s?:=")
_TARGET = linear.bounded(r"[\s*()\[\]]{0,40}([A-Za-z_]\w{0,60})[\s()\[\]]{0,4}(?::.{0,60})?$")
_READS_INPUT = frozenset(("input", "stdin", "open", "argv"))
_FUTURE = "from __future__ import "
_MAX_HELPERS = 40


def with_helpers(code: str, sources: list[str], entry_point: str) -> str:
    """``code`` after the definitions and imports that it uses and that only ``sources`` have, the later ones first.

    Constants too, where the name is not one of the program's own variables, and neither ``entry_point`` nor any input is
    part of their value: what an example of the program's use assigns is no helper.
    """
    chunks: dict[str, str] = {}
    for source in sources:
        for chunk in _chunks(source):
            if not chunk.startswith(_FUTURE):
                chunks.update(dict.fromkeys(_bound_names(chunk), chunk))
    if not chunks:
        return code
    known = {name for chunk in _chunks(code) for name in _bound_names(chunk)}
    taken: list[str] = []
    waiting = [code]
    while waiting and len(taken) < _MAX_HELPERS:
        text = without_strings(waiting.pop())
        wanted = (set(_NAME.findall(text)) & chunks.keys()) - known
        if any(not _STATEMENT.match(chunks[name]) for name in wanted):
            own = set(_own_variables(text))
            wanted = {name for name in wanted if _is_helper(chunks[name], name in own, entry_point)}
        for name in sorted(wanted):
            known.add(name)
            if chunks[name] not in taken:
                taken.append(chunks[name])
                waiting.append(chunks[name])
    if not taken:
        return code
    in_order = [chunk for source in sources for chunk in _chunks(source) if chunk in taken]
    helpers = "\n".join(dict.fromkeys(chunk.strip("\n") for chunk in in_order))
    future, rest = _future_imports(code)
    return f"{future}{helpers}\n\n{rest}"


def _is_helper(chunk: str, is_own_variable: bool, entry_point: str) -> bool:
    if _STATEMENT.match(chunk):
        return True
    return not is_own_variable and not {entry_point, *_READS_INPUT} & set(_NAME.findall(chunk))


def _future_imports(code: str) -> tuple[str, str]:
    """``code`` up to its last line ``from __future__ import``, which nothing may precede, and after it."""
    start = code.rfind(f"\n{_FUTURE}") + 1
    if not code.startswith(_FUTURE, start):
        return "", code
    closing = ")" if "(" in code[start:].partition("\n")[0] else "\n"
    end = code.find(closing, start) + 1 or len(code)
    return code[:end].rstrip("\n") + "\n", code[end:]


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
        elif code.startswith(_TRIPLE, start):
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


def _own_variables(code: str) -> Iterator[str]:
    """Names that ``code``, without strings, gives values to: parameters, loop variables, targets of assignments."""
    for parameters in _PARAMETERS.findall(code):
        yield from _PARAMETER.findall(parameters)
    for loop, alias, walrus in _TAKEN.findall(code):
        yield from _NAME.findall(loop) if loop else (alias or walrus,)
    depth = 0
    for line in code.split("\n"):
        if depth == 0 and "=" in line:
            for target in line.split("=")[:-1]:
                yield from (found[1] for part in target.split(",") if (found := _TARGET.match(part)))
        depth = max(0, depth + sum(map(line.count, "([{")) - sum(map(line.count, ")]}")))


def _chunks(code: str) -> list[str]:
    """Statements at the left margin that bind a name, each with the lines that belong to it."""
    made: list[list[str]] = []
    decorated = False
    for line in code.split("\n"):
        starts = line[:1].strip() and line[0] not in ")]}#" and not line.startswith(_TRIPLE)
        if starts and not decorated:
            made.append([line])
        elif made:
            made[-1].append(line)
        decorated = line.startswith("@") or (decorated and not starts)
    return ["\n".join(lines) for lines in made]


def _bound_names(chunk: str) -> list[str]:
    names: list[str] = []
    for defined, assigned, imported, members in _BOUND.findall(chunk):
        names += [name for name in (defined, assigned) if name]
        for part in (imported or members).strip("()\\ ").split(","):
            words = part.split()
            if words:
                names.append(words[-1].split(".")[0] if imported and "as" not in words else words[-1])
    return names
