"""A small, bounded parser for closed forms in answers: LaTeX or plain text to a tree.

It reads numbers, variables, + - * / ^ ! !!, degrees, implicit products, fractions, roots, absolute values, floors,
ceilings, binomials, sums and products over an index, and the usual functions. Everything else raises ``Unsupported``.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

from dipo_eval.grading.math.tokens import FUNCTIONS, GREEK, OF_SEVERAL, ROUNDED, Unsupported, tokens

Node = tuple[Any, ...]
"""("num", Fraction) | ("var", name) | ("const", name) | (operator or function name, Node, ...)."""

MAX_CHARS = 1000
MAX_DEPTH = 40

BOUND = "#"
"""What the name of a sum's index begins with in a tree."""
_CONSTANTS = {"pi": "pi", r"\pi": "pi", "e": "e", "i": "i"}
_MULTIPLY = frozenset({"*", r"\cdot", r"\times"})
_DIVIDE = frozenset({"/", r"\div"})
_CLOSERS = {"(": ")", "{": "}", "[": "]", "|": "|", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
_DOTS = r"\ldots"
_SERIES = {r"\sum": "sum", r"\prod": "prod"}
_DEGREE: Node = ("div", ("const", "pi"), ("num", Fraction(180)))


_NO_ATOM = frozenset((")", "}", "]", r"\rfloor", r"\rceil", "+", "-", "^", "_", "!", "=", ",", "\u00b0"))


def parse_expression(text: str) -> Node:
    """The tree of cleaned ``text``. Raises Unsupported; never recurses deeper than ``MAX_DEPTH`` brackets."""
    if len(text) > MAX_CHARS:
        raise Unsupported("too long")
    return _Parser(tokens(text)).parse()


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.bars = 0
        self.indices: list[str] = []  # of the sums around this place

    def parse(self) -> Node:
        node = self._sum()
        if self.position < len(self.tokens):
            raise Unsupported(f"unexpected {self.tokens[self.position]!r}")
        return node

    def _peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise Unsupported("ends too early")
        self.position += 1
        return token

    def _sum(self) -> Node:
        self._descend()
        node = self._product()
        while self._peek() in ("+", "-"):
            operator = "add" if self._next() == "+" else "sub"
            if self._peek() == _DOTS:
                self._next()
                self._expect("+")
                node = self._progression("sum", "add", node, self._product())
                continue
            node = (operator, node, self._product())
        self.depth -= 1
        return node

    def _product(self) -> Node:
        node = self._signed()
        while True:
            token = self._peek()
            if token in _MULTIPLY and self.tokens[self.position + 1 : self.position + 2] == [_DOTS]:
                self._next()
                token = _DOTS
            if token == _DOTS:
                self._next()
                if self._peek() in _MULTIPLY:
                    self._next()
                last = self._signed()
                while self._starts_atom(self._peek()):
                    last = ("mul", last, self._power())
                node = self._progression("prod", "mul", node, last)
            elif token in _MULTIPLY or token in _DIVIDE:
                self._next()
                node = ("mul" if token in _MULTIPLY else "div", node, self._signed())
            elif self._starts_atom(token):
                if token[0].isdigit() and self.tokens[self.position - 1][0].isdigit():
                    raise Unsupported("two numbers side by side")
                node = ("mul", node, self._power())
            else:
                return node

    def _progression(self, name: str, operator: str, node: Node, last: Node) -> Node:
        """``1 + 3 + \\ldots + (2n-1)`` as a sum over an index: its first numbers give the step."""
        numbers: list[Node] = []
        while node[0] == operator:
            numbers.append(node[2])
            node = node[1]
        numbers.append(node)
        if len(numbers) < 2 or any(one[0] != "num" for one in numbers):
            raise Unsupported("dots")
        values = [one[1] for one in reversed(numbers)]
        step = values[1] - values[0]
        if not step or any(after - before != step for before, after in itertools.pairwise(values)):
            raise Unsupported("dots")
        first, width = ("num", values[0]), ("num", step)
        index = ("var", f"{BOUND}{len(self.indices)}")
        upper = ("div", ("sub", last, first), width)
        return (name, ("num", Fraction(0)), upper, ("add", first, ("mul", width, index)), index)

    def _starts_atom(self, token: str) -> bool:
        if not token or token in _NO_ATOM:
            return False
        return token != "|" or self.bars == 0

    def _signed(self) -> Node:
        negative = False
        while self._peek() in ("+", "-"):
            negative ^= self._next() == "-"
        node = self._power()
        return ("neg", node) if negative else node

    def _power(self) -> Node:
        base = self._atom()
        while self._peek() in ("!", "\u00b0"):
            if self._next() == "\u00b0":
                base = ("mul", base, _DEGREE)
            elif self._peek() == "!":
                self._next()
                base = ("factorial2", base)
            else:
                base = ("factorial", base)
        if self._peek() != "^":
            return base
        self._next()
        return ("pow", base, self._script())

    def _script(self) -> Node:
        """An exponent: a group or one token; ``2^10`` takes the whole number, ``9^9^9`` is right-associative."""
        negative = self._peek() in ("+", "-") and self._next() == "-"
        self._descend()
        node = self._power()
        self.depth -= 1
        return ("neg", node) if negative else node

    def _descend(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unsupported("nested too deeply")

    def _group(self, opener: str) -> Node:
        node = self._sum()
        if self._next() != _CLOSERS[opener]:
            raise Unsupported(f"{opener!r} does not close")
        return node

    def _atom(self) -> Node:
        token = self._next()
        if token[0].isdigit() or token[0] == ".":
            return ("num", Fraction(token.rstrip(".")))
        if token in ("(", "{", "["):
            return self._group(token)
        if token in (r"\lfloor", r"\lceil"):
            return (token[2:], self._group(token))
        if token == "|":
            self.bars += 1
            node = self._group(token)
            self.bars -= 1
            return ("abs", node)
        if token in (r"\frac", r"\binom"):
            return ("div" if token == r"\frac" else "binom", self._argument(), self._argument())
        if token.lstrip("\\") in FUNCTIONS:
            return self._function(token.lstrip("\\"))
        if token.lstrip("\\") in OF_SEVERAL:
            return self._of_several(token.lstrip("\\"))
        if token in ROUNDED and self._peek() == "(":
            return (token, self._group(self._next()))
        if token in _SERIES:
            return self._series(_SERIES[token])
        if token == "C" and self._is_choice():
            return self._of_several("binom") if self._peek() == "(" else self._scripted_choice()
        if token in _CONSTANTS and self._peek() != "_" and token not in self.indices:
            return ("const", _CONSTANTS[token])
        if (token.isalpha() and len(token) == 1) or token in GREEK:
            name = token + self._subscript()
            if any(index in name[1:] for index in self.indices):
                raise Unsupported("a name that depends on an index")
            level = self.indices.index(name) if name in self.indices else -1
            return ("var", name if level < 0 else f"{BOUND}{level}")
        raise Unsupported(f"symbol {token!r}")

    def _argument(self) -> Node:
        """One argument of ``\\frac``: a braced group, or one digit or letter."""
        token = self._peek()
        if token == "{":
            return self._group(self._next())
        if token.isdigit() and len(token) > 1:  # \frac34: the tokens share one number
            self.tokens[self.position] = token[1:]
            return ("num", Fraction(token[0]))
        return self._atom()

    def _subscript(self) -> str:
        if self._peek() != "_":
            return ""
        self._next()
        token = self._next()
        if token != "{":
            return "_" + token
        inner: list[str] = []
        while (token := self._next()) != "}":
            if token == "{":
                raise Unsupported("nested subscript")
            inner.append(token)
        return "_" + "".join(inner)

    def _is_choice(self) -> bool:
        """Whether ``(5,2)`` or ``_{5}^{2}`` follows a C: a binomial coefficient and no variable."""
        ahead = self.tokens[self.position : self.position + 60]
        if ahead[:1] == ["("]:
            levels = itertools.accumulate((token in "({[") - (token in ")}]") for token in ahead)
            inside = itertools.takewhile(lambda one: one[1] > 0, zip(ahead, levels, strict=True))
            return (",", 1) in inside
        if ahead[:1] != ["_"] or "^" not in ahead:
            return False
        at = ahead.index("^")
        below, above = ahead[1:at], ahead[at + 1 :]
        is_closed = len(below) == 1 or (below[:1] == ["{"] and below[-1:] == ["}"] and below.count("}") == 1)
        lower = "".join(below).strip("{}")
        upper = "".join(above[1:2] if above[:1] == ["{"] and above[2:3] == ["}"] else above[:1])
        is_power = lower.isdecimal() and upper.isdecimal() and int(lower) < int(upper)
        return is_closed and not is_power

    def _scripted_choice(self) -> Node:
        self._expect("_")
        top = self._argument()
        self._expect("^")
        return ("binom", top, self._argument())

    def _of_several(self, name: str) -> Node:
        """A function of arguments in brackets, separated by commas."""
        if self._next() != "(":
            raise Unsupported("arguments without brackets")
        arguments = [self._sum()]
        while (token := self._next()) == ",":
            arguments.append(self._sum())
        if token != ")" or len(arguments) < 2:
            raise Unsupported("arguments")
        return (name, *arguments)

    def _series(self, name: str) -> Node:
        """A sum or product ``\\sum_{k=1}^{n}`` over the product that follows: (name, lower, upper, term)."""
        self._expect("_")
        self._expect("{")
        index = self._next()
        self._expect("=")
        lower = self._group("{")
        self._expect("^")
        if self._peek() == r"\infty":
            upper: Node = ("const", self._next()[1:])
        elif self.tokens[self.position : self.position + 3] == ["{", r"\infty", "}"]:
            self.position += 3
            upper = ("const", "infty")
        else:
            upper = self._argument()
        if not index.isalpha() or len(index) > 1 or index in self.indices:
            raise Unsupported("index")
        self.indices.append(index)
        self._descend()
        term = self._product()
        self.depth -= 1
        level = len(self.indices) - 1
        self.indices.pop()
        return (name, lower, upper, term, ("var", f"{BOUND}{level}"))

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise Unsupported(f"no {token!r}")

    def _function(self, name: str) -> Node:
        exponent: Node | None = None
        base: Node | None = None
        while self._peek() in ("^", "_", "["):
            opener = self._next()
            if opener == "^":
                exponent = self._script()
                if exponent == ("neg", ("num", Fraction(1))):
                    raise Unsupported("inverse function")
            elif opener == "_" and name == "log":
                base = self._argument()
            elif opener == "[" and name == "sqrt":
                base = self._group("[")
            else:
                raise Unsupported("script of a function")
        argument = self._function_argument(name)
        node: Node = (name, argument) if base is None else (name + "_base", argument, base)
        return node if exponent is None else ("pow", node, exponent)

    def _function_argument(self, name: str) -> Node:
        if self._peek() in ("{", "("):
            return self._group(self._next())
        if name == "sqrt":
            return self._argument()
        node = self._power()  # \sin 2x: the product that follows, up to the next function or sign
        while (token := self._peek()) and token not in _MULTIPLY | _DIVIDE and self._starts_atom(token):
            if token.lstrip("\\") in FUNCTIONS or token in ("(", "{", "|", r"\lfloor", r"\lceil"):
                break
            node = ("mul", node, self._power())
        return node
