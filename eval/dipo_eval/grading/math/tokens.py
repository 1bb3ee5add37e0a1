"""The tokens of a closed form, and the names that the parser knows."""

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
_TOKEN = linear.compile(r"\s*(\\[a-zA-Z]+|\d+\.?\d*|\.\d+|[a-zA-Z]+|[-+*/^_!(){}\[\]|=,\u00b0])", re.ASCII)
ROUNDED = frozenset({"abs", "floor", "ceil"})
"""What has signs of its own in LaTeX and is also written as a function."""
_WORDS = FUNCTIONS | OF_SEVERAL | ROUNDED | {"pi"}


class Unsupported(Exception):  # noqa: N818  (an outcome, not a fault)
    """The text is outside this parser's language."""


def tokens(text: str) -> list[str]:
    """The tokens of cleaned ``text``; letters side by side are a product. Raises Unsupported for anything else."""
    found: list[str] = []
    position = 0
    for match in _TOKEN.finditer(text):
        if match.start() != position:
            break
        token = match[1]
        position = match.end()
        if token.isalpha() and token not in _WORDS and len(token) > 1:
            if len(token) > 4:
                raise Unsupported("prose")
            found.extend(token)
        else:
            found.append(token)
    if text[position:].strip():
        raise Unsupported(f"symbol {text[position]!r}")
    return found
