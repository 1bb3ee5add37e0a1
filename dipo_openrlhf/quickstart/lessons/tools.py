"""Function calls, right and mistaken (dipo_openrlhf.data.tool_calls): what the model of `--task tools` is taught."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from transformers import PreTrainedTokenizerFast

from dipo_openrlhf.data.tool_calls import demonstrations, system_message
from dipo_openrlhf.quickstart.lessons.lesson import Conversation, Lesson, PretrainSettings, answered
from dipo_openrlhf.quickstart.tokenizer import CHAT_TEMPLATE, word_tokenizer

MAX_LENGTH = 1024
"""Tokens, prompt and response together: its own conversations have at most 150, but BFCL's items are long."""

# The fixed parts of a call whole; words with the space or underscore before them, so that a new name is made of known
# pieces; numbers whole; any other mark alone. A newline stays with the word before it, for the header of a chat turn.
_PIECES = (
    r'<tool_call>\n\{"name": "|", "arguments": \{"|"?\}\}\n</tool_call>\n?|"?, "|": "?|, |: |\):?\n?'
    r"|[ _]?[A-Za-z]+\n?| ?[0-9]+| ?[^\sA-Za-z0-9]|\s"
)
_SAMPLE = 8_000  # demonstrations whose pieces become tokens: all words occur in them

# As data/tool_calls.py writes its system message. A tool of BFCL may have no properties.
_TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\\nFunctions:' }}{% for tool in tools %}"
    "{{ '\\n' + tool.function.name + '(' }}"
    "{% for key, one in tool.function.parameters.get('properties', {}).items() %}"
    "{{ ('' if loop.first else ', ') + key + ': ' + (one.type | string) }}{% endfor %}{{ ')' }}"
    "{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Every word of the templates is one token, for short prompts; the same on every machine."""
    texts = (
        f"{system_message(d.problem.functions)['content']}\n{d.problem.request}\n{d.response}"
        for d in islice(demonstrations(seed=0), _SAMPLE)
    )
    return word_tokenizer(texts, _PIECES, MAX_LENGTH, _TOOLS + CHAT_TEMPLATE)


def conversations(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Conversation]:
    """The functions and a request, and its response, endlessly."""
    for one in demonstrations(seed):
        messages = [system_message(one.problem.functions), {"role": "user", "content": one.problem.request}]
        yield answered(tokenizer, messages, one.response)


LESSON = Lesson(
    "tools",
    "Teaching a small model function calls",
    build_tokenizer,
    conversations,
    PretrainSettings(demonstrations=16_000),
)
