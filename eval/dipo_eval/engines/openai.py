"""Any server with OpenAI's completions and chat completions as an evaluation engine: vLLM, SGLang, a vendor's.

The server renders the messages with its own chat template and counts the tokens. The key is read from the variable
OPENAI_API_KEY and stored nowhere. Each sample is a request with its own seed; whether equal seeds give equal responses
depends on the server (vLLM: yes).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from dipo_eval.engines import base
from dipo_eval.engines.base import TOO_LONG, Generation, OnDone, Prompt, Request, Sampling
from dipo_eval.errors import UserError, one_line

# Requests in flight: enough to fill a server of one GPU, which queues the rest.
CONCURRENCY = 64
REQUEST_LIMIT_S = 1800.0
CONNECT_LIMIT_S = 10.0
# Stable fields of a model in the server's list (vLLM's `created` is not): which model it is (`root`: in vLLM the path of
# its files), and how the server runs it.
_WHICH, _HOW = ("id", "root", "parent"), ("owned_by", "max_model_len")
RETRIES = 5  # with the client's exponential backoff this bridges a restart of half a minute


class NoServerError(UserError):
    """Nothing answers at the server's address."""


@dataclass(frozen=True)
class Served:
    """A server: its address, and what it reports: which model, and how it runs it."""

    base_url: str
    which: Mapping[str, Any]
    how: Mapping[str, Any]


class OpenAIEngine:
    """A model on a server; see dipo_eval.engines.base.Engine.

    Raises NoServerError where nothing answers at `base_url`, UserError where the model is not served there.
    """

    def __init__(self, model: str, base_url: str | None) -> None:
        import openai

        if base_url is None:
            raise UserError(
                "engine openai: no server; name it, for example --base-url http://localhost:8000/v1"
            )
        self._model, self._base_url = model, base_url
        timeout = openai.Timeout(REQUEST_LIMIT_S, connect=CONNECT_LIMIT_S)
        key = os.environ.get("OPENAI_API_KEY") or "none"
        self._client = openai.OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=RETRIES)
        served = self._listed()
        if served is not None and model not in served:
            shown = ", ".join(list(served)[:10]) or "none"
            raise UserError(f"{base_url}: serves no model {model!r}; it has {shown}")

    def report(self) -> tuple[Served, str | None]:
        """What the server reports of the model, and its version where it has one (vLLM, SGLang)."""
        found = (self._listed() or {}).get(self._model, {})
        which, how = (
            {name: found[name] for name in names if found.get(name) is not None} for names in (_WHICH, _HOW)
        )
        version: str | None = None
        with contextlib.suppress(Exception):  # not a part of OpenAI's API
            url = f"{self._base_url.rstrip('/').removesuffix('/v1')}/version"
            answer = self._client.with_options(timeout=CONNECT_LIMIT_S, max_retries=0).get(
                url, cast_to=object
            )
            if isinstance(answer, dict) and isinstance(answer.get("version"), str):
                version = answer["version"]
        return Served(self._base_url, which, how), version

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_done: OnDone) -> None:
        """Responses as the server finishes them; an error ends the evaluation, finished responses are kept."""
        everything = list(requests)
        found: dict[int, dict[int, Generation]] = {}
        waiting: dict[Future[Generation], tuple[int, int]] = {}
        pool = ThreadPoolExecutor(CONCURRENCY)

        def submit(position: int) -> None:
            request = everything[position]
            for sample in range(request.n):
                waiting[pool.submit(self._complete, request, sample, sampling)] = (position, sample)

        try:
            for position in range(len(requests)):
                submit(position)
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    position, sample = waiting.pop(future)
                    samples = found.setdefault(position, {})
                    samples[sample] = future.result()
                    if len(samples) < everything[position].n:
                        continue
                    ordered = [one for _, one in sorted(found.pop(position).items())]
                    for added in on_done(position, ordered):
                        everything.append(added)
                        submit(len(everything) - 1)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Close the connections; requests in flight fail."""
        self._client.close()

    def _listed(self) -> dict[str, dict[str, Any]] | None:
        """The server's list of models by name, None where it has no such list."""
        import openai

        try:
            models = list(self._client.with_options(timeout=30.0, max_retries=1).models.list())
        except openai.NotFoundError:
            return None
        except openai.OpenAIError as error:
            unreachable = isinstance(error, openai.APIConnectionError)
            raise (NoServerError if unreachable else UserError)(
                f"{self._base_url}: no model list ({one_line(error)}); is the server up, and OPENAI_API_KEY right?"
            ) from error
        return {one.id: one.model_dump() for one in models}

    def _complete(self, request: Request, sample: int, sampling: Sampling) -> Generation:
        import openai

        settings: dict[str, Any] = {
            "model": self._model, "temperature": sampling.temperature, "top_p": sampling.top_p,
            "max_tokens": request.max_tokens, "seed": (request.seed + sample) % 2**31, "n": 1,
        }  # fmt: skip
        if request.stop:
            settings["stop"] = list(request.stop)
        try:
            reply = self._create(request.prompt, settings)
        except openai.BadRequestError as error:
            if _is_too_long(error):
                return Generation("", 0, TOO_LONG)
            raise UserError(f"{self._base_url}: refuses a request ({one_line(error)})") from error
        except openai.OpenAIError as error:
            raise UserError(
                f"{self._base_url}: no answer ({one_line(error)}); finished responses are kept, run the command again"
            ) from error
        return _generation(reply, request)

    def _create(self, prompt: Prompt, settings: dict[str, Any]) -> Any:
        """The server's reply: plain prompts go to completions, messages to chat completions."""
        if prompt.plain:
            return self._client.completions.create(prompt=prompt.text, **settings)
        settings["messages"] = [as_sent(message) for message in prompt.messages]
        if prompt.tools is not None:
            settings["tools"] = list(prompt.tools)
        return self._client.chat.completions.create(**settings)


def as_sent(message: base.Message) -> base.Message:
    """A message as a server takes it: a call's arguments are a JSON string, where chat templates take objects."""
    if "tool_calls" not in message:
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


def _generation(reply: Any, request: Request) -> Generation:
    if not reply.choices:
        return Generation("", 0, "no choice in the reply")
    choice, usage = reply.choices[0], reply.usage
    reason = "stop" if choice.finish_reason in ("stop", "tool_calls") else str(choice.finish_reason)
    text = choice.text if request.prompt.plain else message_text(choice.message)
    return Generation(
        base.cut_at_stop(text, request.stop),
        usage.completion_tokens if usage else 0,
        reason,
        usage.prompt_tokens if usage else None,
    )


def message_text(message: Any) -> str:
    """The reply as one string, in the form that the model wrote before the server parsed it."""
    thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    parts = [f"<think>\n{thought}\n</think>\n\n"] if isinstance(thought, str) and thought else []
    parts.append(message.content or "")
    for call in message.tool_calls or []:
        name, arguments = json.dumps(call.function.name), call.function.arguments or "{}"
        parts.append(f'\n<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>')
    return "".join(parts)


def _is_too_long(error: Exception) -> bool:
    text = str(error).lower()
    return "context_length" in text or "context length" in text or "maximum model length" in text
