"""Whether a model's files are still those that were hashed: no change is missed, no settled weights read twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from dipo_eval.subject import frozen_model
from dipo_eval.subject.checkpoints import file_hashes, generation_hash, weights_hash
from dipo_eval.subject.frozen_model import FrozenModel, ModelChangedError

WEIGHTS = "model.safetensors"


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    return shutil.copytree(models / "global_step2_hf", tmp_path / "model")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read, as of weights that are large."""
    names: list[str] = []

    def hashes(folder: Path, some: Iterable[str]) -> dict[str, str]:
        names.extend(some := list(some))
        return file_hashes(folder, some)

    monkeypatch.setattr(frozen_model, "file_hashes", hashes)
    monkeypatch.setattr(frozen_model, "SMALL", 0)
    return names


def overwrite(path: Path, byte: bytes = b"\0") -> None:
    """In place, with the size and the time of modification as before."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(byte)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_its_hashes_are_those_of_the_folder(model: Path) -> None:
    frozen = FrozenModel(model)
    assert (frozen.weights_hash, frozen.generation_hash) == (weights_hash(model), generation_hash(model))


def test_settled_files_are_not_read_again(
    model: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_model, "SETTLED_NS", -(10**12))
    frozen = FrozenModel(model)
    assert WEIGHTS in read
    read.clear()
    frozen.check_loaded()
    frozen.check_used()
    assert read == []
    (model / WEIGHTS).touch()
    frozen.check_stamps()
    assert read == [WEIGHTS]  # the same contents: from now on with the new stamp
    read.clear()
    frozen.check_loaded()
    assert read == []


def test_files_that_have_just_been_written_are_read_again(model: Path, read: list[str]) -> None:
    """Within the steps of a file system's clock a file can change without another stamp."""
    (model / WEIGHTS).touch()
    frozen = FrozenModel(model)
    read.clear()
    frozen.check_loaded()
    assert WEIGHTS in read


def test_size_and_time_may_be_as_before(
    model: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_model, "SETTLED_NS", -(10**12))
    frozen = FrozenModel(model)
    overwrite(model / WEIGHTS)
    for check in (frozen.check_loaded, frozen.check_used, frozen.check_stamps):
        with pytest.raises(ModelChangedError, match="so that nothing was stored; evaluate it again"):
            check()


def test_files_that_come_and_go(model: Path) -> None:
    frozen = FrozenModel(model)
    (model / "README.md").write_text("x")
    assert frozen.is_current()
    (model / "added_tokens.json").write_text("{}")
    assert not frozen.is_current()
    (model / "added_tokens.json").unlink()
    assert frozen.is_current()
    (model / "generation_config.json").unlink()
    assert not frozen.is_current()
    frozen.check_used()
    shutil.rmtree(model)
    assert not frozen.is_current()
    frozen.check_used()


def test_a_folder_that_is_being_written_is_waited_for_or_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [b"1", b"2"]

    def hashes(folder: Path, some: Iterable[str]) -> dict[str, str]:
        found = file_hashes(folder, some)
        if changes:
            overwrite(folder / WEIGHTS, changes.pop())
        return found

    monkeypatch.setattr(frozen_model, "file_hashes", hashes)
    assert FrozenModel(model).weights_hash == weights_hash(model)
    changes += [b"3", b"4", b"5"]
    with pytest.raises(ModelChangedError, match="change while they are read"):
        FrozenModel(model)
