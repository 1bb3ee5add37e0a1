"""Numbers in English words: forty-two, one hundred and five, three thousand, two thirds."""

from __future__ import annotations

from fractions import Fraction

_SMALL = {
    word: number
    for number, word in enumerate((
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    ))
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
NUMBER_WORDS = frozenset({*_SMALL, *_TENS, *_SCALES})
PARTS = {
    "half": 2, "third": 3, "fourth": 4, "quarter": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
    "seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20, "thirtieth": 30, "fortieth": 40,
    "fiftieth": 50, "sixtieth": 60, "seventieth": 70, "eightieth": 80, "ninetieth": 90, "hundredth": 100,
    "thousandth": 1000, "millionth": 10**6, "billionth": 10**9, "trillionth": 10**12,
}  # fmt: skip
_MAX_CHARS = 100


def fraction_in_words(text: str) -> Fraction | None:
    """The number that all of ``text`` says, also as a part: three-fourths, one half; None for anything else."""
    words = text.lower().replace("-", " ").split() if len(text) <= _MAX_CHARS else []
    if len(words) == 2 and words[0] in _SMALL:
        part = PARTS.get("half" if words[1] == "halves" else words[1].removesuffix("s"))
        if part:
            return Fraction(_SMALL[words[0]], part)
    number = number_in_words(text)
    return None if number is None else Fraction(number)


def number_in_words(text: str) -> int | None:
    """The number that all of ``text`` says, None for anything else."""
    if len(text) > _MAX_CHARS:
        return None
    words = text.lower().replace("-", " ").split()
    if not words or (words[0] not in _SMALL and words[0] not in _TENS):
        return None
    total, group, last = 0, 0, 10**12
    for index, word in enumerate(words):
        if word == "and" and index and words[index - 1] in _SCALES and index + 1 < len(words):
            continue
        if word in _SCALES:
            if last == 0 or (word == "hundred" and group > 9):
                return None
            group *= _SCALES[word]
            if word != "hundred":
                total, group = total + group, 0
            last = 10**12
            continue
        value = _SMALL.get(word, _TENS.get(word))
        if value is None or last < 20 or (last < 100 and value > 9) or value == last == 0:
            return None
        group, last = group + value, value
    return total + group
