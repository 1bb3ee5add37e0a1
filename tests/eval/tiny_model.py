"""A random model of a few thousand parameters with a byte-level tokenizer, made in a test, and its responses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dipo_eval.engines.base import Engine, Generation, Request, Sampling

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tiny_model(folder: Path, seed: int = 0, max_position_embeddings: int = 512) -> Path:
    """Write a Qwen3 of hidden size 32 and 2 layers in HF form; equal seeds give equal weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["What is 7 + 5 * 3? user assistant 0123456789"] * 10, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>", chat_template=CHAT_TEMPLATE
    )
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=max_position_embeddings,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
        initializer_range=0.2,  # far from uniform, so that greedy choices do not hang on rounding
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def generate_all(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> list[list[Generation]]:
    """The generations of every request, in order."""
    found: dict[int, list[Generation]] = {}

    def keep(position: int, generations: list[Generation]) -> Sequence[Request]:
        found[position] = generations
        return ()

    engine.generate(requests, sampling, keep)
    return [found[position] for position in range(len(requests))]
