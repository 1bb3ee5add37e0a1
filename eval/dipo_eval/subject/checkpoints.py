"""The models to evaluate: an HF folder, a hub name, or the checkpoints of a training run in step order."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dipo_eval.errors import UserError, one_line
from dipo_eval.results.store import safe_name
from dipo_eval.subject.marker import step_of

_WEIGHTS = ("*.safetensors", "*.bin")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Files of tokenizers, chat templates and engines beside the weights and config.json, as transformers, sentencepiece,
# tiktoken and mistral-common name them; also the indices of weights files.
_GENERATION_FILES = (
    "generation_config.json", "tokenizer*", "vocab*", "merges*", "special_tokens_map*", "added_tokens*", "tekken.json",
    "*.model", "*.spm", "*.tiktoken", "bpe.codes", "dict.txt", "normalizer.json", "chat_template*",
    "additional_chat_templates/*", "*processor_config.json", "*quant*_config.json", "*.index.json",
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A model folder in HF form, its name in the results, and its training step (None: not of a run).

    `revision`: the commit, of a model from the hub.
    """

    path: Path
    name: str
    step: int | None = None
    revision: str | None = None


def find_checkpoints(model: str) -> list[Checkpoint]:
    """Checkpoints that `model` stands for.

    A folder with a config.json is one model. A folder with `global_step*_hf` folders (in it, or one level down) is a
    run: all complete exports, in step order; one without weights is being written and is skipped. Anything else is a
    name on the hub, which is downloaded. Raises UserError with what was searched for.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if (path / "config.json").is_file():
            return [_single(path)]
        exports = [p for pattern in ("global_step*_hf", "*/global_step*_hf") for p in path.glob(pattern)]
        found = [_single(p) for p in exports if step_of(p.name, "_hf") is not None and is_whole(p)]
        if found:
            return _unique(sorted(found, key=lambda c: (c.step or 0, str(c.path))))
        raise UserError(
            f"{path}: holds neither a config.json nor complete global_step*_hf folders; name a model folder"
        )
    if path.exists():
        raise UserError(f"{path}: is a file; name the folder that holds the model")
    if path.is_absolute() or model.startswith((".", "~")) or not _HUB_NAME.fullmatch(model):
        raise UserError(f"{path}: no such folder; name a model folder, a training run or a model on the hub")
    folder = _download(model)
    # huggingface_hub keeps each commit in a folder of that name.
    revision = folder.name if _COMMIT.fullmatch(folder.name) else None
    return [Checkpoint(folder, safe_name(model), revision=revision)]


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a config and every weights file that its index (where there is one) names."""
    return (folder / "config.json").is_file() and bool(_weights_files(folder))


def _weights_files(folder: Path) -> set[str]:
    """Weights files of the first kind that is there, with those named by its index; none where one of these misses."""
    for pattern in _WEIGHTS:
        try:
            named = _indexed(folder, pattern)
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return set()
        if files := _matching(folder, (pattern,)) | named:
            return files if all((folder / name).is_file() for name in named) else set()
    return set()


def weights_names(folder: Path) -> list[str]:
    """config.json and the weights files of a model: the safetensors files, or the bin files where there are none.

    Files that an index names are among them wherever they lie. Raises UserError where config or weights miss.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name a model folder in HF form")
    found = sorted(_weights_files(folder))
    if not found or not (folder / "config.json").is_file():
        raise UserError(
            f"{folder}: config.json or weights are missing; name a complete model folder in HF form"
        )
    return ["config.json", *found]


def generation_names(folder: Path) -> list[str]:
    """The files beside the weights that decide a response: end tokens, tokenizer, chat template."""
    return sorted(_matching(folder, _GENERATION_FILES))


def weights_hash(folder: Path) -> str:
    """sha256 over the contents of config.json and of the weights files, with their names. Raises UserError."""
    return hash_of(file_hashes(folder, weights_names(folder)))


def generation_hash(folder: Path) -> str:
    """sha256 over the names and contents of the files of generation_names."""
    return hash_of(file_hashes(folder, generation_names(folder)))


def file_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 of each file. Raises OSError."""
    hashes = {}
    for name in names:
        with (folder / name).open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def hash_of(hashes: Mapping[str, str]) -> str:
    """One sha256 for many files, from their names and hashes."""
    return hashlib.sha256("".join(f"{name}\0{one}\n" for name, one in hashes.items()).encode()).hexdigest()


def served_hash(model: str, base_url: str) -> str:
    """In place of a weights hash of a served model: of the address and the model's name, after "served-".

    A server may change its weights without notice.
    """
    return "served-" + hashlib.sha256(f"{base_url}\n{model}".encode()).hexdigest()


_CKPT = "ckpt"  # where `dipo train` keeps a run's checkpoints, in the run's own folder


def default_run(model: str, served: bool = False) -> str:
    """Name of the run where the user gives none: the folder of a training run, else "models" or "served"."""
    path = Path(model).expanduser()
    if served or not path.is_dir():
        return "served" if served else "models"
    path = path.resolve()
    if step_of(path.name, "_hf") is not None:
        path = path.parent
    elif (path / "config.json").is_file():
        return "models"
    return safe_name(path.parent.name if path.name == _CKPT else path.name)


def _single(path: Path) -> Checkpoint:
    name = path.resolve().name
    step = step_of(name, "_hf")
    return Checkpoint(path, safe_name(name) if step is None else name.removesuffix("_hf"), step)


def _unique(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    names = [one.name for one in checkpoints]
    for one in checkpoints:
        if names.count(one.name) > 1:
            raise UserError(f"{one.path}: another folder is also {one.name}; evaluate one run at a time")
    return checkpoints


def _matching(folder: Path, patterns: Iterable[str]) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.is_file()
    }


def _indexed(folder: Path, pattern: str) -> set[str]:
    """The files named by the index of this kind of weights; a single file of all weights needs none."""
    suffix = pattern.removeprefix("*")
    if any((folder / f"{stem}{suffix}").is_file() for stem in ("model", "pytorch_model")):
        return set()
    return {
        str(name)
        for index in folder.glob(f"*{suffix}.index.json")
        for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    }


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=_HUB_FILES))
        if not is_whole(folder):
            folder = Path(snapshot_download(name, allow_patterns=[*_HUB_FILES, "*.bin"]))
    except Exception as error:
        raise UserError(
            f"{name}: is no local folder and is not available from the hub ({one_line(error)})"
        ) from error
    return folder
