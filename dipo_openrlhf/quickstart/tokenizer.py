"""The quickstart's tokenizer: one token a digit, one a common word, any other text in bytes.

Every word of the arithmetic templates is one token, for short responses; digits are single tokens because a small model
then learns sums by place. A piece keeps the space before it (as GPT-2's do), so that decoding restores the text exactly.
A word that is not in the vocabulary falls back to its UTF-8 bytes.
"""

from __future__ import annotations

from itertools import chain, islice

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

from dipo_openrlhf.data.arithmetic import demonstrations

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
MAX_LENGTH = 128  # tokens, prompt and response together

# Words, digits one by one, \boxed{ whole, any other mark alone. A newline stays with the word before it, so
# that the header of a chat turn is two tokens.
_PIECES = r" ?\\[a-z]+\{| ?[A-Za-z]+\n?| ?[0-9]| ?[^\sA-Za-z0-9]|\s"
_SAMPLE = 4_000  # demonstrations whose words become tokens: far more than there are phrases
_WORD_LIMIT = 4_096  # bytes; the library's own limit of 100 would make a longer word unknown

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, built from the templates; the same on every machine."""
    sample = islice(demonstrations(seed=0), _SAMPLE)
    strings = chain(["user\nassistant\nsystem\n"], *((d.question, d.response) for d in sample))
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pieces = {piece for text in strings for piece, _ in splitter.pre_tokenize_str(text)}
    tokens = [PAD, START, END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += sorted(pieces.difference(tokens))
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
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
