"""This machine: a plain script that can be started again."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

import typer

from dipo_eval.files.atomic import write_atomic
from dipo_eval.files.places import check_can_make_folder
from dipo_eval.secrets.refusing import refuse_secrets
from dipo_openrlhf.launchers.launcher import Launcher, Options
from dipo_openrlhf.launchers.request import Request


def local_script(request: Request) -> str:
    """The script; keys come from the environment in which it is started."""
    name = " ".join(request.name.split())
    command = [sys.executable, "-P", "-m", "dipo_openrlhf.launchers.run_or_resume", *request.arguments]
    script = f"""\
#!/usr/bin/env bash
# {name} on this machine. Made by `dipo submit --to local`; started again, it goes on where it stopped.
set -euo pipefail
cd {shlex.quote(str(Path.cwd()))}
exec {shlex.join(command)}
"""
    refuse_secrets("the script", script, request.secrets)
    return script


def run_script(script: str, run_dir: Path) -> NoReturn:
    """Keep it in the run's folder and become it: signals reach the training directly, and its status is ours."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "run.sh"
    write_atomic(path, script.encode(), private=True)
    path.chmod(0o700)
    os.execvp("bash", ["bash", str(path)])


def _submit(request: Request, options: Options) -> int:
    script = local_script(request)
    if options.dry_run:
        typer.echo(script, nl=False)
        return 0
    check_can_make_folder(request.recipe.run_dir, "run.dir")
    run_script(script, request.recipe.run_dir.resolve())


LAUNCHER = Launcher(_submit, on_cluster=False)
