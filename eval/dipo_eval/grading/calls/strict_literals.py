"""Read the Java and JavaScript literals in an argument's source text, for ``strict``. Nothing is run.

Numbers with their suffixes, booleans, null, strings and characters, arrays, the usual ways to write a list or
a map (``new int[]{..}``, ``Arrays.asList(..)``, ``List.of(..)``, ``new HashMap<>() {{ put(..); }}``,
``Map.of(..)``, ``[..]``, ``new Array(..)``, ``{key: value}``). Anything else is ``Code``.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

from dipo_eval import linear
from dipo_eval.grading.calls.response_text import Code

MAX_CHARS = 2_000
"""The longest gold has 330. A few dozen patterns are tried at each position."""
MAX_DEPTH = 50

_DIGITS = r"[+-]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_JAVA_NUMBER = linear.compile(_DIGITS + r"[lLfFdD]?")
_JS_NUMBER = linear.compile(_DIGITS + r"n?")
_WORD = linear.bounded(r"(?:true|false|null|undefined)(?![\w.(\[$])")
_STRING = linear.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`(?:[^`\\$]|\\.)*`', re.DOTALL)
_KEY = linear.compile(r"[A-Za-z_$][\w$]*")
_TYPE = r"[\w.]+(?:\s*<[\w\s.,<>\[\]?]*>)?"
_JAVA_ARRAY = linear.compile(rf"new\s+{_TYPE}\s*(?:\[\s*\]\s*)+\{{")
_LIST_CALL = linear.compile(r"(?:Arrays\.asList|List\.of|Set\.of|new\s+Array)\s*\(")
_MAP_CALL = linear.compile(r"Map\.of\s*\(")
_LIST_NEW = linear.compile(r"new\s+(?:\w*List|\w*Set|Vector|Stack)\s*(?:<[\w\s.,<>?]*>)?\s*\(")
_MAP_NEW = linear.compile(r"new\s+(?:\w*Map|Hashtable)\s*(?:<[\w\s.,<>?]*>)?\s*\(\s*\)")
_ADD = linear.compile(r"(?:this\.)?add\s*\(")
_PUT = linear.compile(r"(?:this\.)?put\s*\(")
_MARK = linear.bounded(r"[()\[\]{},]")
_ESCAPE = linear.bounded(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}
Pattern = linear.LinearPattern | re.Pattern[str]


class _NoLiteralError(Exception):
    pass


def read_literal(text: str, *, is_java: bool) -> Any:
    """The value of ``text``: a number, bool, None, str, list or dict; ``Code(text)`` where it is no literal.

    A number with a suffix is the number; whether the suffix fits the declared type is not checked.
    """
    text = text.strip()
    if len(text) > MAX_CHARS:
        return Code(text)
    reader = _Reader(text, _JAVA_NUMBER if is_java else _JS_NUMBER)
    with contextlib.suppress(_NoLiteralError, ValueError, ArithmeticError, TypeError):
        value = reader.value(0)
        reader.skip()
        if reader.at == len(text):
            return value
    return Code(text)


class _Reader:
    """A recursive descent over one text, at most ``MAX_DEPTH`` deep."""

    def __init__(self, text: str, number: Pattern) -> None:
        self.text = text
        self.number = number
        self.at = 0

    def skip(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1

    def take(self, pattern: Pattern) -> str | None:
        self.skip()
        found = pattern.match(self.text[self.at :])
        if not found:
            return None
        self.at += found.end()
        return str(found[0])

    def take_number(self) -> str | None:
        """A number that ends where a word or another number does."""
        start = self.at
        found = self.take(self.number)
        following = self.text[self.at : self.at + 1]
        if found is not None and (following.isalnum() or following in ("_", ".")):
            self.at = start
            return None
        return found

    def accept(self, mark: str) -> bool:
        self.skip()
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            raise _NoLiteralError

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise _NoLiteralError
        string = self.take(_STRING)
        if string is not None:
            return _unescaped(string[1:-1])
        word = self.take(_WORD)
        if word is not None:
            return {"true": True, "false": False}.get(word)
        number = self.take_number()
        if number is not None:
            return _number(number)
        if self.take(_JAVA_ARRAY):
            return self.items("}", depth)
        if self.take(_LIST_CALL):
            return self.items(")", depth)
        if self.take(_MAP_CALL):
            flat = self.items(")", depth)
            return dict(zip(flat[::2], flat[1::2], strict=True))
        if self.take(_LIST_NEW):
            return self.new_list(depth)
        if self.take(_MAP_NEW):
            return self.body(_PUT, depth, pairs=True)
        if self.accept("["):
            return self.items("]", depth)
        if self.accept("{"):
            return self.object(depth)
        raise _NoLiteralError

    def items(self, close: str, depth: int) -> list[Any]:
        found: list[Any] = []
        while not self.accept(close):
            found.append(self.part(depth))
            if not self.accept(","):
                self.expect(close)
                break
        return found

    def new_list(self, depth: int) -> Any:
        """What follows ``new ArrayList<>(``: nothing and perhaps a body, or one collection to copy."""
        if self.accept(")"):
            return self.body(_ADD, depth, pairs=False)
        value = self.value(depth + 1)
        self.expect(")")
        if not isinstance(value, list):
            raise _NoLiteralError
        return value

    def body(self, method: Pattern, depth: int, *, pairs: bool) -> Any:
        """``{{ add(x); add(y); }}`` as a list, ``{{ put(k, v); }}`` as a dict; without a body, an empty one."""
        calls: list[list[Any]] = []
        if self.accept("{"):
            inner = self.accept("{")
            while self.take(method):
                calls.append(self.items(")", depth))
                self.accept(";")
            self.expect("}")
            if inner:
                self.expect("}")
        if any(len(call) != (2 if pairs else 1) or (pairs and isinstance(call[0], Code)) for call in calls):
            raise _NoLiteralError
        return {call[0]: call[1] for call in calls} if pairs else [call[0] for call in calls]

    def object(self, depth: int) -> Any:
        made: dict[str, Any] = {}
        while not self.accept("}"):
            quoted = self.take(_STRING)
            key = _unescaped(quoted[1:-1]) if quoted is not None else self.take(_KEY)
            if key is None:
                raise _NoLiteralError
            self.expect(":")
            made[key] = self.part(depth)
            if not self.accept(","):
                self.expect("}")
                break
        return made

    def part(self, depth: int) -> Any:
        """A value inside a collection: a literal, or a name or call, which is ``Code`` up to the next comma."""
        start = self.at
        try:
            return self.value(depth + 1)
        except _NoLiteralError:
            self.at = start
        self.skip()
        start, open_brackets = self.at, 0
        for mark in _MARK.finditer(self.text[start:]):
            if mark[0] in "([{":
                open_brackets += 1
            elif open_brackets:
                open_brackets -= mark[0] != ","
            else:
                self.at = start + mark.start()
                break
        if start == self.at:
            raise _NoLiteralError
        return Code(self.text[start : self.at].strip())


def _number(text: str) -> int | float:
    digits = text.rstrip("lLfFdDn").replace("_", "")
    is_whole = not any(mark in digits for mark in ".eE") and text[-1] not in "fFdD"
    return int(digits) if is_whole else float(digits)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text

    def replace(found: linear.Match) -> str:
        mark = found[1]
        return str(json.loads(f'"\\{mark}"')) if len(mark) > 1 else _ESCAPES.get(mark, mark)

    return _ESCAPE.sub(replace, text)
