"""What a small model is taught before reinforcement learning: one file a lesson in this package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Piece:
    """A part of a conversation's text. `learnt`: whether the model says it, so that the loss is on its tokens.

    A learnt piece ends with the token that ends the model's turn. Pieces are tokenized one by one.
    """

    text: str
    learnt: bool


Conversation = tuple[Piece, ...]


def answered(
    tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]], response: str
) -> Conversation:
    """These messages by the tokenizer's chat template, and the model's response, which alone is learnt."""
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return Piece(str(prompt), learnt=False), Piece(response + str(tokenizer.eos_token), learnt=True)


@dataclass(frozen=True)
class PretrainSettings:
    """Size and training of the small model. Each value is part of the cache's key."""

    hidden_size: int = 160
    layers: int = 3
    heads: int = 5
    key_value_heads: int = 5
    mlp_size: int = 512
    demonstrations: int = 14_000
    batch_size: int = 16  # demonstrations
    initializer_range: float = 0.08  # the usual 0.02 is for wide models and learns more slowly here
    learning_rate: float = 2e-3  # peak, AdamW
    warmup: float = 0.05  # share of the steps
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class Lesson:
    """Endless conversations for a seed, the tokenizer that they are written for, and how a model is trained on them.

    `name` is of the cached folder; `title` is shown beside the progress bar. The model's context is the tokenizer's
    `model_max_length`.
    """

    name: str
    title: str
    build_tokenizer: Callable[[], PreTrainedTokenizerFast]
    conversations: Callable[[PreTrainedTokenizerFast, int], Iterator[Conversation]]
    settings: PretrainSettings = PretrainSettings()
