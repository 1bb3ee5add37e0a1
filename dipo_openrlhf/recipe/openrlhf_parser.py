"""OpenRLHF's command line as a table, without importing OpenRLHF.

Its parser sits under `if __name__ == "__main__"` of openrlhf/cli/train_ppo_ray.py:204, below imports that take
ten seconds. The statements that build it are taken from the source and run alone: exact, and fast enough for
`--dry-run`.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib.util
from datetime import datetime
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError


def _main_block(source: str) -> list[ast.stmt]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            return node.body
    raise UserError("openrlhf/cli/train_ppo_ray.py has no main block: another OpenRLHF version is installed")


@functools.cache
def openrlhf_parser() -> argparse.ArgumentParser:
    """The real parser, built from OpenRLHF's own statements up to `parse_args()`."""
    spec = importlib.util.find_spec("openrlhf")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("OpenRLHF is not installed: run `make setup`")
    source = Path(spec.submodule_search_locations[0], "cli", "train_ppo_ray.py").read_text(encoding="utf-8")
    statements = []
    for statement in _main_block(source):
        if "parse_args" in ast.unparse(statement):
            break
        statements.append(statement)
    module = ast.Module(body=statements, type_ignores=[])
    scope: dict[str, Any] = {"argparse": argparse, "datetime": datetime}
    exec(compile(module, "openrlhf/cli/train_ppo_ray.py", "exec"), scope)
    parser = scope["parser"]
    if not isinstance(parser, argparse.ArgumentParser):
        raise UserError(
            "openrlhf/cli/train_ppo_ray.py builds no parser: another OpenRLHF version is installed"
        )
    return parser


@functools.cache
def openrlhf_actions() -> dict[str, argparse.Action]:
    """Dotted key -> argparse action, for every argument OpenRLHF takes."""
    return {
        action.option_strings[0].removeprefix("--"): action
        for action in openrlhf_parser()._actions
        if action.option_strings and action.dest != "help"
    }
