"""Numbers in English words: forty-two, one hundred and five, three thousand."""

from __future__ import annotations

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
_MAX_CHARS = 100


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
