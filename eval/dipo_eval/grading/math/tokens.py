"""The tokens of a closed form, LaTeX or plain text, and the names that are more than a product of letters."""

from __future__ import annotations

import re

from dipo_eval import linear

FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"}
    | {"ln", "log", "exp", "sqrt"}
)
OF_SEVERAL = frozenset({"gcd", "lcm", "max", "min"})
"""Functions of two or more arguments."""
GREEK = frozenset((
    r"\alpha", r"\beta", r"\gamma", r"\delta", r"\epsilon", r"\varepsilon", r"\zeta", r"\eta", r"\theta",
    r"\vartheta", r"\kappa", r"\lambda", r"\mu", r"\nu", r"\xi", r"\rho", r"\sigma", r"\tau", r"\phi", r"\varphi",
    r"\chi", r"\psi", r"\iota", r"\upsilon", r"\omega", r"\Gamma", r"\Delta", r"\Theta", r"\Lambda", r"\Omega",
    r"\Phi", r"\Psi", r"\Sigma", r"\ell",
))  # fmt: skip
ROUNDED = frozenset({"abs", "floor", "ceil"})
DOTS = r"\ldots"
_WORDS = FUNCTIONS | OF_SEVERAL | ROUNDED | {"pi"}
_TOKEN = linear.compile(r"\s*(\\[a-zA-Z]+|\d+\.?\d*|\.\d+|[a-zA-Z]+|[-+*/^_!(){}\[\]|=,\u00b0])", re.ASCII)


class Unsupported(Exception):  # noqa: N818  (an outcome, not a fault)
    """The text is outside this parser's language."""


def tokens_of(text: str) -> list[str]:
    """Of cleaned ``text``. Raises Unsupported where a symbol or a word is none of this language's."""
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
