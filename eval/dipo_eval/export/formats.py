"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dipo_eval.export import every_eval_ever, hugging_face, lm_eval
from dipo_eval.export.source import Evaluated, Identity

Writer = Callable[[Evaluated, Identity, Path], list[Path]]

FORMATS: dict[str, Writer] = {
    "lm-eval": lm_eval.write,
    "every-eval-ever": every_eval_ever.write,
    "hub": hugging_face.write_eval_results,
    "model-index": hugging_face.write_model_index,
}
"""Name on the command line -> what writes one checkpoint into a folder and returns the files."""
