"""The engines by name. A new engine is a module of this package, a name in ENGINES and its branch in open_engine."""

from __future__ import annotations

from pathlib import Path

from dipo_eval.engines.base import Engine
from dipo_eval.errors import UserError

ENGINES = ("vllm", "hf", "openai")


def open_engine(
    name: str, model: Path, *, max_model_len: int, dtype: str, base_url: str | None, seed: int = 0
) -> Engine:
    """Load `model` in the named engine; Raises UserError for an unknown engine or a model that does not load.

    seed: of an engine that draws without the seeds of requests.

    Imports stay inside: vllm and transformers take seconds, and --help or a skipped evaluation needs neither.
    """
    if name == "vllm":
        from dipo_eval.engines.vllm import VllmEngine

        return VllmEngine(model, max_model_len=max_model_len, dtype=dtype, seed=seed)
    if name == "hf":
        from dipo_eval.engines.transformers import HfEngine

        return HfEngine(model, dtype=dtype)
    if name == "openai":
        from dipo_eval.engines.openai import OpenAIEngine

        return OpenAIEngine(str(model), base_url)
    raise UserError(f"unknown engine {name!r}; choose from {', '.join(ENGINES)}")
