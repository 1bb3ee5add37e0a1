"""Words after a number that change its value, so that they are no unit: scales, parts, negations, alternatives."""

from __future__ import annotations

from fractions import Fraction

from dipo_eval import linear
from dipo_eval.grading.math.number_words import NUMBER_WORDS, PARTS

SCALES = {
    "dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "lakh": 10**5, "crore": 10**7,
}  # fmt: skip
"""Words with one meaning; ``gross``, ``score``, ``bil`` and ``mil`` have several, and so no value."""
_PLURALS = {"halves": 2} | {f"{part}s": number for part, number in PARTS.items() if part != "half"}
_OTHER_SCALES = (
    "dozens hundreds thousands millions billions trillions lakhs crores quadrillion quintillion sextillion octillion"
    " zillion zillions googol myriad gross score bil mil mill mln mlns bn mn tn grand kilo mega giga milli micro"
    " couple mille millones millionen milliarden milliards milliard mila tausend hundert cento cien mil tusen duizend"
    " miljoen millon milione milioni milliardi permille permil"
)
_CHANGES = (
    "below under beneath deficit debt overdrawn loss losses lost owed shy negated inverted reciprocal reciprocals"
    " inverses complement conjugate conjugated factorial doubled tripled trebled quadrupled quintupled halved quartered"
    " twice thrice double triple quadruple root rooted logarithm log exponent exponential exponentiated raised power"
    " modulo multiplied divided added subtracted deducted increased decreased reduced rounded"
)
_ALTERNATIVES = (
    "alternative alternatives alternatively instead rather unless though although versus vs else whereas while"
    " another"
)
CHANGING = frozenset((*_PLURALS, *_OTHER_SCALES.split(), *_CHANGES.split(), *_ALTERNATIVES.split()))
"""What changes a value wherever it stands after it."""
_LAST = frozenset(("negative", "short", "opposite", "inverse", "imaginary", "fold"))
"""What does so unless it describes something that is counted: 3 negative integers, 5 short stories."""
_COUNTED = frozenset((
    "number", "numbers", "integer", "integers", "root", "roots", "solution", "solutions", "value", "values", "terms",
    "story", "stories", "pencils", "sticks", "sides", "angles", "functions", "factors", "divisors", "eigenvalues",
))  # fmt: skip
_SCHOOL = frozenset(("grade", "grader", "graders", "class", "classes", "floor", "place"))
_PHRASES = linear.bounded(r"\bin the (?:red|hole|negative)\b|\bbaker's\b")
_EXPLAINS = {"rounded", "while", "though", "although", "whereas"}  # The answer is $5$, although ...
_ANYWHERE = "|".join(sorted({*CHANGING, *SCALES, *PARTS, "squared", "cubed"} - _EXPLAINS))
_AFTER_FORMULA = linear.compile(
    r"\s*(?:minus|plus|times|over|less|mod|[ik])(?:\W|\Z)|[a-z\s]*,\s+alternatively\W|\s*(?:[a-zA-Z]+\s+){0,4}?(?:"
    rf"(?:{_ANYWHERE}|in\s+the\s+(?:red|hole|negative)|baker's|negative\s+(?:dollars|euros|cents|degrees|units|points))(?:\W|\Z)"
    rf"|(?:{'|'.join(sorted(_LAST | NUMBER_WORDS))})(?:\s+of\W|\s*[.,;:!?)]|\s*\Z))"
)
_AND_PART = linear.compile(rf"\s*and\s+[a-zA-Z]+[\s-]+(?:{'|'.join(sorted({*PARTS, *_PLURALS}))})(?:\W|\Z)")
_CLAUSE = frozenset(
    ("and", "so", "but", "as", "because", "since", "that", "which", "is", "are", "was", "has", "we")
)
SCALE_WORDS = "|".join(sorted({*SCALES, *_PLURALS}, key=len, reverse=True))
"""For a pattern: the words that scale a number by a known factor."""


def scale_of(words: list[str], *, is_one: bool) -> tuple[Fraction, list[str]]:
    """The factor that the first ``words`` say, and the rest. ``is_one``: the number before them is 1, as in 1 third."""
    scale = Fraction(1)
    lower = [word.lower() for word in words]
    parts = {**_PLURALS, **PARTS} if is_one else _PLURALS
    if lower[0] in parts and not _is_school(lower[:2]):
        return Fraction(1, parts[lower[0]]), words[1:]
    at = 0
    while at < len(words) and lower[at] in SCALES:
        scale *= SCALES[lower[at]]
        at += 1
    return scale, words[at:]


def changes_value(words: list[str]) -> bool:
    """Whether one of ``words`` after a number makes another value of it."""
    lower = [word.lower() for word in words]
    for index, word in enumerate(lower):
        following = lower[index + 1 : index + 2]
        if word in CHANGING or word in SCALES:
            return not (word == "root" and following)
        if word in _LAST and not set(lower[index + 1 :]) & _COUNTED:
            return True
        if word == "zero" or (
            word in NUMBER_WORDS and not following
        ):  # 3 away from ten, not 3 ten dollar bills
            return True
        if word in PARTS and not _is_school(lower[index : index + 2]):
            return True
    return _PHRASES.search(" ".join(lower)) is not None


def is_changed_after(text: str) -> bool:
    """Whether the words with which ``text`` begins change the value of what is before it."""
    if _AND_PART.match(text):  # $3$ and a half
        return True
    found = _AFTER_FORMULA.match(text) if text[:1].isspace() else None
    return found is not None and _CLAUSE.isdisjoint(str(found[0]).lower().split())


def _is_school(words: list[str]) -> bool:
    """Whether an ordinal counts classes: 18 fifth graders."""
    return len(words) > 1 and words[1] in _SCHOOL
