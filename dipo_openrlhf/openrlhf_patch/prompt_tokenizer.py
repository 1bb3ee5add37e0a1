"""A tokenizer that reads a prompt once for all of its samples."""

from __future__ import annotations

import functools
from typing import Any

PROMPTS_AT_ONCE = 1024  # the samples of a prompt ask one after the other


class PromptTokenizer:
    """The tokenizer it is given, for openrlhf/utils/agent.py, SingleTurnAgentExecutor.execute, which reads the prompt
    again for each sample.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._read = functools.lru_cache(maxsize=PROMPTS_AT_ONCE)(tokenizer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *parts: Any, **options: Any) -> Any:
        alone = not parts and options.keys() == {"text", "add_special_tokens", "return_tensors"}
        return (self._read if alone else self._tokenizer)(*parts, **options)  # not with images
