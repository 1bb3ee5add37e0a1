"""Training prompts that are problems of an evaluation suite, word for word or nearly so. Not a data set.

Exact: equal after `word_ngrams.key`. N-gram, as in Tulu 3 (arXiv 2411.15124, section 3.2): more than half of the words
of the suite's problem lie in 8-grams that the training prompt has too. Wording: the same, but the suite's numbers do not
all occur in the prompt in their order ("a train travels 270 miles in 3 hours"): another problem. docs/data.md has what
each rule drops.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dipo_eval.errors import UserError
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN
from dipo_eval.suites import Item, all_suites, get_suites
from dipo_eval.suites.base import items_sha256
from dipo_eval.suites.math_file import BOXED
from dipo_openrlhf.data.base import Prompt
from dipo_openrlhf.data.word_ngrams import OverlapIndex, in_order, numbers, without_figures, words

How = Literal["exact", "n-gram", "wording"]
HOWS = get_args(How)
"""The closest first."""

_BOXED = words(BOXED)
# What at least 20 problems share at an end, and has at least 8 words, is a template.
_TEMPLATE_WORDS, _TEMPLATE_PROBLEMS = 8, 20


@dataclass(frozen=True)
class Meeting:
    """A prompt met an item of a suite. `share`: how much of the item's words its n-grams cover; 1 for exact."""

    suite: str
    item: str
    how: How
    share: float

    def __str__(self) -> str:
        return f"{self.suite}: {self.item} ({self.how}, {100 * self.share:.0f}%)"


@dataclass(frozen=True)
class ReadSuite:
    """A suite to compare with: the words of its problems by item, and the hash of its items."""

    name: str
    sha256: str
    items: int
    problems: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Suites:
    """All suites: those that could be read, and for the others the reason."""

    read: list[ReadSuite]
    unread: dict[str, str]


def read_suites(
    data_dir: Path | None,
    also: Sequence[str],
    seed: int,
    advance: Callable[[int], None],
    part_of: Sequence[str] = (),
) -> Suites:
    """The suites of this package and those of the user's own files.

    `seed` is the evaluation's, from which generated suites are made. `part_of`: suites whose own items are trained on.
    Raises UserError for a suite file of the user's own that cannot be read.
    """
    read, unread, files = [], {}, set[str]()
    suites = {**all_suites(), **{suite.name: suite for suite in (get_suites(also) if also else [])}}
    for suite in suites.values():
        if suite.name in part_of:
            unread[suite.name] = (
                "the prompts are its own items: what a model trained on them scores there means nothing"
            )
            continue
        try:
            items = suite.load(data_dir, None, seed)
        except UserError as error:
            if suite.files:
                raise
            unread[suite.name] = str(error)
        else:
            # The same problems once more behind solved ones (gsm8k-5shot), which are training problems.
            shown_before = suite.plain and suite.data is not None and suite.data.name in files
            problems = [] if shown_before else _problems(items)
            read.append(ReadSuite(suite.name, items_sha256(items), len(items), problems))
            files |= {suite.data.name} if suite.data else set()
        advance(1)
    return Suites(read, unread)


class LeakIndex:
    """The problems of all suites, indexed."""

    def __init__(self, suites: Suites, n: int, share: float) -> None:
        self._share = share
        self._names: list[tuple[str, str]] = []
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._numbers: list[list[str]] = []
        problems = []
        for suite in suites.read:
            for item, text in suite.problems:
                self._exact[" ".join(text)].append(len(self._names))
                self._names.append((suite.name, item))
                self._numbers.append(numbers(text))
                problems.append(without_figures(text))
        self._overlap = OverlapIndex(problems, n)

    def meetings(self, prompt: Prompt) -> list[Meeting]:
        """Every suite item that the prompt meets, in any of its requests; the closest first, each item once."""
        found = (meeting for text in prompt.requests for meeting in self._of_request(text))
        best: dict[tuple[str, str], Meeting] = {}
        for meeting in sorted(found, key=_rank):
            best.setdefault((meeting.suite, meeting.item), meeting)
        return list(best.values())

    def _of_request(self, text: str) -> Iterable[Meeting]:
        whole = words(text)
        exact = self._exact.get(" ".join(whole), [])
        for index in exact:
            yield Meeting(*self._names[index], "exact", 1.0)
        have = numbers(whole)
        for index, share in self._overlap.shares(without_figures(whole)).items():
            if share > self._share and index not in exact:
                how: How = "n-gram" if in_order(self._numbers[index], have) else "wording"
                yield Meeting(*self._names[index], how, share)


def _rank(meeting: Meeting) -> tuple[int, float, str, str]:
    return HOWS.index(meeting.how), -meeting.share, meeting.suite, meeting.item


def _problems(items: Sequence[Item]) -> list[tuple[str, list[str]]]:
    """(item, words) of the user's messages of each item, without what the suite puts around every problem."""
    found = _without_template([(item.id, words(text)) for item in items for text in _user_messages(item)])
    return [(item, text) for item, text in found if text]


def _user_messages(item: Item) -> list[str]:
    """The user's messages of an item; of a conversation also those of its later turns, which are not in `messages`."""
    if item.meta.get("kind") in MULTI_TURN:
        turns = bfcl.item(item.meta["kind"], item.id)["question"]
        return [message["content"] for turn in turns for message in turn if message["role"] == "user"]
    return [message["content"] for message in item.messages if message["role"] == "user"]


def _without_template(problems: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    problems = [
        (item, text[: -len(_BOXED)] if text[-len(_BOXED) :] == _BOXED else text) for item, text in problems
    ]
    if len(problems) < _TEMPLATE_PROBLEMS:
        return problems
    before = _shared_start([text for _, text in problems])
    after = _shared_start([text[::-1] for _, text in problems])
    return [(item, text[before : max(before, len(text) - after)]) for item, text in problems]


def _shared_start(problems: list[list[str]]) -> int:
    """Number of words that all begin with, where that is enough for a template; else 0."""
    first, last = min(problems), max(problems)
    count = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return count if count >= _TEMPLATE_WORDS else 0
