"""The tokenizers of the quickstart's models: one token a common word, any other text in bytes.

A piece keeps the space before it (as GPT-2's do), so that decoding restores the text exactly. A word that is not in the
vocabulary falls back to its UTF-8 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"

_WORD_LIMIT = 4_096  # bytes; the library's own limit of 100 would make a longer word unknown

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

TOOLS_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\\nTools:' }}"
    "{% for tool in tools %}{{ ' ' + tool.function.name }}{% endfor %}{{ '<|im_end|>' + '\\n' }}{% endif %}"
) + CHAT_TEMPLATE
"""Also for the tool agent: tools by their names alone, for a model that has been taught what they are."""


def word_tokenizer(
    texts: Iterable[str], pieces: str, max_length: int, chat_template: str = CHAT_TEMPLATE
) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the pieces of `texts` and all bytes.

    `pieces`: a regular expression of the tokenizers library; what it matches in turn is a piece. It must match any text,
    and "user\\n" as one piece, for the header of a chat turn to be two tokens. `max_length`: in tokens.
    """
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    strings = chain(["user\nassistant\nsystem\n"], texts)
    found = {piece for text in strings for piece, _ in splitter.pre_tokenize_str(text)}
    tokens = [PAD, START, END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += sorted(found.difference(tokens))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        WordPiece(
            vocabulary, unk_token=PAD, continuing_subword_prefix="", max_input_chars_per_word=_WORD_LIMIT
        )
    )
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START],
        chat_template=chat_template,
        model_max_length=max_length,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
