"""One value of OpenRLHF's command line: checked against its argparse action, and turned back into arguments."""

from __future__ import annotations

import argparse
import re
from typing import Any

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.yaml_lines import Setting

# Upstream knows bf16 and fp16; cpu.py adds fp32 for CPU runs.
_CPU_CHOICES = {"ds.param_dtype": ["fp32"]}
_OWN_FILE = re.compile(r".*/(dipo_openrlhf/rewards/\w+\.py)")


def portable(value: Any) -> Any:
    """The value without the place where this project is installed: the same reward is the same on every machine."""
    found = _OWN_FILE.fullmatch(value) if isinstance(value, str) else None
    return found.group(1) if found else value


def checked_value(key: str, setting: Setting, action: argparse.Action, cpu: bool) -> Any:
    """The value in the type OpenRLHF declares; None means OpenRLHF's default.

    Raises UserError naming place, key, value and what is allowed.
    """
    value = setting.value
    if value is None:
        return None
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UserError(f"{setting.where}: {key}: {value!r} is not true or false")
        if action.const is True and action.default is True and not value:
            section, _, last = key.rpartition(".")
            raise UserError(
                f"{setting.where}: {key}: is on by default; set {section}.no_{last}: true to turn it off"
            )
        return value
    if action.nargs is not None:
        items = value if isinstance(value, list) else [value]
        if isinstance(action.nargs, int) and len(items) != action.nargs:
            raise UserError(f"{setting.where}: {key}: {value!r} must be {action.nargs} values")
        return [_convert(key, item, setting, action, cpu) for item in items]
    if isinstance(value, list):
        raise UserError(f"{setting.where}: {key}: {value!r} must be one value, not a list")
    return _convert(key, value, setting, action, cpu)


def _convert(key: str, value: Any, setting: Setting, action: argparse.Action, cpu: bool) -> Any:
    wanted = action.type if isinstance(action.type, type) else str
    if wanted is str:
        converted: Any = str(value)
    elif isinstance(value, bool):
        raise UserError(f"{setting.where}: {key}: {value!r} must be a number, not true or false")
    else:
        try:
            converted = wanted(value)
        except (TypeError, ValueError):
            raise UserError(f"{setting.where}: {key}: {value!r} must be {_article(wanted)}") from None
        if wanted is int and isinstance(value, float) and converted != value:
            raise UserError(f"{setting.where}: {key}: {value!r} must be a whole number")
    choices = list(action.choices or []) + (_CPU_CHOICES.get(key, []) if cpu else [])
    if action.choices and converted not in choices:
        raise UserError(f"{setting.where}: {key}: {value!r} must be one of {', '.join(map(str, choices))}")
    return converted


def _article(wanted: type) -> str:
    return {int: "a whole number", float: "a number"}.get(wanted, wanted.__name__)


def argv_of(key: str, value: Any, action: argparse.Action) -> list[str]:
    """Command-line tokens of one argument."""
    if action.nargs == 0:
        return [f"--{key}"] if value else []
    if isinstance(value, list):
        return [f"--{key}", *(str(item) for item in value)]
    return [f"--{key}", str(value)]
