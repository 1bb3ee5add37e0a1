"""OpenRLHF's command line as a table, without importing OpenRLHF; its values checked, and turned back into arguments.

The parser is built in the main block of openrlhf/cli/train_ppo_ray.py; the imports above it take ten seconds. Its
statements are taken from the source and run alone: exact, and fast enough for `--dry-run`.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib.util
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.secrets.errors import short_repr
from dipo_openrlhf.recipe.ranges import range_problem
from dipo_openrlhf.recipe.yaml_lines import Setting

_SOURCE = "openrlhf/cli/train_ppo_ray.py"
CPU_CHOICES = {"ds.param_dtype": ["fp32"]}  # added to OpenRLHF's choices for CPU runs
OWN_CHOICES = {"actor.policy_loss_type": ["cispo"]}  # for all: openrlhf_patch/policy_loss.py
_JOINED = ("data.prompt_dataset", "data.prompt_probs", "reward.remote_url")
_OWN_FILE = re.compile(r".*/(dipo_openrlhf/rewards/\w+\.py)")


@functools.cache
def openrlhf_parser() -> argparse.ArgumentParser:
    """OpenRLHF's parser, built from its own statements up to `parse_args()`. Raises UserError where there is none."""
    spec = importlib.util.find_spec("openrlhf")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("OpenRLHF is not installed: run `make setup`")
    source = (Path(spec.submodule_search_locations[0]).parent / _SOURCE).read_text(encoding="utf-8")
    blocks = [node.body for node in ast.parse(source).body if isinstance(node, ast.If)]
    statements: list[ast.stmt] = []
    for statement in blocks[-1] if blocks else []:  # the last is `if __name__ == "__main__"`
        if "parse_args" in ast.unparse(statement):
            break
        statements.append(statement)
    scope: dict[str, Any] = {"argparse": argparse, "datetime": datetime}
    exec(compile(ast.Module(body=statements, type_ignores=[]), _SOURCE, "exec"), scope)
    if not isinstance(parser := scope.get("parser"), argparse.ArgumentParser):
        raise UserError(f"{_SOURCE} builds no parser: another OpenRLHF version is installed")
    return parser


@functools.cache
def openrlhf_actions() -> dict[str, argparse.Action]:
    """Dotted key -> argparse action, for every argument OpenRLHF takes."""
    return {
        action.option_strings[0].removeprefix("--"): action
        for action in openrlhf_parser()._actions
        if action.option_strings and action.dest != "help"
    }


def portable(value: Any) -> Any:
    """The value without the folder this project is installed in: the same reward is the same on every machine."""
    found = _OWN_FILE.fullmatch(value) if isinstance(value, str) else None
    return found.group(1) if found else value


def checked_value(key: str, setting: Setting, cpu: bool) -> Any:
    """The value in the type OpenRLHF declares; None means OpenRLHF's default.

    Raises UserError naming place, key, value and what is allowed.
    """
    value, action, place = setting.value, openrlhf_actions()[key], f"{setting.where}: {key}"
    if value is None:
        return None
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UserError(f"{place}: {short_repr(value)} is not true or false")
        if action.const is True and action.default is True and not value:
            section, _, last = key.rpartition(".")
            raise UserError(f"{place}: is on by default; set {section}.no_{last}: true to turn it off")
        return value
    if setting.text is not None and action.type in (None, str):
        value = setting.text if not isinstance(value, list) else value
    choices = [*(action.choices or []), *OWN_CHOICES.get(key, []), *(CPU_CHOICES.get(key, []) if cpu else [])]
    wanted = action.type if isinstance(action.type, type) else str
    if action.nargs is not None:
        items = value if isinstance(value, list) else [value]
        if isinstance(action.nargs, int) and len(items) != action.nargs:
            form = f"[{', '.join('ABCD'[: action.nargs])}], or --{key} {' '.join('ABCD'[: action.nargs])}"
            raise UserError(f"{place}: {short_repr(value)} must be {action.nargs} values: {form}")
        return [_in_range(place, key, _convert(place, item, wanted, choices)) for item in items]
    if isinstance(value, list):
        joined = ": join them by commas" if key in _JOINED else ""
        raise UserError(f"{place}: {short_repr(value)} must be one value, not a list{joined}")
    return _in_range(place, key, _convert(place, value, wanted, choices))


def _in_range(place: str, key: str, value: Any) -> Any:
    if problem := range_problem(key, value):
        raise UserError(f"{place}: {short_repr(value)}: {problem}")
    return value


def _convert(place: str, value: Any, wanted: type, choices: list[Any]) -> Any:
    if wanted is str:
        converted: Any = str(value)
    elif isinstance(value, bool):
        raise UserError(f"{place}: {short_repr(value)} must be a number, not true or false")
    else:
        try:
            converted = wanted(value)
        except (TypeError, ValueError, OverflowError):
            kind = {int: "a whole number", float: "a number"}.get(wanted, wanted.__name__)
            raise UserError(f"{place}: {short_repr(value)} must be {kind}") from None
        if wanted is int and isinstance(value, float) and converted != value:
            raise UserError(f"{place}: {short_repr(value)} must be a whole number")
    if choices and converted not in choices:
        raise UserError(f"{place}: {short_repr(value)} must be one of {', '.join(map(str, choices))}")
    return converted


def argv_of(key: str, value: Any) -> list[str]:
    """Command-line tokens of one argument."""
    if openrlhf_actions()[key].nargs == 0:
        return [f"--{key}"] if value else []
    return [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
