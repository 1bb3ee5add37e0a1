"""A model that is not whole is one line before anything starts."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.preflight.hub import check_hub_model
from dipo_openrlhf.preflight.model import check_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen3", "max_position_embeddings": 512}')
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    return folder


def test_a_whole_model_passes(model):
    check_model(str(model), 512)


def test_a_hub_name_is_left_to_the_hub():
    check_model("Qwen/Qwen3-4B-Base", 10**6)


@pytest.mark.parametrize("name", ["./no/such/model", "/no/such/model", "a/b/c"])
def test_missing_model_folder(name):
    with pytest.raises(UserError, match=f"actor.model_name_or_path: '{name}': no such folder"):
        check_model(name)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", None, "has no config.json"),
        ("config.json", b"{", "its config.json cannot be read"),
        ("model.safetensors", None, "has no weights"),
        (
            "model.safetensors",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "git-lfs pointer",
        ),
        ("model.safetensors", bytes(3), "is cut: it has 3 bytes"),
        ("model.safetensors", struct.pack("<Q", 10**9), "is cut: it has 8 bytes"),
        ("model.safetensors", struct.pack("<Q", 2) + b"[]", "is no safetensors file"),
        ("tokenizer.json", None, "has no tokenizer"),
        ("adapter_config.json", b"{}", "is an adapter"),
    ],
)
def test_a_part_that_is_missing_or_broken_is_named(model, file, content, words):
    if content is None:
        (model / file).unlink()
    else:
        (model / file).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        check_model(str(model))
    assert "\n" not in str(caught.value)


def test_cut_weights_say_how_many_bytes_they_lack(model):
    path = model / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=f"is cut: it has {len(whole) - 1} of {len(whole)} bytes"):
        check_model(str(model))


def test_an_index_that_names_a_missing_file(model):
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"w": "model-00001-of-00002.safetensors", "v": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="not all that its index names"):
        check_model(str(model))


def test_more_than_its_context(model):
    with pytest.raises(UserError, match=r"data.max_len: 513: is more than the 512 positions of '.*model'"):
        check_model(str(model), 513)


def test_offline_a_name_that_is_not_cached_is_told_at_once(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        UserError, match=r"'m/notempl': is no folder here and not in the hub's cache, and HF_HUB_OFFLINE"
    ):
        check_hub_model("m/notempl")
