"""A response ends where the chat template ends a turn, also for a base model that names another end token."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.engines.base import Prompt, Request, Sampling
from dipo_eval.engines.prompts import end_tokens, turn_end
from dipo_eval.engines.registry import open_engine

TINY = runpy.run_path(str(Path(__file__).parent.parent / "tiny_model.py"))
LONG = 12


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def as_base_model(folder: Path, turn: str) -> Path:
    """The model's own end is <|pad|>, its template ends a turn with `turn`, a special token."""
    from transformers import AutoModelForCausalLM

    tokenizer, model = tokenizer_of(folder), AutoModelForCausalLM.from_pretrained(str(folder))
    tokenizer.add_special_tokens({"additional_special_tokens": [turn]})
    tokenizer.eos_token = "<|pad|>"
    tokenizer.chat_template = TINY["CHAT_TEMPLATE"].replace("<|im_end|>", turn)
    tokenizer.save_pretrained(folder)
    for config in (model.config, model.generation_config):
        config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int], int]:
    """(a base model's folder, tokens of a prompt, which token of its greedy response ends a turn)."""
    folder = TINY["save_tiny_model"](tmp_path_factory.mktemp("base") / "model", seed=3)
    prompt = tokenizer_of(folder)("What is 7 + 5?")["input_ids"]
    greedy = continuation(folder, prompt)
    place = next(at for at in range(2, LONG) if greedy[at] not in greedy[:at])
    turn = tokenizer_of(folder).convert_ids_to_tokens(greedy[place])
    return as_base_model(folder, turn), prompt, place


def continuation(folder: Path, prompt: list[int]) -> list[int]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    output = model.generate(torch.tensor([prompt]), max_new_tokens=LONG, do_sample=False, eos_token_id=None)
    return output[0, len(prompt) :].tolist()


def test_the_template_names_an_end_of_its_own(base_model: tuple[Path, list[int], int]) -> None:
    folder, prompt, place = base_model
    tokenizer, turn = tokenizer_of(folder), continuation(folder, prompt)[place]
    assert tokenizer.eos_token_id != turn
    assert turn_end(tokenizer) == turn
    assert end_tokens(folder, tokenizer) == sorted({turn, tokenizer.eos_token_id})


@pytest.mark.parametrize(
    "template", ["", "{{ 1/0 }}", "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"]
)
def test_a_template_without_one_names_none(base_model: tuple[Path, list[int], int], template: str) -> None:
    tokenizer = tokenizer_of(base_model[0])
    tokenizer.chat_template = template or None
    assert turn_end(tokenizer) is None


@pytest.mark.parametrize("name", ["hf", "vllm"])
def test_an_evaluation_ends_a_response_there(base_model: tuple[Path, list[int], int], name: str) -> None:
    folder, prompt, place = base_model
    engine = open_engine(name, folder, max_model_len=64, dtype="float32", base_url=None)
    try:
        [[found]] = TINY["generate_all"](engine, [Request(Prompt("", prompt, ""), 1, LONG, 0)], Sampling())
    finally:
        engine.close()
    assert (found.n_tokens, found.finish_reason) == (place + 1, "stop")


def test_a_rollout_ends_there(
    base_model: tuple[Path, list[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's own engine, with a real vLLM in this process."""
    from dipo_eval.engines.device import set_engine_env

    folder, prompt, place = base_model
    set_engine_env(folder)
    monkeypatch.setenv("RAY_ADDRESS", "none")  # else OpenRLHF looks for the Ray of this process
    assert asyncio.run(_rolled_out(folder, prompt)) == place + 1


async def _rolled_out(folder: Path, prompt: list[int]) -> int:
    from vllm import SamplingParams

    from dipo_openrlhf.openrlhf_patch.engine import CheckedEngine

    engine = CheckedEngine.__new__(CheckedEngine)
    await engine.__init__(
        model=str(folder), num_gpus=1, dtype="float32", enforce_eager=True, max_model_len=64
    )
    try:
        await engine.take_tokenizer(tokenizer_of(folder))
        params = SamplingParams(temperature=0.0, max_tokens=LONG, include_stop_str_in_output=True)
        output = await engine.generate(prompt, params)
        assert params.stop_token_ids == []  # the caller's are as before
        return len(output.outputs[0].token_ids)
    finally:
        engine.llm.shutdown()
