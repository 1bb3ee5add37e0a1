"""The formats by name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dipo_eval.errors import one_line
from dipo_eval.export import every_eval_ever, hugging_face, lm_eval
from dipo_eval.export.source import Evaluated, Identity
from dipo_eval.results.store import RESULTS

Writer = Callable[[Evaluated, Identity, Path], list[Path]]

FORMATS: dict[str, Writer] = {
    "lm-eval": lm_eval.write,
    "every-eval-ever": every_eval_ever.write,
    "hub": hugging_face.write_eval_results,
    "model-index": hugging_face.write_model_index,
}
"""Name on the command line -> what writes one checkpoint into a folder and returns the files."""


def write_fit(
    name: str, evaluated: Evaluated, identity: Identity, folder: Path, unfit: Callable[[str], None]
) -> list[Path]:
    """Write one checkpoint in a format; `unfit` is called with one line for each result that the format cannot hold.

    Results are files of anybody's: what is wrong with one must not keep the others from being written.
    """
    write = FORMATS[name]
    try:
        return write(evaluated, identity, folder)
    except Exception as error:
        problems = {
            one.folder: _problem(write, replace(evaluated, suites=(one,)), identity)
            for one in evaluated.suites
        }
        fit = tuple(one for one in evaluated.suites if problems[one.folder] is None)
        if len(fit) == len(evaluated.suites):  # each can be written alone: the fault is not in a result
            unfit(f"{folder}: {one_line(error)}")
            return []
    for place, problem in problems.items():
        if problem is not None:
            unfit(f"{place / RESULTS}: cannot be written as {name} ({problem})")
    return write_fit(name, replace(evaluated, suites=fit), identity, folder, unfit) if fit else []


def _problem(write: Writer, one: Evaluated, identity: Identity) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            write(one, identity, Path(folder))
        except Exception as error:
            return one_line(error)
    return None
