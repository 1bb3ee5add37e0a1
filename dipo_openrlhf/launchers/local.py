"""A recipe on this one machine, as a plain script that can be started again."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from dipo_openrlhf.key_values import refuse_secrets
from dipo_openrlhf.launchers.request import Request
from dipo_openrlhf.launchers.templates import render


def local_script(request: Request) -> str:
    """The script; keys come from the environment in which it is started."""
    script = render(
        "local.sh.j2",
        name=" ".join(request.name.split()),
        folder=shlex.quote(str(Path.cwd())),
        python=shlex.quote(sys.executable),
        arguments=shlex.join(request.arguments),
    )
    refuse_secrets("the script", script, request.secrets)
    return script


def run_script(script: str, run_dir: Path) -> int:
    """Keep it in the run's folder and run it; its exit status. Ctrl-C reaches the training, which ends itself."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "run.sh"
    path.write_text(script, encoding="utf-8")
    path.chmod(0o755)
    process = subprocess.Popen(["bash", str(path)], env=dict(os.environ))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
