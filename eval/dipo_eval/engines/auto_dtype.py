"""The number format that a model is computed in where the user leaves it open (dtype "auto").

It is resolved here, before an engine is there, since it is a part of what a result is known by.
"""

from __future__ import annotations

import json
from pathlib import Path

from dipo_eval.engines.cpu_env import has_gpu
from dipo_eval.engines.gpu import compute_capability

# Models that vLLM refuses in float16 (0.29.0, vllm/config/model.py, _FLOAT16_NOT_SUPPORTED_MODELS).
NO_FLOAT16 = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
_FORMATS = ("bfloat16", "float16", "float32")


def resolve_dtype(folder: Path, engine: str, dtype: str) -> str:
    """What "auto" means: float32 without a GPU, else the model's own, as its config.json says, where the GPU has that.

    vLLM computes float32 models in half precision, and some models never in float16 (_resolve_auto_dtype in
    vllm/config/model.py). "auto" stays where the config does not tell.
    """
    if dtype != "auto":
        return dtype
    if not has_gpu():
        return "float32"
    own, model_type = _stated(folder)
    if own is None:
        return "auto"
    supported = _supported()
    if engine == "vllm":
        supported = [one for one in supported if one != "float16" or model_type not in NO_FLOAT16]
        return own if own in supported and own != "float32" else supported[0]
    return own if own in supported else supported[0]


def _supported() -> list[str]:
    """Number formats of the GPU, best first, as vLLM has them (vllm/platforms/cuda.py, supported_dtypes). One that cannot
    be asked has them all, as in vllm/platforms/interface.py."""
    capability = compute_capability()
    if capability is None or capability >= (8, 0):
        return list(_FORMATS)
    return ["float16", "float32"] if capability >= (6, 0) else ["float32"]


def _stated(folder: Path) -> tuple[str | None, str]:
    """Number format and model type as config.json has them; None where it names no format, or one of no use here."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parts = [config, *(part for part in config.values() if isinstance(part, dict))]
        named = [part[key] for part in parts for key in ("dtype", "torch_dtype") if part.get(key)]
    except (OSError, ValueError, AttributeError):
        return None, ""
    found = str(named[0]).removeprefix("torch.") if named else ""
    return found if found in _FORMATS else None, str(config.get("model_type", ""))
