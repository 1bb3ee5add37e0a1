"""A result belongs to what answered: weights, end tokens, tokenizer, chat template, engine, device and number format."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from dipo_eval.engines.prompts import ModelRenderer
from dipo_eval.engines.registry import open_engine
from dipo_eval.errors import UserError
from dipo_eval.results.comparable import differences, made_with, version_differences
from dipo_eval.results.store import read_result, read_samples
from dipo_eval.runner import subject as subject_module
from dipo_eval.runner.generation_cache import FOLDER
from dipo_eval.runner.run import evaluate
from dipo_eval.runner.task import SuiteResult
from dipo_eval.subject import identity
from dipo_eval.subject.checkpoints import (
    Checkpoint,
    find_checkpoints,
    generation_hash,
    is_whole,
    weights_hash,
)
from dipo_eval.subject.identity import engine_version

WEIGHTS = "model.safetensors"
WEIGHTS_MAY_CHANGE = "its files changed while it was being"


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    return shutil.copytree(models / "global_step2_hf", tmp_path / "model")


def run(model: Path, results: Path, **more: Any) -> SuiteResult:
    (found,) = evaluate(
        [Checkpoint(model, "m")],
        ["arithmetic-control"],
        **{
            "results_dir": results, "run": "r", "engine": "hf", "limit": 6, "max_new_tokens": 16, "progress": False,
            **more,
        },
    )  # fmt: skip
    return found


def responses(found: SuiteResult) -> list[str]:
    return [row["response"] for row in read_samples(found.folder)]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def a_common_token(found: SuiteResult) -> str:
    """A letter that is always a token of its own (no merge of tiny_model.py holds it) and that most responses hold."""
    letters = Counter(
        letter for text in responses(found) for letter in set(text) & set("bcdfgjklmopqvxyzBCDKQXZ")
    )
    return letters.most_common(1)[0][0]


def end_at(model: Path, token: str) -> None:
    from transformers import AutoTokenizer

    number = AutoTokenizer.from_pretrained(model).convert_tokens_to_ids(token)
    edit(model / "generation_config.json", lambda config: config.update(eos_token_id=[number]))


def the_tokenizers_end(model: Path, token: str) -> None:
    edit(model / "tokenizer_config.json", lambda config: config.update(eos_token=token))


def another_decoder(model: Path, token: str) -> None:
    edit(model / "tokenizer.json", lambda content: content.update(decoder={"type": "Fuse"}))


def another_template(model: Path, token: str) -> None:
    template = model / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant", "user"))


@pytest.mark.parametrize("change", [end_at, the_tokenizers_end, another_decoder, another_template])
def test_a_changed_file_never_gets_earlier_responses(
    model: Path, tmp_path: Path, change: Callable[[Path, str], None]
) -> None:
    before = run(model, tmp_path / "results")
    said = responses(before)
    change(model, a_common_token(before))
    after = run(model, tmp_path / "results")
    assert responses(after) != said
    assert after.origin == "generated"
    assert responses(after) == responses(run(model, tmp_path / "elsewhere"))
    assert after.result["model"]["weights_hash"] == before.result["model"]["weights_hash"]
    assert after.result["model"]["generation_hash"] != before.result["model"]["generation_hash"]
    # In other words too, by which gate and board compare two checkpoints.
    keys = ("end_tokens", "tokenizer_hash", "chat_template_hash")
    assert any(after.result["settings"][key] != before.result["settings"][key] for key in keys)
    assert run(model, tmp_path / "results").origin == "found"


def test_files_that_nobody_reads_change_nothing(model: Path, tmp_path: Path) -> None:
    first = run(model, tmp_path / "results")
    for name in ("README.md", "COMPLETE.json", "EVALUATED.json", "trainer_state.json", "EVALUATING.0"):
        (model / name).write_text("{}")
    assert run(model, tmp_path / "results").origin == "found"
    assert generation_hash(model) == first.result["model"]["generation_hash"]


def test_a_tokenizer_saved_in_another_form_is_the_same_to_gate_and_board(model: Path) -> None:
    """A training saves its own copy: the files differ, what they do does not."""
    before = ModelRenderer(model)
    edit(
        model / "tokenizer_config.json", lambda config: config.update(padding_side="left", note="saved again")
    )
    content = json.loads((model / "tokenizer.json").read_text())
    (model / "tokenizer.json").write_text(json.dumps(content, indent=1))
    after = ModelRenderer(model)
    assert after.tokenizer == before.tokenizer
    assert set(before.tokenizer) == {"end_tokens", "tokenizer_hash"}


@pytest.mark.parametrize(
    "other", [{"dtype": "bfloat16"}, pytest.param({"engine": "vllm"}, marks=pytest.mark.slow)]
)
def test_other_options_are_refused_and_share_no_cache(
    model: Path, tmp_path: Path, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "engine" in other and importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    first = run(model, tmp_path / "results")
    with pytest.raises(UserError, match=f"other settings .*{next(iter(other))}"):
        run(model, tmp_path / "results", **other)
    loaded: list[str] = []

    def counting(*args: Any, **options: Any) -> Any:
        loaded.append(options["dtype"])
        return open_engine(*args, **options)

    monkeypatch.setattr(subject_module, "open_engine", counting)
    second = run(model, tmp_path / "results", run="other", **other)
    assert len(loaded) == 1
    for key, value in other.items():
        assert second.result["settings"][key] == value != first.result["settings"][key]
    with pytest.raises(UserError, match="other settings"):
        run(model, tmp_path / "results", run="other")


def test_a_newer_engine_and_another_device_answer_anew(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(model, tmp_path / "results")
    assert first.result["settings"]["device"] == "cpu"
    assert first.result["settings"]["engine_version"] == importlib.metadata.version("transformers")
    monkeypatch.setattr(identity, "version", lambda package: "99.0")
    newer = run(model, tmp_path / "results")
    assert newer.origin == "generated"
    assert newer.result["settings"]["engine_version"] == "99.0"
    monkeypatch.setattr(identity, "has_gpu", lambda: True)
    with pytest.raises(UserError, match=r"other settings \(device"):
        run(model, tmp_path / "results", dtype="float32")


def test_generations_of_an_earlier_version_miss(model: Path, tmp_path: Path) -> None:
    """Both an old cache, whose keys say less, and an old result, whose hashes do."""
    first = run(model, tmp_path / "results")
    old = json.loads((first.folder / "results.json").read_text())
    del old["model"]["generation_hash"]
    for key in ("engine_version", "device", "tokenizer_hash", "end_tokens"):
        del old["settings"][key]
    (first.folder / "results.json").write_text(json.dumps(old))
    shutil.rmtree(tmp_path / "results" / FOLDER)
    again = run(model, tmp_path / "results")
    assert again.origin == "generated"
    assert again.result["settings"] == first.result["settings"]


@pytest.mark.parametrize(
    ("installed", "public"),
    [
        ("0.29.0+cu130", "0.29.0"),
        ("0.29.0", "0.29.0"),
        ("0.29.1rc2.dev7+gabc", "0.29.1rc2.dev7"),
        ("main", "main"),
    ],
)
def test_how_an_engine_was_built_is_no_other_version(
    monkeypatch: pytest.MonkeyPatch, installed: str, public: str
) -> None:
    monkeypatch.setattr(identity, "version", lambda package: installed)
    assert engine_version("vllm") == public


def test_the_gpu_is_shown_and_not_compared(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU's name alone is made up here; it survives another grading, and another GPU's result is found."""
    first = run(model, tmp_path / "results", dtype="float32")
    assert "gpu" not in first.result["versions"]
    monkeypatch.setattr(identity, "has_gpu", lambda: True)
    for number, gpu in enumerate(("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB")):
        monkeypatch.setattr(identity, "gpu_name", lambda gpu=gpu: gpu)
        found = run(model, tmp_path / "gpu", run=f"r{number}", dtype="float32")
        assert found.result["versions"]["gpu"] == gpu
        assert found.result["settings"] == {**first.result["settings"], "device": "cuda"}
    again = run(model, tmp_path / "gpu", run="r0", dtype="float32")
    assert again.origin == "found"
    results = [read_result(tmp_path / "gpu" / run / "m" / "arithmetic-control") for run in ("r0", "r1")]
    assert results[0] is not None
    assert results[1] is not None
    assert differences(made_with(results[0]), made_with(results[1])) == []
    assert [one.name for one in version_differences(results[0], results[1])] == ["gpu"]
    path = tmp_path / "gpu" / "r0" / "m" / "arithmetic-control" / "results.json"
    edit(path, lambda result: result["hashes"].update(suite_hash="of an earlier grader"))
    regraded = run(model, tmp_path / "gpu", run="r0", dtype="float32")
    assert regraded.origin == "regraded"
    assert regraded.result["versions"]["gpu"] == "NVIDIA H100 80GB HBM3"


def test_a_model_of_the_hub_has_its_commit(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the cache of huggingface_hub, which is on disk as it would be after a download."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    stored = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(model, stored / "snapshots" / commit)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (found,) = find_checkpoints("org/tiny")
    assert (found.name, found.revision) == ("org-tiny", commit)
    (result,) = evaluate(
        [found], ["arithmetic-control"], results_dir=tmp_path / "results", run="r", engine="hf", limit=2,
        max_new_tokens=4, progress=False,
    )  # fmt: skip
    assert result.result["model"]["revision"] == commit


def test_every_file_that_the_index_names_is_hashed(model: Path) -> None:
    """Wherever it lies; and an index that is left over beside a single file of all weights counts for nothing."""
    edit_index = {"weight_map": {"a": "parts/one.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(edit_index))
    assert is_whole(model)
    (model / "parts").mkdir()
    shutil.move(model / WEIGHTS, model / "parts" / "one.safetensors")
    assert is_whole(model)
    before = weights_hash(model)
    with (model / "parts" / "one.safetensors").open("ab") as file:
        file.write(b"x")
    assert weights_hash(model) != before
    (model / "parts" / "one.safetensors").unlink()
    assert not is_whole(model)
    with pytest.raises(UserError, match="weights are missing"):
        weights_hash(model)


def swap_at(moment: str, swap: Callable[[], None]) -> Callable[..., Any]:
    """open_engine, with something happening before or after it has read the model, or at its first response."""

    def opened(*args: Any, **options: Any) -> Any:
        if moment == "before loading":
            swap()
        engine: Any = open_engine(*args, **options)
        if moment == "after loading":
            swap()
        if moment == "while generating":
            generate = engine.generate

            def generate_and_swap(requests: Any, sampling: Any, on_done: Any) -> None:
                def done(*answer: Any) -> Any:
                    following = on_done(*answer)
                    swap()
                    return following

                generate(requests, sampling, done)

            engine.generate = generate_and_swap
        return engine

    return opened


def other_numbers(model: Path) -> bytes:
    tensors = {name: tensor.flip(0).contiguous() for name, tensor in load_file(model / WEIGHTS).items()}
    save_file(tensors, model.parent / "other.safetensors", metadata={"format": "pt"})
    return (model.parent / "other.safetensors").read_bytes()


@pytest.mark.parametrize("moment", ["before loading", "after loading", "while generating"])
@pytest.mark.parametrize("in_place", [True, False])
def test_weights_that_change_meanwhile_are_never_stored_under_the_old_hash(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, in_place: bool
) -> None:
    old, new = (model / WEIGHTS).read_bytes(), other_numbers(model)

    def swap() -> None:
        if in_place:
            with (model / WEIGHTS).open("r+b") as file:
                file.write(new)
        else:
            (model / "new").write_bytes(new)
            (model / "new").rename(model / WEIGHTS)

    results = tmp_path / "results"
    with monkeypatch.context() as patch:
        patch.setattr(subject_module, "open_engine", swap_at(moment, swap))
        with pytest.raises(UserError, match=WEIGHTS_MAY_CHANGE) as caught:
            run(model, results)
    assert "\n" not in str(caught.value)
    assert read_result(results / "r" / "m" / "arithmetic-control") is None
    assert not list((results / FOLDER).rglob("*.zst"))
    # Both sets of weights are evaluated as if nothing had been.
    for number, content in enumerate((old, new)):
        (model / WEIGHTS).write_bytes(content)
        assert responses(run(model, results)) == responses(run(model, tmp_path / f"alone{number}"))


def test_a_model_that_is_pruned_once_it_is_loaded_keeps_its_result(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = weights_hash(model)
    complete = run(shutil.copytree(model, tmp_path / "copy"), tmp_path / "elsewhere")
    swap = swap_at("while generating", lambda: shutil.rmtree(model, ignore_errors=True))
    monkeypatch.setattr(subject_module, "open_engine", swap)
    found = run(model, tmp_path / "results")
    assert found.result["model"]["weights_hash"] == digest
    assert responses(found) == responses(complete)


def test_a_later_checkpoint_that_changed_while_an_earlier_one_ran_is_hashed_anew(
    model: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = other_numbers(model)

    def opened(name: str, path: Path, **options: Any) -> Any:
        if path != model:
            (model / WEIGHTS).write_bytes(new)
        return open_engine(name, path, **options)

    monkeypatch.setattr(subject_module, "open_engine", opened)
    first, second = evaluate(
        [Checkpoint(models / "global_step10_hf", "first"), Checkpoint(model, "second")], ["arithmetic-control"],
        results_dir=tmp_path / "results", run="r", engine="hf", limit=2, max_new_tokens=4, progress=False,
    )  # fmt: skip
    assert first.result["model"]["weights_hash"] == weights_hash(models / "global_step10_hf")
    assert second.result["model"]["weights_hash"] == weights_hash(model)
