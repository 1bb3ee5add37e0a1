"""Text in a recipe that cannot be the name of a file or folder, refused before anything asks the system for it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from dipo_eval.errors import UserError
from dipo_eval.secrets.errors import short_repr
from dipo_openrlhf.recipe.yaml_lines import Setting

_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes: Linux, NAME_MAX and PATH_MAX without its end
_KEYS = (
    "run.dir", "run.name", "ckpt.path", "ckpt.output_dir", "logger.tensorboard_dir", "evaluate.data_dir",
    "evaluate.suites",
    "actor.model_name_or_path", "data.prompt_dataset", "eval.dataset", "reward.remote_url", "train.agent_func_path",
)  # fmt: skip

_FOLDERS = ("run.dir", "ckpt.path", "ckpt.output_dir", "logger.tensorboard_dir", "evaluate.data_dir")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]")


def check_file_names(settings: Mapping[str, Setting]) -> None:
    """Raise UserError with key and place. Several names may be joined by commas; addresses are not looked at."""
    for key, setting in settings.items():
        values = setting.value if isinstance(setting.value, list) else [setting.value]
        for text in values:
            if isinstance(text, str) and "\0" in text:
                raise UserError(
                    f"{setting.where}: {key}: {short_repr(text, 60)}: holds a NUL character: take it out"
                )
            if not isinstance(text, str) or key not in _KEYS:
                continue
            if "://" in text and key in _FOLDERS:
                raise UserError(
                    f"{setting.where}: {key}: {short_repr(text, 60)}: is an address: a run reads and writes folders; "
                    "mount the storage and name the folder"
                )
            if "://" in text:
                continue
            for name in text.split(","):
                if problem := name_problem(name):
                    raise UserError(f"{setting.where}: {key}: {short_repr(name, 60)}: {problem}")


def name_problem(name: str) -> str:
    """Why no file can have this name; empty where one can."""
    encoded = os.fsencode(name)
    if any(len(part) > _LONGEST_NAME for part in encoded.split(b"/")) or len(encoded) > _LONGEST_PATH:
        return f"a name in it is longer than {_LONGEST_NAME} bytes; choose a shorter one"
    if _VARIABLE.search(name) and not os.path.exists(name):
        return "an environment variable is not filled in here: write the name out"
    if name.startswith("~") and os.path.expanduser(name) == name:
        return "there is no such user here; write the folder out"
    return ""
