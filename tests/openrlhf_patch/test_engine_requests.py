"""What an engine asks vLLM for: no text that nothing reads, no log-probability but the sampled token's, noise by turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openrlhf.utils.agent import MultiTurnAgentExecutor, SingleTurnAgentExecutor
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from dipo_openrlhf.openrlhf_patch.engine import CheckedEngine, SeededEngine
from dipo_openrlhf.openrlhf_patch.prompt_tokenizer import PromptTokenizer


class Tokenizer:
    """Counts what it reads."""

    eos_token_id = 2

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str, **options: Any) -> dict[str, Any]:
        self.texts.append(text)
        return {"input_ids": [len(text)], **options}

    def decode(self, ids: list[int]) -> str:
        return str(ids)


class Engine:
    """vLLM's: keeps what it is asked, and responds with nothing."""

    def __init__(self) -> None:
        self.prompts: list[Any] = []
        self.params: list[SamplingParams] = []

    async def generate(self, prompt: Any, params: SamplingParams, request_id: str) -> Any:
        self.prompts.append(prompt)
        self.params.append(params)
        for last in ():
            yield last


ENGINE = Engine()


@pytest.fixture
def asked() -> list[SamplingParams]:
    """The sampling parameters that reach vLLM."""
    ENGINE.prompts.clear()
    ENGINE.params.clear()
    return ENGINE.params


def engine_of(kind: type[CheckedEngine], executor: type[Any]) -> CheckedEngine:
    engine = object.__new__(kind)
    engine.executor, engine.llm = object.__new__(executor), ENGINE
    return engine


def test_a_prompt_of_text_needs_no_rendering_and_images_do(asked, monkeypatch):
    rendered = []

    async def generate(self: Any, prompt: Any, params: SamplingParams, images: Any) -> None:
        rendered.append((prompt, images))

    monkeypatch.setattr(CheckedEngine.__bases__[0], "generate", generate)
    engine = engine_of(CheckedEngine, SingleTurnAgentExecutor)
    asyncio.run(engine.generate([1, 2], SamplingParams()))
    asyncio.run(engine.generate([3], SamplingParams(), {"image": ["one"]}))
    assert ENGINE.prompts == [{"type": "token", "prompt_token_ids": [1, 2]}]
    assert rendered == [([3], {"image": ["one"]})]


@pytest.mark.parametrize(
    ("executor", "stop", "text"),
    [
        (SingleTurnAgentExecutor, None, False),
        (SingleTurnAgentExecutor, ["end"], True),  # vLLM finds it in the text
        (MultiTurnAgentExecutor, None, True),  # an environment reads it
    ],
)
def test_text_is_made_where_something_reads_it(asked, executor, stop, text):
    asyncio.run(engine_of(CheckedEngine, executor).generate([1, 2], SamplingParams(stop=stop)))
    assert asked[0].detokenize is text
    assert asked[0].output_kind == RequestOutputKind.FINAL_ONLY


@pytest.mark.parametrize(("requested", "sent"), [(None, None), (1, 0), (5, 5)])
def test_the_sampled_token_s_log_probability_is_enough(asked, requested, sent):
    given = SamplingParams(logprobs=requested)
    asyncio.run(engine_of(CheckedEngine, SingleTurnAgentExecutor).generate([1], given))
    assert asked[0].logprobs == sent
    assert given.logprobs == requested, "the caller's own parameters stay as they are"


def test_each_turn_has_noise_of_its_own_and_the_caller_s_seed_stays(asked):
    engine, given = engine_of(SeededEngine, MultiTurnAgentExecutor), SamplingParams(seed=7)
    for prompt in ([1], [1, 2, 3], [1]):
        asyncio.run(engine.generate(prompt, given))
    first, second, again = (params.seed for params in asked)
    assert first == again != second
    assert given.seed == 7


def test_a_prompt_is_read_once_for_all_of_its_samples():
    inner = Tokenizer()
    subject = PromptTokenizer(inner)
    options = {"add_special_tokens": False, "return_tensors": "pt"}
    found = [subject(text=text, **options) for text in ("four", "four", "seventh")]
    assert inner.texts == ["four", "seventh"]
    assert [each["input_ids"] for each in found] == [[4], [4], [7]]
    assert found[0]["return_tensors"] == "pt"
    subject(text="four", images=["one"], return_tensors="pt")
    assert inner.texts[-1] == "four", "with an image it is read again"
    assert subject.decode([3]) == "[3]"
    assert subject.eos_token_id == 2


def test_an_agent_keeps_the_tokenizer_as_it_is(monkeypatch):
    monkeypatch.setattr("dipo_openrlhf.openrlhf_patch.engine.turn_end", lambda tokenizer: None)
    for executor, wrapped in ((SingleTurnAgentExecutor, True), (MultiTurnAgentExecutor, False)):
        engine, tokenizer = engine_of(CheckedEngine, executor), Tokenizer()
        asyncio.run(engine.take_tokenizer(tokenizer))
        assert isinstance(engine.tokenizer, PromptTokenizer) is wrapped
