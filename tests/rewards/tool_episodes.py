"""A tokenizer with tools, an engine that plays vLLM's with known tokens, and episodes. Loaded by path."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from dipo_openrlhf.rehearse.tokenizer import build_tokenizer
from dipo_openrlhf.rewards.call_form import CALL_FORM
from dipo_openrlhf.rewards.episode import Episodes

END = "<|im_end|>"
# Qwen2.5's form, shortened.
QWEN = """{%- if tools %}<|im_start|>system
# Tools
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}
    {%- if message.role == "tool" %}
        {%- if loop.first or messages[loop.index0 - 1].role != "tool" %}{{ '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != "tool" %}{{ '<|im_end|>\\n' }}{%- endif %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content }}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""
# Llama 3.1's: one call a message, of which nothing else is shown; results of the role ipython.
LLAMA = """{%- for message in messages %}
    {%- if message.role not in ("tool", "ipython") and not message.tool_calls %}
        {{- '<|im_start|>' + message.role + '\\n\\n' }}
        {%- if tools and loop.first %}{{ tools | tojson + '\\n' }}{%- endif %}
        {{- message.content + '<|im_end|>' }}
    {%- elif message.tool_calls %}
        {%- if message.tool_calls | length != 1 %}{{ raise_exception("single tool-calls at once!") }}{%- endif %}
        {{- '<|im_start|>assistant\\n\\n{"parameters": ' + message.tool_calls[0].function.arguments | tojson }}
        {{- '}<|im_end|>' }}
    {%- else %}{{ '<|im_start|>ipython\\n\\n' + message.content | tojson + '<|im_end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n\\n' }}{%- endif %}"""
# Mistral's: no header of the assistant's turn, identifiers of nine letters and digits, results in JSON.
MISTRAL = """{%- for message in messages %}
    {%- if message.role == "user" %}
        {%- if tools and loop.last %}{{ '[AVAILABLE_TOOLS]' + tools | tojson }}{%- endif %}
        {{- '[INST]' + message.content + '[/INST]' }}
    {%- elif message.role == "tool" %}
        {%- if message.tool_call_id | length != 9 %}{{ raise_exception("nine letters") }}{%- endif %}
        {{- '[TOOL_RESULTS]' + {"content": message.content, "call_id": message.tool_call_id} | tojson }}
        {{- '[/TOOL_RESULTS]' }}
    {%- elif message.tool_calls %}
        {{- '[TOOL_CALLS]' + message.tool_calls | map(attribute="function") | list | tojson + '<|im_end|>' }}
    {%- else %}{{ message.content + '<|im_end|>' }}
    {%- endif %}
{%- endfor %}"""


@contextlib.contextmanager
def made_episodes() -> Iterator[Episodes]:
    """Episodes whose messages are lists of calls, whatever the template; their worker processes end with the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CALL_FORM, "any")
        made = Episodes()
    try:
        yield made
    finally:
        made.close()


def tokenizer(template: str = QWEN) -> Any:
    made = build_tokenizer(["<tool_call> <tool_response> assistant the pantry has jars of rice"], 100_000)
    made.chat_template = template
    return made


class Engine:
    """Samples the given messages: texts, which it closes with the end token, or (tokens, finish reason)."""

    def __init__(self, tokenizer: Any, messages: Iterable[Any]) -> None:
        self.tokenizer, self._messages = tokenizer, iter(messages)
        self.prompts: list[list[int]] = []
        self.sampled: list[list[int]] = []

    async def generate(
        self, prompt_token_ids: Any, sampling_params: Any, multi_modal_data: Any = None
    ) -> Any:
        await asyncio.sleep(0)
        said = next(self._messages)
        tokens, reason = said if isinstance(said, tuple) else (spelled(self.tokenizer, said + END), "stop")
        if len(tokens) > sampling_params.max_tokens:
            tokens, reason = tokens[: sampling_params.max_tokens], "length"
        self.prompts.append(list(prompt_token_ids))
        self.sampled.append(list(tokens))
        log_probs = [{token: SimpleNamespace(logprob=-0.5 - 0.001 * at)} for at, token in enumerate(tokens)]
        output = SimpleNamespace(
            token_ids=tuple(tokens), text="not read", finish_reason=reason,
            logprobs=log_probs if sampling_params.logprobs is not None else None,
        )  # fmt: skip
        return SimpleNamespace(outputs=[output])


def spelled(tokenizer: Any, text: str) -> list[int]:
    """Tokens of `text` byte by byte, as no tokenizer would split it: only those that were sampled decode to it so."""
    body, end, _ = text.partition(END)
    alphabet = {
        tokenizer.decode([one]): one for one in range(len(tokenizer)) if len(tokenizer.decode([one])) == 1
    }
    tokens = [alphabet.get(char) for char in body]
    if None in tokens:
        tokens = tokenizer(body, add_special_tokens=False)["input_ids"]
    return [*tokens, *([tokenizer.convert_tokens_to_ids(END)] if end else [])]


def params(**changed: Any) -> Any:
    return SimpleNamespace(**{"max_tokens": None, "logprobs": 1, "seed": None, **changed})


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def play(
    episodes: Episodes, messages: Iterable[Any], label: Any, prompt: str = "Fill the pantry.", *,
    max_length: int = 100_000, with_tokenizer: Any = None, sampling: Any = None,
) -> tuple[dict[str, Any], Engine]:  # fmt: skip
    """One episode and the engine that sampled it."""
    used = with_tokenizer or tokenizer()
    engine = Engine(used, messages)
    run = episodes.run(prompt, label, sampling or params(), max_length, used, engine)
    return asyncio.run(run), engine
