"""What a program needs from earlier blocks of a response: definitions, imports, constants. Nothing is parsed."""

from __future__ import annotations

import re

from dipo_eval import linear
from dipo_eval.grading.code.names import NAME, TRIPLE, own_variables, without_strings

_BOUND = linear.compile(
    r"^(?:(?:async[ ]+)?def|class)[ ]+(\w+)|^(\w+)[ ]*(?::[^=\n]*)?=[^=]"
    r"|^import[ ]+(.*)$|^from[ ]+\S+[ ]+import[ ]+(.*)$",
    re.MULTILINE,
)
_STATEMENT = linear.bounded(r"(?:async[ ]{1,3})?(?:def|class)\s|import\s|from\s|@")
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
        wanted = (set(NAME.findall(text)) & chunks.keys()) - known
        if any(not _STATEMENT.match(chunks[name]) for name in wanted):
            own = set(own_variables(text))
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
    return not is_own_variable and not {entry_point, *_READS_INPUT} & set(NAME.findall(chunk))


def _future_imports(code: str) -> tuple[str, str]:
    """``code`` up to its last line ``from __future__ import``, which nothing may precede, and after it."""
    start = code.rfind(f"\n{_FUTURE}") + 1
    if not code.startswith(_FUTURE, start):
        return "", code
    closing = ")" if "(" in code[start:].partition("\n")[0] else "\n"
    end = code.find(closing, start) + 1 or len(code)
    return code[:end].rstrip("\n") + "\n", code[end:]


def _chunks(code: str) -> list[str]:
    """Statements at the left margin that bind a name, each with the lines that belong to it."""
    made: list[list[str]] = []
    decorated = False
    for line in code.split("\n"):
        starts = line[:1].strip() and line[0] not in ")]}#" and not line.startswith(TRIPLE)
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
