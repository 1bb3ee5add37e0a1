"""The tokenizer of a rehearsal: Qwen's own class, with its splitting and chat form, and some hundred tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from dipo_openrlhf.quickstart.tokenizer import END, PAD, START, TOOLS_TEMPLATE

_SIZE = 420  # tokens, of which 256 are bytes


def build_tokenizer(texts: Iterable[str], max_length: int) -> Qwen2Tokenizer:
    """Byte pairs learnt from `texts`; any other text falls back to its bytes. The same on every machine.

    transformers loads this class with every Qwen model, whatever the folder's own settings name
    (transformers/models/auto/tokenization_auto.py, AutoTokenizer.from_pretrained).
    """
    trainer = trainers.BpeTrainer(
        vocab_size=_SIZE,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[PAD, START, END],
        show_progress=False,
    )
    untrained = Qwen2Tokenizer().backend_tokenizer
    untrained.train_from_iterator(["user\nassistant\nsystem\n", *texts], trainer)
    learnt = json.loads(untrained.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[(left, right) for left, right in learnt["merges"]],  # type: ignore[misc]  # declared as strings
        unk_token=PAD,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[START],
        chat_template=TOOLS_TEMPLATE,
        model_max_length=max_length,
        padding_side="left",
    )
