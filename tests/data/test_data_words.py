"""Normalisation and n-gram overlap, against versions that are too slow and too plain to be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipo_openrlhf.data.word_ngrams import OverlapIndex, in_order, key, numbers, without_figures, words

TEXTS = st.lists(st.sampled_from("abc"), max_size=24)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Compute $\dfrac12 + 1,000$.", r"compute \frac{1}{2} + 1000"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"\[1 + 2 + \cdots + 9\]", r"$1+2+\dots+9$"),
        (r"What is \(x\)?  Say.", "What is $x$? Say"),
        ("Ann\u2019s \uff11\uff12 cups", "ann's 12 cups"),
        ("\u8ba1\u7b97 3\u3002", "\u8ba1\u7b973"),
    ],
)
def test_looks_do_not_count(one, other):
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("7 + 5", "7 - 5"), ("x^2", "x_2"), ("(1, 2)", "(12)"), ("1.5", "15"), ("a < b", "a > b"), ("2 3", "23"),
     (r"\sin x", "sin x"), ("1,23", "123")],
)  # fmt: skip
def test_what_changes_the_problem_counts(one, other):
    assert key(one) != key(other)


@given(st.text())
def test_normalising_twice_changes_nothing_more_and_no_text_fails(text):
    once = words(text)
    assert all(once)
    assert not any(char.isspace() for word in once for char in word)
    assert key("  " + text.upper().lower() + "\n") == key(text.upper().lower())
    assert words(" ".join(words(" ".join(once)))) == words(" ".join(once))


def naive_shares(texts, text, n):
    found = {}
    grams = [text[i : i + n] for i in range(len(text) - n + 1)]
    for index, other in enumerate(texts):
        covered = [
            any(other[s : s + n] in grams for s in range(p - n + 1, p + 1) if 0 <= s <= len(other) - n)
            for p in range(len(other))
        ]
        if any(covered):
            found[index] = sum(covered) / len(other)
    return found


@given(st.lists(TEXTS, max_size=6), TEXTS, st.integers(1, 6))
def test_overlap_is_that_of_the_naive_version(texts, text, n):
    assert OverlapIndex(texts, n).shares(text) == pytest.approx(naive_shares(texts, text, n))


def test_a_text_shorter_than_an_ngram_is_never_found():
    short = ["what", "is", "7", "+", "5", "*", "3"]
    assert len(short) == 7
    assert OverlapIndex([short]).shares(short) == {}
    assert OverlapIndex([[*short, "now"]]).shares(["please", *short, "now"]) == {0: 1.0}


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_in_order_is_a_subsequence(some, among):
    def naive(a, b):
        if not a or not b:
            return not a
        return naive(a[1:] if a[0] == b[0] else a, b[1:])

    assert in_order(list(map(str, some)), list(map(str, among))) == naive(some, among)


def test_figures_and_numbers():
    text = words("Find $x$ [asy] draw((0,1)--(2,3)); [/asy] if $y = 4$ and [1, 2] holds [asy] cut")
    assert without_figures(text) == ["find", "x", "if", "y", "=", "4", "and", "[", "1", "2", "]", "holds"]
    assert numbers(text) == ["0", "1", "2", "3", "4", "1", "2"]
