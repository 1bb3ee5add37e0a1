"""The quickstart's tokenizer and its small pretrained model, with real (tiny) training runs."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from dipo_eval.suites.arithmetic_problems import problems
from dipo_openrlhf.data.arithmetic import demonstrations
from dipo_openrlhf.quickstart import pretrain
from dipo_openrlhf.quickstart.lessons import arithmetic
from dipo_openrlhf.quickstart.lessons.arithmetic import build_tokenizer
from dipo_openrlhf.quickstart.lessons.lesson import PretrainSettings
from dipo_openrlhf.quickstart.pretrain import (
    Batch,
    cache_key,
    make_batches,
    new_model,
    pretrained_model,
    response_loss,
    train,
)
from dipo_openrlhf.quickstart.tokenizer import END, PAD, START

TINY = PretrainSettings(hidden_size=32, layers=1, heads=1, key_value_heads=1, mlp_size=64, demonstrations=64)
TOKENIZER = build_tokenizer()


def _prompt(question: str, tokenizer: PreTrainedTokenizerFast = TOKENIZER) -> str:
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )


def _ids(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


@given(st.text(max_size=200))
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(_ids(text), skip_special_tokens=False) == text


def test_a_long_word_is_not_lost() -> None:
    assert TOKENIZER.decode(_ids("x" * 3000)) == "x" * 3000


def test_digits_are_single_tokens_and_words_are_whole() -> None:
    pieces = [TOKENIZER.decode([index]) for index in _ids("What is 713 + 5? \\boxed{42}")]
    assert pieces == ["What", " is", " 7", "1", "3", " +", " 5", "?", " \\boxed{", "4", "2", "}"]


def test_special_tokens_and_chat_template() -> None:
    assert (TOKENIZER.eos_token, TOKENIZER.pad_token) == (END, PAD)
    assert TOKENIZER.eos_token_id != TOKENIZER.pad_token_id
    text = _prompt("What is 3 + 4?")
    assert text == f"{START}user\nWhat is 3 + 4?{END}\n{START}assistant\n"
    ids = _ids(text)
    assert ids.count(TOKENIZER.eos_token_id) == 1
    assert TOKENIZER.unk_token_id not in ids


def test_problems_and_responses_are_short() -> None:
    assert max(len(_ids(_prompt(p.question))) for p in problems("test", 600, seed=1)) <= 48
    assert max(len(_ids(d.response)) + 1 for d in islice(demonstrations(3), 2000)) <= 48


def test_batches_put_the_loss_on_the_response_and_its_end() -> None:
    batches = make_batches(TOKENIZER, TINY)
    rows = 0
    for batch in batches:
        assert batch.tokens.shape == batch.loss_mask.shape
        for tokens, mask in zip(batch.tokens, batch.loss_mask, strict=True):
            learnt = tokens[mask].tolist()
            assert learnt[-1] == TOKENIZER.eos_token_id
            assert "\\boxed{" in TOKENIZER.decode(learnt)
            first = int(mask.nonzero()[0, 0])
            assert TOKENIZER.decode(tokens[:first].tolist()).endswith("assistant\n")
            assert (tokens[first + len(learnt) :] == TOKENIZER.pad_token_id).all()
            rows += 1
    assert rows == TINY.demonstrations


def test_response_loss_is_the_librarys_own() -> None:
    torch.manual_seed(0)
    model = new_model(TOKENIZER, TINY)
    batch = make_batches(TOKENIZER, TINY)[0]
    labels = batch.tokens.masked_fill(~batch.loss_mask, -100)
    with torch.no_grad():
        expected = model(input_ids=batch.tokens, labels=labels).loss
        assert response_loss(model, batch).item() == pytest.approx(expected.item(), abs=1e-5)


def test_padding_on_the_right_changes_nothing() -> None:
    torch.manual_seed(0)
    model = new_model(TOKENIZER, TINY)
    batch = make_batches(TOKENIZER, TINY)[0]
    pad = torch.full((len(batch.tokens), 5), TOKENIZER.pad_token_id)
    wider = Batch(torch.cat([batch.tokens, pad], 1), torch.cat([batch.loss_mask, pad.bool() & False], 1))
    with torch.no_grad():
        losses = response_loss(model, wider).item(), response_loss(model, batch).item()
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    settings = replace(TINY, demonstrations=1024)
    model = new_model(TOKENIZER, settings)
    held_out = make_batches(TOKENIZER, replace(TINY, seed=9))[0]
    with torch.no_grad():
        before = response_loss(model, held_out).item()
    train(model, TOKENIZER, settings, progress=False)
    with torch.no_grad():
        after = response_loss(model, held_out).item()
    assert after < before - 1  # nats a token, from about log(vocabulary)


def test_folder_loads_as_any_other_model(tmp_path: Path) -> None:
    folder = pretrained_model(tmp_path, TINY, progress=False)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert model.config.architectures == ["Qwen3ForCausalLM"]
    assert model.dtype == torch.float32
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert len(tokenizer) == model.config.vocab_size
    text = _prompt("What is 3 + 4?")
    assert _prompt("What is 3 + 4?", tokenizer) == text
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == _ids(text)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == TOKENIZER.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert (folder / "model.safetensors").is_file()
    assert json.loads((folder / "quickstart.json").read_text())["parameters"] == model.num_parameters()


def test_same_settings_give_the_same_weights_and_one_folder(tmp_path: Path) -> None:
    first = pretrained_model(tmp_path / "a", TINY, progress=False)
    second = pretrained_model(tmp_path / "b", TINY, progress=False)
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    written = (first / "model.safetensors").stat().st_mtime_ns
    assert pretrained_model(tmp_path / "a", TINY, progress=False) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]


@pytest.mark.slow
def test_the_quickstarts_own_settings_teach_the_lesson(tmp_path: Path) -> None:
    """Anew: other tests take the model that the user's cache holds."""
    folder = pretrained_model(tmp_path, progress=False)
    loss = json.loads((folder / "quickstart.json").read_text())["final_loss"]
    assert 0.2 < loss < 0.35  # nats a token: demonstrations are worded at random


def test_an_interrupted_run_leaves_nothing_to_reuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrained_model(tmp_path, TINY, progress=False)
    assert list(tmp_path.iterdir()) == []
    folder = pretrained_model(tmp_path, TINY, progress=False)
    assert (folder / "model.safetensors").is_file()


def test_a_folder_left_by_a_killed_run_is_not_taken_for_a_model(tmp_path: Path) -> None:
    half = tmp_path / ".unfinished-killed"
    half.mkdir()
    (half / "config.json").write_text("{}")
    folder = pretrained_model(tmp_path, TINY, progress=False)
    assert folder != half
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0


def test_cache_key_follows_settings_data_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    key = cache_key(TINY)
    assert key == cache_key(replace(TINY))
    assert key != cache_key(replace(TINY, seed=1))
    assert key != cache_key(replace(TINY, learning_rate=1e-3))
    with monkeypatch.context() as other:
        other.setattr(arithmetic, "demonstrations", lambda seed: demonstrations(seed + 100))
        assert key != cache_key(TINY)
    monkeypatch.setattr(pretrain, "THREADS", 1)
    assert key != cache_key(TINY)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_weights_do_not_depend_on_the_callers_threads(tmp_path: Path, threads: int) -> None:
    """`make test`, whose processes have one thread, and `make quickstart` share a cache."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        folder = pretrained_model(tmp_path / str(threads), TINY, progress=False)
        torch.set_num_threads(pretrain.THREADS)
        expected = pretrained_model(tmp_path / "expected", TINY, progress=False)
    finally:
        torch.set_num_threads(before)
    assert (folder / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()


def test_training_restores_the_callers_threads_and_random_state(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    pretrained_model(tmp_path, TINY, progress=False)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(3), expected)
