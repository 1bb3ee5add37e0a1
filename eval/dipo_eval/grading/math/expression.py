"""A small, bounded parser for closed forms in answers: LaTeX or plain text to a tree.

It reads numbers, variables, + - * / ^ !, implicit products, fractions, roots, absolute values, floors, ceilings,
binomials and the usual functions. Everything else raises ``Unsupported`` and is left to math-verify.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from dipo_eval import linear

Node = tuple[Any, ...]
"""("num", Fraction) | ("var", name) | ("const", name) | (operator or function name, Node, ...)."""

MAX_CHARS = 1000
MAX_DEPTH = 40

FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"}
    | {"ln", "log", "exp", "sqrt"}
)
_CONSTANTS = {"pi": "pi", r"\pi": "pi", "e": "e", "i": "i"}
_GREEK = frozenset((
    r"\alpha", r"\beta", r"\gamma", r"\delta", r"\epsilon", r"\varepsilon", r"\zeta", r"\eta", r"\theta",
    r"\vartheta", r"\kappa", r"\lambda", r"\mu", r"\nu", r"\xi", r"\rho", r"\sigma", r"\tau", r"\phi", r"\varphi",
    r"\chi", r"\psi", r"\omega", r"\Gamma", r"\Delta", r"\Theta", r"\Lambda", r"\Omega", r"\Phi", r"\Psi",
    r"\Sigma", r"\ell",
))  # fmt: skip
_MULTIPLY = frozenset({"*", r"\cdot", r"\times"})
_DIVIDE = frozenset({"/", r"\div"})
_CLOSERS = {"(": ")", "{": "}", "[": "]", "|": "|", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
_TOKEN = linear.compile(r"\s*(\\[a-zA-Z]+|\d+\.?\d*|\.\d+|[a-zA-Z]+|[-+*/^_!(){}\[\]|=])", re.ASCII)
_WORDS = FUNCTIONS | {"pi"}


class Unsupported(Exception):  # noqa: N818  (an outcome, not a fault)
    """The text is outside this parser's language."""


def parse_expression(text: str) -> Node:
    """The tree of cleaned ``text``. Raises Unsupported; never recurses deeper than ``MAX_DEPTH`` brackets."""
    if len(text) > MAX_CHARS:
        raise Unsupported("too long")
    return _Parser(_tokens(text)).parse()


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    position = 0
    for match in _TOKEN.finditer(text):
        if match.start() != position:
            break
        token = match[1]
        position = match.end()
        if token.isalpha() and token not in _WORDS and len(token) > 1:
            if len(token) > 4:
                raise Unsupported("prose")
            tokens.extend(token)
        else:
            tokens.append(token)
    if text[position:].strip():
        raise Unsupported(f"symbol {text[position]!r}")
    return tokens


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.bars = 0

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
            node = (operator, node, self._product())
        self.depth -= 1
        return node

    def _product(self) -> Node:
        node = self._signed()
        while True:
            token = self._peek()
            if token in _MULTIPLY or token in _DIVIDE:
                self._next()
                node = ("mul" if token in _MULTIPLY else "div", node, self._signed())
            elif self._starts_atom(token):
                if token[0].isdigit() and self.tokens[self.position - 1][0].isdigit():
                    raise Unsupported("two numbers side by side")
                node = ("mul", node, self._power())
            else:
                return node

    def _starts_atom(self, token: str) -> bool:
        if not token or token in (")", "}", "]", r"\rfloor", r"\rceil", "+", "-", "^", "_", "!", "="):
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
        while self._peek() == "!":
            self._next()
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
        if token in _CONSTANTS and self._peek() != "_":
            return ("const", _CONSTANTS[token])
        if (token.isalpha() and len(token) == 1) or token in _GREEK:
            return ("var", token + self._subscript())
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
