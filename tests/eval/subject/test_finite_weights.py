"""Weights that are no numbers are found, wherever they stand and whatever their format, and never evaluated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dipo_eval.errors import UserError
from dipo_eval.runner import subject as subject_module
from dipo_eval.runner.generation_cache import FOLDER
from dipo_eval.runner.run import evaluate
from dipo_eval.subject import finite_weights
from dipo_eval.subject.checkpoints import Checkpoint, weights_hash
from dipo_eval.subject.finite_weights import first_not_finite

BAD = [float("nan"), float("inf"), float("-inf"), 1e30, -1e30]


def folder_with(folder: Path, **tensors: torch.Tensor) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", BAD)
def test_one_number_is_enough(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    good, bad = torch.randn(7, 11).to(dtype), torch.randn(7, 11).to(dtype)
    assert first_not_finite(folder_with(tmp_path, a=good, b=bad)) is None
    bad[6, 10] = value
    assert first_not_finite(folder_with(tmp_path, a=good, b=bad)) == "b in model.safetensors"


@given(place=st.integers(0, 99), value=st.sampled_from(BAD), chunk=st.integers(1, 120))
def test_wherever_a_chunk_ends(place: int, value: float, chunk: int) -> None:
    tensor = torch.ones(10, 10)
    tensor.view(-1)[place] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finite_weights, "CHUNK", chunk)
        assert not finite_weights.is_finite(tensor)
        assert finite_weights.is_finite(torch.ones(10, 10))


def test_other_formats(tmp_path: Path) -> None:
    """Whole numbers and nothing at all are fine; eight-bit numbers have a NaN too; what is large is not infinite."""
    fine = {
        "whole": torch.tensor([2**62]), "none": torch.empty(0, 3), "single": torch.tensor(1.0),
        "large": torch.tensor([65504.0], dtype=torch.float16), "larger": torch.tensor([1e19]),
        "eight": torch.tensor([1.0, -2.0]).to(torch.float8_e4m3fn),
    }  # fmt: skip
    assert first_not_finite(folder_with(tmp_path, **fine)) is None
    eight = torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)
    assert first_not_finite(folder_with(tmp_path, eight=eight)) == "eight in model.safetensors"


def test_every_shard_and_the_older_form(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "shards", a=torch.ones(2))
    (folder / "model.safetensors").rename(folder / "1.safetensors")
    save_file({"b": torch.tensor([float("nan")])}, folder / "2.safetensors")
    names = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(names))
    assert first_not_finite(folder) == "b in 2.safetensors"
    older = tmp_path / "older"
    older.mkdir()
    (older / "config.json").write_text("{}")
    torch.save({"c": torch.tensor([float("inf")])}, older / "pytorch_model.bin")
    torch.save(ValueError("no weights"), older / "training_args.bin")
    assert first_not_finite(older) == "c in pytorch_model.bin"


def test_the_adapter_of_zero_3_is_looked_at(tmp_path: Path) -> None:
    """OpenRLHF writes it as adapter_model.bin and deletes the safetensors."""
    (tmp_path / "config.json").write_text("{}")
    torch.save(
        {"lora_A": torch.ones(2), "lora_B": torch.tensor([float("nan")])}, tmp_path / "adapter_model.bin"
    )
    assert first_not_finite(tmp_path) == "lora_B in adapter_model.bin"
    torch.save({"lora_A": torch.ones(2)}, tmp_path / "adapter_model.bin")
    assert first_not_finite(tmp_path) is None
    (tmp_path / "adapter_model.bin").unlink()
    save_file({"lora_B": torch.tensor([float("inf")])}, tmp_path / "adapter_model.safetensors")
    assert first_not_finite(tmp_path) == "lora_B in adapter_model.safetensors"


@pytest.mark.parametrize(
    ("name", "content"),
    [("training_args.bin", ValueError("no weights")), ("pytorch_model.bin", {"epoch": 3})],
)
def test_a_folder_without_any_tensor_does_not_count_as_looked_at(
    tmp_path: Path, name: str, content: Any
) -> None:
    (tmp_path / "config.json").write_text("{}")
    torch.save(content, tmp_path / name)
    with pytest.raises(UserError, match=f"no weights in {name}|cannot be read as weights") as caught:
        first_not_finite(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, a=torch.ones(9))
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-5])
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read as weights") as caught:
        first_not_finite(folder)
    assert "\n" not in str(caught.value)


def test_a_model_of_nan_has_no_score(models: Path, tmp_path: Path) -> None:
    """It answers something, and every answer would be wrong: 0%, as of a model that cannot add."""
    model = shutil.copytree(models / "global_step2_hf", tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.endswith("down_proj.weight"))
    weights[name][0, 0] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    arguments: dict[str, Any] = {
        "results_dir": tmp_path / "results", "run": "r", "engine": "hf", "limit": 3, "max_new_tokens": 4,
        "progress": False,
    }  # fmt: skip
    says = f"NaN, infinite or overflowing numbers \\({name}"
    with pytest.raises(UserError, match=says) as caught:
        evaluate([Checkpoint(model, "m")], ["arithmetic-control"], **arguments)
    assert "\n" not in str(caught.value)
    # A marker of other weights, or one that does not say that they were looked at, changes nothing.
    digest = weights_hash(model)
    for marker in (
        {"weights_hash": digest}, {"weights_hash": "0" * 64, "weights_finite": True}, {"weights_finite": True},
    ):  # fmt: skip
        (model / "COMPLETE.json").write_text(json.dumps(marker))
        with pytest.raises(UserError, match=says):
            evaluate([Checkpoint(model, "m")], ["arithmetic-control"], **arguments)
    assert not list((tmp_path / "results").rglob("results.json"))
    assert not list((tmp_path / "results" / FOLDER).rglob("*.zst"))


def test_what_the_training_has_looked_at_is_not_read_again(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(models / "global_step2_hf", tmp_path / "model")
    looked: list[Path] = []

    def looking(folder: Path) -> str | None:
        looked.append(folder)
        return first_not_finite(folder)

    monkeypatch.setattr(subject_module, "first_not_finite", looking)

    def evaluate_as(run: str) -> None:
        evaluate(
            [Checkpoint(model, "m")], ["arithmetic-control"], results_dir=tmp_path / "results", run=run, engine="hf",
            limit=2, max_new_tokens=4, progress=False, force=True,
        )  # fmt: skip

    evaluate_as("unmarked")
    assert looked == [model]
    marker = {"weights_hash": weights_hash(model), "weights_finite": True}
    (model / "COMPLETE.json").write_text(json.dumps(marker))
    evaluate_as("marked")
    assert looked == [model]
