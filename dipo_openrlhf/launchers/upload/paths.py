"""The paths that a recipe names: what a job needs from disk beside the code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.files.yaml_file import read_yaml
from dipo_eval.suites.user import is_suite_path
from dipo_openrlhf.recipe.yaml_lines import Setting

_PATH_KEYS = (
    "actor.model_name_or_path", "critic.model_name_or_path", "reward.model_name_or_path",
    "data.prompt_dataset", "eval.dataset", "reward.remote_url", "train.agent_func_path", "evaluate.data_dir",
)  # fmt: skip
_DATASETS = ("data.prompt_dataset", "eval.dataset")


def paths_of(settings: Mapping[str, Setting]) -> tuple[tuple[str, str], ...]:
    """(recipe key, path or hub name as written), lists by their parts, and the data of a user's own suites."""
    found: list[tuple[str, str]] = []
    for key in _PATH_KEYS:
        value = settings[key].value if key in settings else None
        for part in value.split(",") if isinstance(value, str) else ():
            # FOLDER@SUBFOLDER reads the folder, split in the order of openrlhf/datasets/utils.py, blending_datasets.
            path = (part.partition("@")[0] if key in _DATASETS else part).strip()
            found += [(key, path)] if path else []
    suites = settings["evaluate.suites"].value if "evaluate.suites" in settings else None
    for suite in suites if isinstance(suites, list) else []:
        if isinstance(suite, str) and is_suite_path(suite):
            found += [("evaluate.suites", path) for path in (suite, *_data_of(Path(suite)))]
    return tuple(found)


def _data_of(suite: Path) -> list[str]:
    """The file that a suite's YAML names, which starts at its folder; its mistakes are reported elsewhere."""
    if suite.suffix == ".py":
        return []
    try:
        content = read_yaml(suite)
    except UserError:
        return []
    file = content.get("file") if isinstance(content, dict) else None
    return [str(suite.parent / file)] if isinstance(file, str) and file else []
