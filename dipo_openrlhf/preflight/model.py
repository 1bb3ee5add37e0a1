"""The model that training starts from: whole, with a tokenizer, and with room for data.max_len; or on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, one_line, short_repr
from dipo_eval.subject.checkpoints import is_whole, weights_names
from dipo_openrlhf.preflight.model_kind import is_cut_archive, kind_problem, shape_problem

_LFS = b"version https://git-lfs"
_TOKENIZERS = (
    "tokenizer.json",
    "*.model",
    "vocab*",
    "*.tiktoken",
)  # a vocabulary; without one transformers makes a tokenizer of special tokens alone

_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "max_position_embeddings",
)  # fmt: skip


def is_local(name: str) -> bool:
    """Whether a model's name is a folder's and no hub name."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).expanduser().exists()


def check_model(name: str, max_len: int = 0) -> None:
    """Raise UserError unless `name` is a whole model folder with `max_len` positions, or can be a hub name."""
    if not is_local(name):
        return
    path, place = Path(name).expanduser(), f"actor.model_name_or_path: {name!r}"
    try:
        _check_folder(path, place, max_len)
    except OSError as error:  # a file of another user's, or storage that does not answer
        raise UserError(f"{place}: cannot be read ({error.strerror}: {error.filename})") from None


def _check_folder(path: Path, place: str, max_len: int) -> None:
    if path.is_file():
        raise UserError(f"{place}: is a file; give the folder in which config.json lies")
    if not path.is_dir():
        raise UserError(f"{place}: no such folder; give a Hugging Face model folder")
    if (path / "adapter_config.json").is_file():
        raise UserError(f"{place}: is an adapter, not a model: merge it into its base first")
    if not (path / "config.json").is_file():
        within = next((one.parent for one in sorted(path.glob("*/config.json"))), None) or next(
            (one.parent for one in sorted(path.glob("snapshots/*/config.json"))), None
        )
        hint = f"; did you mean {within}?" if within else ""
        raise UserError(f"{place}: has no config.json, so it is not a Hugging Face model{hint}")
    config = _json(path / "config.json", place)
    for name in ("generation_config.json", "tokenizer_config.json"):
        if (path / name).is_file():
            _json(path / name, place)
    _check_sizes(config, place)
    if problem := kind_problem(config):
        raise UserError(f"{place}: {problem}")
    if not is_whole(path):
        packed = " (GGUF files are for inference alone)" if any(path.glob("*.gguf")) else ""
        raise UserError(
            f"{place}: has no weights, or not all that its index names{packed}: get the model again"
        )
    for weights in weights_names(path)[1:]:
        if problem := _weights_problem(path / weights, config):
            raise UserError(f"{place}: {weights} {problem}: get the file again")
    if not any(any(path.glob(pattern)) for pattern in _TOKENIZERS):
        raise UserError(
            f"{place}: has no tokenizer (tokenizer.json and the like): copy it from the model's source"
        )
    _check_context(config, max_len, place)


def _json(path: Path, place: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{place}: its {path.name} cannot be read ({one_line(error)}): get the model again"
        ) from None
    if not isinstance(config, dict):
        raise UserError(f"{place}: its {path.name} holds no settings: get the model again")
    return config


def _check_sizes(config: dict[str, Any], place: str) -> None:
    """What every architecture with these names divides by or makes tensors of."""
    for key in _SIZES:
        value = config.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UserError(
                f"{place}: {key} in its config.json is {short_repr(value, 40)}: get the model again"
            )


def _weights_problem(path: Path, config: dict[str, Any]) -> str:
    """A file that is no weights, is shorter than its header says (https://github.com/huggingface/safetensors), or is
    of another model.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if (start + file.read(len(_LFS) - 8)).startswith(_LFS):
            return "is a git-lfs pointer, not the weights (`git lfs pull` gets them)"
        if path.suffix != ".safetensors":
            return "is cut: its end is missing" if is_cut_archive(path) else "" if size else "is empty"
        length = int.from_bytes(start, "little")
        if len(start) < 8 or 8 + length > size:
            return f"is cut: it has {size:,} bytes"
        file.seek(8)
        try:
            header = json.loads(file.read(length))
            end = max(
                (one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"), default=0
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return "is no safetensors file"
    whole = 8 + length + end
    return shape_problem(header, config) if size == whole else f"is cut: it has {size:,} of {whole:,} bytes"


def _check_context(config: dict[str, Any], max_len: int, place: str) -> None:
    """vLLM refuses a longer max_model_len (vllm/config/model.py, ModelConfig) once the engine starts."""
    text = config.get("text_config")
    positions = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    scaling = config.get("rope_scaling")
    if isinstance(scaling, dict) and isinstance(factor := scaling.get("factor"), int | float):
        positions = positions * factor if isinstance(positions, int) else None
    if isinstance(positions, int | float) and max_len > positions:
        raise UserError(
            f"data.max_len: {max_len}: is more than the {positions:,.0f} positions of {place.partition(': ')[2]} "
            "(max_position_embeddings in its config.json): lower data.max_len"
        )
