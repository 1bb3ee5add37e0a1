"""A folder that holds a model, but none that can be trained as it is, is told before anything starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.preflight.model import check_model
from dipo_openrlhf.rehearse import tasks
from dipo_openrlhf.rehearse.model import make_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_model(folder, "Qwen/Qwen3-4B-Base", tasks.problems("math", 4))
    return folder


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "model"))


def refused(path: Path, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        check_model(str(path), 64)
    assert str(caught.value).startswith("actor.model_name_or_path: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"model_type": "foo"},
            r"model_type in its config\.json is 'foo', which transformers .* does not know",
        ),
        ({"model_type": None}, r"model_type in its config\.json is None"),
        ({"architectures": ["BertForMaskedLM"]}, "is a 'BertForMaskedLM', and no language model"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "and no language model"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"has quantized weights \('gptq'\)"),
        ({"vocab_size": 20}, r"embeddings of \d+ x \d+, its config\.json says 20 x"),
        ({"hidden_size": 4096}, "its config.json says .* x 4096"),
    ],
)
def test_a_config_that_is_of_no_such_model(model, changed, words):
    check_model(str(model), 64)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changed))
    refused(model, words)


def test_code_of_the_models_own_is_left_to_it(model):
    config = json.loads((model / "config.json").read_text())
    own = {"model_type": "foo", "architectures": ["Foo"], "auto_map": {"AutoModelForCausalLM": "foo.Foo"}}
    (model / "config.json").write_text(json.dumps(config | own))
    check_model(str(model), 64)


def test_weights_of_torch_that_are_cut(model):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"PK\x03\x04" + bytes(100))
    refused(model, r"pytorch_model\.bin is cut: its end is missing")


def test_what_is_beside_or_above_a_model(model, tmp_path):
    refused(model / "model.safetensors", r"is a file; give the folder in which config\.json lies")
    refused(tmp_path, r"has no config\.json.*; did you mean .*/model\?")
    shutil.copytree(model, tmp_path / "hub" / "snapshots" / "abc")
    refused(tmp_path / "hub", "did you mean .*/hub/snapshots/abc")
    (model / "model.safetensors").rename(model / "model.gguf")
    refused(model, "GGUF files are for inference alone")
    for name in ("config.json", "model.gguf"):
        (model / name).unlink()
    (model / "adapter_config.json").write_text("{}")
    refused(model, "is an adapter, not a model: merge it")


def test_what_cannot_be_read_is_named(model, monkeypatch):
    def forbidden(*given: object) -> None:
        raise PermissionError(13, "Permission denied", str(model / "model.safetensors"))

    monkeypatch.setattr("dipo_openrlhf.preflight.model.is_whole", forbidden)  # root may read everything
    refused(model, r"cannot be read \(Permission denied: .*/model\.safetensors\)")
