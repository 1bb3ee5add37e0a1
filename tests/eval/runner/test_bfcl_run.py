"""BFCL end to end with a tiny model: both forms, from the engine and again from the cache."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.engines.base import Generation, Request
from dipo_eval.errors import UserError
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN
from dipo_eval.results.store import read_samples
from dipo_eval.runner import provenance
from dipo_eval.runner import subject as subject_module
from dipo_eval.runner.run import evaluate
from dipo_eval.runner.task import SuiteResult
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.suites import get_suites
from dipo_eval.suites.bfcl.items import CATEGORIES
from dipo_eval.suites.bfcl.overall import overall_scores

pytestmark = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")

HERE = Path(__file__).parents[1]
HANDLER = runpy.run_path(str(HERE / "bfcl_handler.py"))
TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}<tool_call>{{ c['function'] | tojson }}</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose token is a word, so that whole prompts of BFCL are a few thousand tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    folder: Path = runpy.run_path(str(HERE / "tiny_model.py"))["save_tiny_model"](
        tmp_path_factory.mktemp("model"), max_position_embeddings=12_000
    )
    words = Tokenizer(models.WordLevel(unk_token="<|unk|>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|unk|>"]
    trainer = trainers.WordLevelTrainer(vocab_size=250, special_tokens=special, show_progress=False)
    words.train_from_iterator([bfcl.prompt(bfcl.items("multi_turn_base")[0])[0]["content"]], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def run(model: Path, tmp_path: Path, suites: list[str], **more: Any) -> list[SuiteResult]:
    settings: dict[str, Any] = {"engine": "hf", "limit": 17, "max_new_tokens": 4, "progress": False, **more}
    return evaluate(
        [Checkpoint(model, "m", 0)], suites, results_dir=tmp_path / "results", run="r", **settings
    )


def refuse(*args: object, **kwargs: object) -> None:
    raise AssertionError("no engine may be loaded")


def test_both_forms_run_and_run_again_from_the_cache(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(model, tmp_path, ["bfcl", "bfcl-native"])
    for result in results:
        rows = read_samples(result.folder)
        assert {row["kind"] for row in rows} == set(CATEGORIES)
        assert len(rows) == 17
        for row in rows:
            if row["kind"] in MULTI_TURN:
                assert len(json.loads(row["response"])["turns"]) == len(row["gold"]) == row["requests"]
                assert row["response_tokens"] >= row["requests"]
        values = {kind: result.result["metrics"][f"accuracy/{kind}"]["value"] for kind in CATEGORIES}
        assert result.result["overall"] == overall_scores(values)
        assert result.result["overall"]["BFCL v3"]["missing"] == []
        assert len(result.result["overall"]["BFCL v4"]["missing"]) == 5
    for row in read_samples(results[1].folder):
        assert row["form"] == "native"
        assert "You are an expert in composing functions" not in row["prompt"]
        assert '{"type": "function", "function": {"name"' in row["prompt"]
    before = [read_samples(result.folder) for result in results]
    monkeypatch.setattr(subject_module, "open_engine", refuse)
    for result in results:
        (result.folder / "results.json").unlink()
    again = run(model, tmp_path, ["bfcl", "bfcl-native"])
    assert [one.origin for one in again] == ["generated"] * 2
    assert [read_samples(result.folder) for result in again] == before


class Scripted:
    """An engine that answers each item, in order, with its scripted messages, and then with empty ones."""

    def __init__(self, scripts: list[list[str]]) -> None:
        self.scripts = scripts

    def generate(self, requests: list[Request], sampling: Any, on_done: Any) -> None:
        owners = list(range(len(requests)))
        for position, owner in enumerate(owners):  # grows with what is added
            left = self.scripts[owner] if owner < len(self.scripts) else []
            text = left.pop(0) if left else ""
            owners += [owner] * len(on_done(position, [Generation(text, 1, "stop")]))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("suite", ["bfcl", "bfcl-native"])
def test_gold_calls_score_and_are_graded_again(
    suite: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = suite == "bfcl-native"
    texts = [
        [text for turn in HANDLER["script"](item.gold, native=False) for text in turn]
        if item.meta["kind"] in MULTI_TURN
        else []
        for item in get_suites([suite])[0].load(None, 17, 3)
    ]
    monkeypatch.setattr(subject_module, "open_engine", lambda *args, **kwargs: Scripted(texts))
    (result,) = run(model, tmp_path, [suite], seed=3, max_new_tokens=64)
    for kind in MULTI_TURN:
        assert result.result["metrics"][f"accuracy/{kind}"]["value"] == 1.0
    rows = [row for row in read_samples(result.folder) if row["kind"] in MULTI_TURN]
    assert all(row["requests"] > len(row["gold"]) for row in rows)
    assert all((row.get("form") == "native") is native for row in rows)
    monkeypatch.setattr(subject_module, "open_engine", refuse)
    monkeypatch.setattr(provenance, "code_hash", lambda suite: "changed")
    (again,) = run(model, tmp_path, [suite], seed=3, max_new_tokens=64)
    assert again.origin == "regraded"
    assert again.result["metrics"] == result.result["metrics"]


def test_a_conversation_that_grows_out_of_the_context_is_wrong(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject_module, "open_engine", lambda *args, **kwargs: Scripted([]))
    (result,) = run(model, tmp_path, ["bfcl"], max_model_len=100)
    assert {row["reason"] for row in read_samples(result.folder)} == {"the prompt fills the context"}


def test_a_template_without_tools_is_refused_in_one_line(models: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its chat template takes no tools") as error:
        run(models / "global_step2_hf", tmp_path, ["bfcl-native"])
    assert "\n" not in str(error.value)


def test_a_template_that_refuses_a_later_message_ends_one_conversation(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "strict"
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    refusing = "{% for m in messages if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(refusing + TEMPLATE)
    texts = [["[pwd()]"] if kind == "multi_turn_base" else [] for kind in CATEGORIES]
    monkeypatch.setattr(subject_module, "open_engine", lambda *args, **kwargs: Scripted(texts))
    (result,) = run(folder, tmp_path, ["bfcl-native"])
    (row,) = [row for row in read_samples(result.folder) if row["kind"] == "multi_turn_base"]
    assert row["status"] == "wrong"
    assert "chat template refuses" in row["reason"]
