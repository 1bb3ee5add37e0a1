"""Take off what is around a value: words before it, the label of a structure, a currency, conditions after it."""

from __future__ import annotations

import re

from dipo_eval import linear

_VALUE_START = r"[\d\\(+\[{|.\u00a3\u20ac\u00a5\u20b9-]"
_KINDS = (
    r"(?:ordered |unordered )?(?:point|pair|triple|triplet|quadruple|tuple|set|interval|vector|matrix|coordinate"
    r"|range|domain|solution|root|solution set|value|number|vertex|cent(?:er|re)|midpoint|focus|centroid)s?"
)
# Words before a value. One row a form; each is tried at the start of an answer.
_LEADS = (
    r"(?:so|thus|hence|therefore|then|and),? (?=[a-z\\(\d])",
    r"(?:the |my |our )?(?:(?:final|correct|exact|required|desired|right) )?(?:answer|result)s? ?"
    r"(?:(?:is|are) ?[:=]?|[:=]) ?",
    rf"(?:the )?{_KINDS} ?(?:(?:is|are) |[:=] ?)?(?=[(\[\\])",
    r"[A-Z] ?: ?(?=[(\[\\])",
    r"(?:\\mathbb ?\{P\}|\\?Pr?) ?\([^()]{1,60}\) ?= ?(?=[\d\\.])",  # P(X > 1) =
    r"(?:for )?(?:all|any|every) (?:(?:real|positive|natural|whole|integer) )?(?:numbers? |integers? |values? )?(?:of )?"
    r"(?=[a-z] ?(?:\\(?:le|ge|ne)[^a-z]|[<>]))",
    r"[A-Za-z][A-Za-z' ]{0,60}[A-Za-z] ?(?:\([A-Za-z ]{0,20}\) ?)?: ?",
)
_LEAD = linear.bounded("|".join(f"(?:{one})" for one in _LEADS), re.IGNORECASE)
_SENTENCE = linear.compile(
    rf"([A-Za-z][A-Za-z',\s-]*\s)(?:a\s+total\s+of\s+)?({_VALUE_START}.*)\Z", re.DOTALL
)
# Words that tell a sentence about a value from words that change it.
VERBS = frozenset((
    "is", "are", "was", "were", "will", "be", "equals", "equal", "has", "have", "had", "gets", "get", "got",
    "costs", "cost", "makes", "make", "made", "earns", "earn", "earned", "pays", "pay", "paid", "needs", "need",
    "spends", "spend", "spent", "takes", "take", "took", "gives", "give", "gave", "requires", "require", "weighs",
    "weigh", "sells", "sell", "sold", "buys", "buy", "bought", "eats", "ate", "leaves", "left", "uses", "use",
    "used", "saves", "save", "saved", "contains", "contain", "receives", "receive", "received", "runs", "ran",
    "walks", "walked", "drives", "drove", "travels", "traveled", "owns", "own", "owes", "owe", "collects",
    "collected", "becomes", "means", "implies", "yields",
))  # fmt: skip
_NOT_SAID = frozenset((
    "not", "no", "never", "or", "less", "more", "fewer", "than", "least", "most", "between", "either", "neither",
    "nor", "unless", "except", "but", "maybe", "perhaps", "possibly", "might", "may", "could", "if", "only",
    "every", "remainder",
))  # fmt: skip
EVERY = linear.bounded(
    r"(?:every|each) (?:second|minute|hour|day|night|morning|evening|week|weekend|month|year)"
)
"""When something is so, which does not change a value as "every" does."""
CURRENCY = linear.bounded(
    r"(?:(?:US|HK|CA|AU|NZ|A|C)? ?[\u00a3\u20ac\u00a5\u20b9\u20a9]|USD|EUR|GBP|INR|CNY|RMB|JPY|CAD|AUD|HKD|Rs\.?|RM) ?"
    r"(?=[\d.+\\-])"
)
_CURRENCY_AFTER = linear.compile(r"(.*\d)\s?[\u00a3\u20ac\u00a5\u20b9\u20a9\u00a2]\Z")
# Conditions after a value: they restrict a variable and do not choose between values, as "if" does.
_CONDITION = linear.compile(
    r"[,;\s]\s*(?:\(\s*)?(?:where|such that|for all|for any|for every|for each|for some|for (?:all )?integers?|\\forall"
    r"|with [a-z] (?:an?|any|in|\\in))(?:[\s\\,]|\Z)"
    r"|[,;\s]\s?\(?\s?(?:for\s)?[nkm]\s?(?:>|\\ge)\s{0,3}[0-3]\s?\)?\Z"  # what an index is by itself
    r"|(?:[,;\s]\s*|\s*\(\s*)(?:[a-z]|[a-z]\s*,\s*[a-z])\s*\\in\s*\\mathbb\{[A-Z]\}",
)
_INDEX_AT_LEAST = linear.bounded(r"[,;\s]{1,3}\(?\s?(?:for\s)?([nkm])\s?(?:>|\\ge)")
_RELATION = linear.bounded(
    r"[<>]|\\(?:le|ge|ne|lt|gt)(?![a-z])|^\s{0,3}[nkm]\s{0,3}=|(?:\bor|\band|,)\s{0,3}$"
)
# A condition after which the answer goes on would take the rest with it.
_MORE_VALUES = linear.bounded(
    r"(?<![<>:!])=|\bor\b|\botherwise\b|\belse\b|[,;]\s{0,3}-?\d|\band\s{1,3}-?\d|\\cup"
    r"|\balternativ|\banother\b|\bother (?:answer|option|value|choice|possib|guess)|\bknow\b"
    r"|\b(?:is|be|equals)\s{1,3}-?\d|\d (?:is|may|might|could|would) "
)
# "每天赚 18 美元", and what makes a Chinese sentence about a value no answer.
_CHINESE = linear.compile(
    r"[A-Za-z'\s,:\u4e00-\u9fff]*[\u4e00-\u9fff][\s,:]{0,3}([\d\\(.\u00a5-].*)\Z", re.DOTALL
)
_CHINESE_DOUBT = linear.bounded(r"[不非约或至超]|\bor\b|百分之|可能|大于|小于|如果|第")
_AGAIN = linear.compile(r"(.*[\d}%)])\s?\(\s?or\s([\d\\.-][^()]*)\)\Z", re.DOTALL)
_AS_PERCENT = linear.compile(r"(.*[\d}%)])\s?\(\s?([\d.]+\s?%)\s?\)\Z", re.DOTALL)
_ABOUT = linear.compile(
    r"(.*[\d}%)])\s?,?\s?\(?\s?(?:or\s)?(?:about|approximately|roughly)\s([\d\\.-][^()]*)\)?\Z", re.DOTALL
)
_WORDY = linear.compile(r"[A-Za-z]{3,}\s+[A-Za-z]{2,}")
_LABEL = linear.compile(r"[A-Za-z\\|(\[\u2220][A-Za-z0-9\\{}_|,()\[\]\s^'\u00b0:]*\Z")
_COMMAND = linear.bounded(r"\\[a-zA-Z]{1,20}")
_DIGIT_ALONE = linear.bounded(r"(?<![_{0-9a-zA-Z])\d")
_POWER = linear.bounded(r"(?<=[A-Za-z)])\s?\^\s?\{?\s?(?:-1|T|[2-9])\s?\}?\Z")  # A^{-1} = ...
_DIGITS = linear.bounded(r"\d{1,20}")
_STRUCTURE = ("(", "[", r"\{", r"\begin", r"\emptyset", r"\mathbb", r"\langle")
_NAMES = linear.compile(r"[a-zA-Z](?:\s*,\s*[a-zA-Z])+\s*=\s*([^=]+)\Z")
_LETTER = linear.bounded(r"(?<![\\a-zA-Z])[a-zA-Z]")


def peel(text: str) -> str:
    """Cleaned ``text`` without words before the value, without the label of a structure, without conditions."""
    for _ in range(3):
        before = text
        if text[:1].isalpha() or text[:1] > "\u3000" or text[:1] in "(|[\\\u2220":
            text = _without_label(_without_words(text))
        text = _without_condition(text)
        if text == before:
            break
    return _restated(without_currency(text))


def _restated(text: str) -> str:
    """``3/4 (or 0.75)`` and ``3/4 (75%)`` as two values, ``1/3, or about 33.3%`` as a value and its rounding."""
    if text.endswith("%)"):
        text = _AS_PERCENT.sub(r"\1 or \2", text)
    if text.endswith(")") and "or " in text:
        text = _AGAIN.sub(r"\1 or \2", text)
    if "about" in text or "ately" in text or "roughly" in text:
        text = _ABOUT.sub(r"\1 \\approx \2", text)
    return text


def without_currency(text: str) -> str:
    """``text`` without a currency before or after its number."""
    if text.isascii() and not text[:1].isupper() and text[:1] != "-":
        return text
    found = CURRENCY.match(text)
    if found:
        return text[found.end() :]
    if text.startswith("-"):
        inner = CURRENCY.match(text[1:])
        return "-" + text[1 + inner.end() :] if inner else text
    after = None if text.isascii() else _CURRENCY_AFTER.match(text)
    return str(after[1]) if after else text


def said_of(text: str) -> str:
    """What a sentence in words says of something: ``even`` of "The function is even"; else ``text``."""
    words = text.split()
    lower = [word.lower().strip(",.") for word in words]
    verbs = [index for index, word in enumerate(lower) if word in VERBS]
    return text if len(verbs) != 1 or set(lower) & _NOT_SAID else " ".join(words[verbs[0] + 1 :])


def _without_words(text: str) -> str:
    lead = _LEAD.match(text)
    if lead and lead.end() < len(text):
        return text[lead.end() :].lstrip()
    if not text.isascii() and not _CHINESE_DOUBT.search(text):
        chinese = _CHINESE.match(text)
        if chinese:
            return str(chinese[1])
    sentence = _SENTENCE.match(text)
    if sentence:
        said = set(EVERY.sub("", sentence[1].lower()).replace(",", " ").split())
        if said & VERBS and not said & _NOT_SAID:
            return str(sentence[2])
    return text


def _without_label(text: str) -> str:
    """The structure after ``(x,y) =`` or ``S =``, and the list after ``x, y =``."""
    left, sign, right = text.partition("=")
    right = right.lstrip()
    if not sign or not right or left[-1:] in "<>!:" or "=" in right:
        return text
    left = left.strip()
    if right.startswith(_STRUCTURE) and len(left) <= 60 and is_name(_POWER.sub("", left)):
        return right
    names = _NAMES.match(text)
    return str(names[1]) if names and "," in names[1] else text


def is_name(text: str) -> bool:
    """Whether ``text`` names something: letters, commands, brackets around letters, digits only in subscripts."""
    if not _LABEL.match(text) or not (_LETTER.search(text) or _COMMAND.search(text)):
        return False
    return _DIGIT_ALONE.search(text) is None


def conditions_differ(one: str, other: str) -> bool:
    """Whether two answers have conditions with different numbers in them."""
    conditions = [
        text[len(value) :] if (value := _without_condition(text)) != text else "" for text in (one, other)
    ]
    numbers = [sorted(_DIGITS.findall(condition)) for condition in conditions]
    return all(conditions) and numbers[0] != numbers[1]


def _without_condition(text: str) -> str:
    if not any(mark in text for mark in ("w", "f", "\\in", "such", "\\ge", ">")):
        return text
    found = _CONDITION.search(text)
    if found is None or not found.start() or _WORDY.search(text[: found.start()]):
        return text
    value, condition = text[: found.start()].rstrip(" ,;("), text[found.start() :]
    if not value or value.endswith("{") or _MORE_VALUES.search(condition):
        return text
    index = _INDEX_AT_LEAST.match(
        condition
    )  # of an expression in that index, not the other half of an inequality
    if index and (index[1] not in value or _RELATION.search(value)):
        return text
    return value
