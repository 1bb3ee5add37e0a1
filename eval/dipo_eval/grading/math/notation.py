"""One spelling for each symbol: the tables that ``normalize`` applies. A new symbol is one row."""

from __future__ import annotations

from dipo_eval import linear

_GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "omicron", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
)  # fmt: skip
_GREEK_LETTERS = {
    **{letter: rf"\{name} " for letter, name in zip("αβγδεζηθικλμνξοπρστυφχψω", _GREEK, strict=True)},
    "Γ": r"\Gamma ", "Δ": r"\Delta ", "Θ": r"\Theta ", "Λ": r"\Lambda ", "Ξ": r"\Xi ", "Π": r"\Pi ", "Σ": r"\Sigma ",
    "Φ": r"\Phi ", "Ψ": r"\Psi ", "Ω": r"\Omega ", "ϕ": r"\phi ", "ϵ": r"\epsilon ", "ϑ": r"\theta ",
}  # fmt: skip
_SCRIPTS = {
    **{char: f"^{digit}" for digit, char in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{char: f"_{digit}" for digit, char in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    "ⁿ": "^n", "⁻": "^-", "ₙ": "_n",
}  # fmt: skip
_FRACTIONS = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
}  # fmt: skip
_SYMBOLS = {
    "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{HYPHEN}": "-", "\N{NON-BREAKING HYPHEN}": "-",
    "\N{FULLWIDTH HYPHEN-MINUS}": "-", "\N{FULLWIDTH PLUS SIGN}": "+", "\N{FULLWIDTH EQUALS SIGN}": "=",
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": r"\div ", "√": r"\sqrt ", "∛": r"\sqrt[3]",
    "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "°": r"^\circ ", "º": r"^\circ ",
    "≤": r"\le ", "⩽": r"\le ", "≦": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≧": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
    "≡": r"\equiv ", "±": r"\pm ", "∓": r"\mp ", "→": r"\to ", "⇒": r"\Rightarrow ", "⟹": r"\Rightarrow ",
    "∅": r"\emptyset ", "⌀": r"\emptyset ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "∠": r"\angle ", "△": r"\triangle ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "…": r"\ldots ", "⋯": r"\ldots ",
    "∨": r"\vee ", "∧": r"\wedge ", "∖": r"\setminus ", "′": "'", "″": "''", "’": "'", "‘": "'", "“": '"', "”": '"',
    "％": "%", "，": ",", "；": ";", "：": ":", "（": "(", "）": ")", "［": "[", "］": "]", "｛": r"\{", "｝": r"\}",
    **{chr(0xFF10 + digit): str(digit) for digit in range(10)}, "．": ".", "／": "/", "\N{FRACTION SLASH}": "/",
    "Å": r"\AA ", "\N{ANGSTROM SIGN}": r"\AA ",
    "。": ".", "、": ",", "＜": "<", "＞": ">", "￥": "¥", "＄": "$", "或": " or ", "和": " and ", "且": " and ",
    **dict.fromkeys("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\N{EN SPACE}\N{EM SPACE}\u200a\u3000", " "),
    **dict.fromkeys(map(chr, range(0x1F300, 0x1FB00)), ""),  # pictures
    **dict.fromkeys("\u2713\u2714\u2705\u2611\ufe0f\u200b\u200c\u200d\u2060\ufeff\u2061\u2062", ""),
}  # fmt: skip
UNICODE = str.maketrans(
    {
        **_SYMBOLS,
        **_GREEK_LETTERS,
        **_SCRIPTS,
        **{char: rf"\frac{{{top}}}{{{bottom}}}" for char, (top, bottom) in _FRACTIONS.items()},
    }
)

REPLACED = (
    (r"\(", ""), (r"\)", ""), (r"\[", ""), (r"\]", ""), (r"\%", "%"), (r"\&", " and "), (r"\#", ""), ('\\"', '"'),
    (r"\lbrace", r"\{"), (r"\rbrace", r"\}"), (r"\lbrack", "["), (r"\rbrack", "]"), (r"\_", "_"),
    ("{:}", ":"), ("{=}", "="),
)  # fmt: skip
"""Text for text."""

_NAMES = {
    "frac": "dfrac tfrac cfrac sfrac nicefrac flatfrac", "binom": "dbinom tbinom", "le ": "le leq leqslant leqq",
    "ge ": "ge geq geqslant geqq",
    "ne ": "ne neq", "emptyset ": "emptyset varnothing", "ldots ": "ldots cdots dots dotsc dotsb dotsm dotso hdots",
    "Rightarrow ": "Rightarrow implies Longrightarrow", "to ": "to rightarrow longrightarrow",
    "infty ": "infty infin", "setminus ": "setminus smallsetminus backslash", "cup ": "cup bigcup", "vee ": "vee lor",
    "wedge ": "wedge land", "arcsin ": "arcsin asin", "arccos ": "arccos acos", "arctan ": "arctan atan",
    "epsilon ": "epsilon varepsilon", "phi ": "phi varphi", "theta ": "theta vartheta",
}  # fmt: skip
RENAMED = (
    *(
        (linear.bounded(rf"\\(?:{'|'.join(others.split())})(?![a-zA-Z])"), rf"\\{name}")
        for name, others in _NAMES.items()
    ),
    (linear.bounded(r"\\(?:lvert|rvert|vert|mid)(?![a-zA-Z])"), "|"),
    (linear.bounded(r"\\lt(?![a-zA-Z])"), "<"),
    (linear.bounded(r"\\gt(?![a-zA-Z])"), ">"),
    (linear.bounded(r"\\not\s{0,3}="), r"\\ne "),
    (linear.bounded(r"\\(?:R|Reals|reals)(?![a-zA-Z])|\\mathbb\s{0,3}R(?![a-zA-Z])"), r"\\mathbb{R}"),
    (linear.bounded(r"\{(?:[bpB]|small|psmall|bsmall)?matrix\}"), "{pmatrix}"),
    (linear.bounded(r"\\langle(?![a-zA-Z])"), "("),
    (linear.bounded(r"\\rangle(?![a-zA-Z])"), ")"),
    (linear.bounded(r"(?<=[\d}])\s?\\q?quad\s{0,3}(?=[\d-]|\\(?:frac|sqrt))"), ", "),
    (linear.bounded(r"\\colon(?![a-zA-Z])"), ":"),
    (linear.bounded(r"\\[ij]math(?![a-zA-Z])"), "i"),
    (linear.bounded(r"\\(?:textdollar|mathdollar|checkmark|blacksquare|qed)(?![a-zA-Z])"), ""),
    (linear.bounded(r"\\degrees?(?![a-zA-Z])"), "°"),
    (linear.bounded(r"\\(?:pounds|textsterling)(?![a-zA-Z])"), "£"),
    (linear.bounded(r"\\(?:euro|texteuro|EUR)(?![a-zA-Z])"), "€"),
    (linear.bounded(r"\\(?:textcent|cents?)(?![a-zA-Z])"), "¢"),
    (linear.bounded(r"\\(?:pmod|bmod|mod)\s{0,3}(?:\{([^{}]{1,20})\}|([a-zA-Z0-9]))"), r"\\pmod{\1\2}"),
    (linear.bounded(r"\(\s{0,2}\\?mod(?:\s|\\[ ,;:]){1,3}([a-zA-Z0-9]{1,12})\s{0,2}\)"), r"\\pmod{\1}"),
    (linear.bounded(r"\\math(?:bb|cal|frak|scr)\{([0-9]{1,12})\}"), r"\1"),
    (
        linear.bounded(r"(?<=[.0-9])\\dot\s?\{?([0-9])\}?([0-9]{0,30})\\dot\s?\{?([0-9])\}?"),
        r"\\overline{\1\2\3}",
    ),
    (linear.bounded(r"\\overline\s{0,3}([0-9])"), r"\\overline{\1}"),
    (linear.bounded(r"(?<=[.0-9])\\(?:bar|dot)\s{0,3}(?:\{([0-9]{1,30})\}|([0-9]))"), r"\\overline{\1\2}"),
)
"""Commands for commands."""

SIGNS = (
    (linear.bounded(r"(?<=[a-zA-Z}\s])!=(?!=)"), r"\\ne "),  # after a digit or ")" it is a factorial and "="
    (linear.bounded(r"<=(?!>)"), r"\\le "),
    (linear.bounded(r">="), r"\\ge "),
    (  # 1{,}024
        linear.bounded(
            r"(?<=\d)(?:\{\\?,\}|\\text\{,\}|,\s{0,3}\\!\s{0,3}|\\,|\\ |,\\ |['_~])(?=\d{3}(?!\d))"
        ),
        "",
    ),
    (linear.bounded(r"(?<=\d)\^\s{0,2}\{?\s{0,2}(?:st|nd|rd|th)(?![a-z])\s{0,2}\}?"), ""),  # 7^{th}
    (linear.bounded(r"(?<=\d)\s?(?:st|nd|rd|th)(?=\Z)"), ""),  # 7th
    (linear.bounded(r"(?<=[\d)}])\s?\^\s?(?:\{\s?o\s?\}|o)(?![a-zA-Z])"), "°"),  # 45^o
    (  # {}_5 C_2
        linear.bounded(
            r"(?:\{\s?\}|(?<![\w})\]]))[_^]\{?([0-9a-zA-Z]{1,6})\}?\s?C\s?_\s?\{?([0-9a-zA-Z]{1,6})\}?"
        ),
        r"\\binom{\1}{\2}",
    ),
    (linear.bounded(r"(?<![A-Za-z\\])(?:positive )?[Ii]nfinity(?![A-Za-z])"), r"\\infty"),
    (linear.bounded(r"(?<![A-Za-z])negative \\infty(?![A-Za-z])"), r"-\\infty"),
    (linear.bounded(r"(?<=\s)OR(?=\s)"), "or"),
    (linear.bounded(r"(?<=\s)AND(?=\s)"), "and"),
)
"""Signs of several characters, thousands separators that can be nothing else, ordinals."""
