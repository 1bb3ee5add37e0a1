"""Episodes with tools in the pantry (dipo_openrlhf.data.pantry), right and mistaken: what a small model is taught."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from transformers import PreTrainedTokenizerFast

from dipo_openrlhf.data.pantry import demonstrations
from dipo_openrlhf.environments.environment import tool_schema
from dipo_openrlhf.environments.pantry import Pantry
from dipo_openrlhf.quickstart.lessons.lesson import Conversation, Lesson, Piece, PretrainSettings
from dipo_openrlhf.quickstart.tokenizer import TOOLS_TEMPLATE, word_tokenizer
from dipo_openrlhf.rewards.tool_template import ToolTemplate

MAX_LENGTH = 256  # tokens, of a whole episode

# What is the same in every call of a tool is one token; else as for arithmetic.
_PIECES = (
    r"<tool_call>\{\"name\": \"|\", \"arguments\": \{\"item\": \"|\", \"jars\": |\"?\}\}</tool_call>"
    r"| ?[A-Za-z]+\n?| ?[0-9]| ?[^\sA-Za-z0-9]|\s"
)
_SAMPLE = 500  # demonstrations whose words become tokens
_TOOLS = [tool_schema(getattr(Pantry, name)) for name in Pantry.tool_names()]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A call of a tool is five or seven tokens; digits are single ones. The same on every machine."""
    texts = ["Tools: add count take", "tool\n"]
    for one in islice(demonstrations(seed=0), _SAMPLE):
        texts += [one.order.request, *one.messages, *(text for results in one.results for text in results)]
    return word_tokenizer(texts, _PIECES, MAX_LENGTH, TOOLS_TEMPLATE)


def conversations(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Conversation]:
    """An episode, endlessly: exactly the tokens that the tool agent would show, and what the model says in between."""
    template = ToolTemplate(tokenizer)

    def text(tokens: list[int]) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=False))

    @lru_cache(None)
    def shown(results: tuple[str, ...]) -> str:
        return text(template.after_calls([""] * len(results), results, 0, ended=True))

    for one in demonstrations(seed):
        opening = template.opening([{"role": "user", "content": one.order.request}], _TOOLS)
        pieces = [Piece(text(opening), learnt=False)]
        for message, results in zip(one.messages, (*one.results, None), strict=True):
            pieces.append(Piece(message + str(tokenizer.eos_token), learnt=True))
            if results is not None:
                pieces.append(Piece(shown(results), learnt=False))
        yield tuple(pieces)


LESSON = Lesson(
    "pantry",
    "Teaching a small model to use tools",
    build_tokenizer,
    conversations,
    PretrainSettings(demonstrations=8_000),
)
