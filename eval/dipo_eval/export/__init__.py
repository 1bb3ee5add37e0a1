"""Results in other people's formats, one file a format; FORMATS names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dipo_eval.export import every_eval_ever, hub, lm_eval, model_index
from dipo_eval.export.source import Evaluated, Identity, find_evaluated

Writer = Callable[[Evaluated, Identity, Path], list[Path]]

FORMATS: dict[str, Writer] = {
    "lm-eval": lm_eval.write,
    "every-eval-ever": every_eval_ever.write,
    "hub": hub.write,
    "model-index": model_index.write,
}
"""Name on the command line -> what writes one checkpoint into a folder and returns the files."""

__all__ = ["FORMATS", "Evaluated", "Identity", "find_evaluated"]
