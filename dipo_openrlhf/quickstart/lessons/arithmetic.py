"""Worked arithmetic, right and mistaken (dipo_openrlhf.data.arithmetic): what the quickstart's model is taught."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from transformers import PreTrainedTokenizerFast

from dipo_openrlhf.data.arithmetic import demonstrations
from dipo_openrlhf.quickstart.lessons.lesson import Conversation, Lesson, answered
from dipo_openrlhf.quickstart.tokenizer import word_tokenizer

MAX_LENGTH = 128  # tokens, prompt and response together

# Words, digits one by one, \boxed{ whole, any other mark alone. A newline stays with the word before it, so
# that the header of a chat turn is two tokens.
_PIECES = r" ?\\[a-z]+\{| ?[A-Za-z]+\n?| ?[0-9]| ?[^\sA-Za-z0-9]|\s"
_SAMPLE = 4_000  # demonstrations whose words become tokens: far more than there are phrases


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Every word of the templates is one token, for short responses; digits are single ones.

    A small model learns sums by place. The same on every machine.
    """
    sample = islice(demonstrations(seed=0), _SAMPLE)
    texts = chain.from_iterable((d.question, d.response) for d in sample)
    return word_tokenizer(texts, _PIECES, MAX_LENGTH)


def conversations(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Conversation]:
    """A question and its worked response, endlessly."""
    for one in demonstrations(seed):
        yield answered(tokenizer, [{"role": "user", "content": one.question}], one.response)


LESSON = Lesson("arithmetic", "Teaching a small model arithmetic", build_tokenizer, conversations)
