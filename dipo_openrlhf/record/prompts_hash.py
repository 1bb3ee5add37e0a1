"""The content hash of a run's prompts: written into every checkpoint's marker and compared on a resume.

A path says where the prompts are, not what they are: a file that was prepared again, with other rows or in another
order, would be continued in the middle as if nothing had happened.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.watch.marker import whole_checkpoints

KEY = "data_sha256"  # in COMPLETE.json and in recipe.yaml


def prompts_hash(names: str) -> str:
    """sha256 of the file that `data.prompt_dataset` names; those of several, joined by commas in their order.

    What is no local file (a data set of a hub, a folder) has no content to hash: it gives nothing.
    Raises UserError where a file cannot be read.
    """
    paths = [Path(name.strip()).expanduser() for name in names.split(",")]
    return ",".join(_file_hash(path) for path in paths if path.is_file())


def check_same_prompts(names: str, ckpt_path: Path, step: int) -> None:
    """Raise UserError, naming both hashes, unless the prompts are those that the checkpoint of `step` was trained on.

    A checkpoint whose marker names no hash (of an older version, or prompts from a hub) is taken as it is.
    """
    markers = {whole.step: whole.marker for whole in whole_checkpoints(ckpt_path)}
    before, now = str(markers.get(step, {}).get(KEY) or ""), prompts_hash(names)
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
        raise UserError(f"data.prompt_dataset: {str(path)!r} cannot be read ({error.strerror})") from None
