"""A recipe as a Slurm job: start a Ray cluster over srun, train, and requeue before the time limit.

No key is in the script and Slurm is handed no environment (`--export=NONE`): the keys are read from --secrets-file.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.secrets.refusing import refuse_secrets, refuse_url_secrets
from dipo_openrlhf.launchers.request import Request
from dipo_openrlhf.launchers.templates import render

NOTICE = 300  # seconds before the time limit at which the run is interrupted: a step and a clean end fit
READY_TIMEOUT = 600  # seconds until all nodes have joined
LOST_TIMEOUT = 30  # seconds after a failed training in which a node that Ray misses may come back
MAX_RESTARTS = 50
SBATCH_TIMEOUT = 60.0  # seconds
_MINUTES = re.compile(r"\d+|\d+:\d{1,2}(:\d{1,2})?|\d+-\d{1,2}(:\d{1,2}){0,2}")


def slurm_script(request: Request, variables: dict[str, str], time_limit: str, options: list[str]) -> str:
    """The sbatch script. Raises UserError for options that Slurm would not take, and for a key in any of it."""
    if not _MINUTES.fullmatch(time_limit):
        raise UserError(f"--time {time_limit!r}: write minutes, H:MM:SS or D-HH:MM:SS, as sbatch does")
    for option in options:
        if not option.startswith("-") or "\n" in option:
            raise UserError(
                f"--sbatch {option!r}: give one option of sbatch, such as --sbatch=--partition=gpu"
            )
        refuse_url_secrets("--sbatch", option, "Slurm keeps and shows what a job was asked for")
    for folder in (Path.cwd(), request.recipe.run_dir):
        # Slurm reads #SBATCH lines itself, without a shell's quoting.
        if re.search(r"\s", str(folder)):
            raise UserError(
                f"{str(folder)!r}: Slurm's #SBATCH lines take no spaces: use a folder without them"
            )
    needs = request.needs
    script = render(
        "slurm.sbatch.j2",
        name=_one_line(request.name),
        job_name="dipo-" + re.sub(r"[^A-Za-z0-9_.-]", "-", request.name),
        nodes=needs.nodes,
        gpus=needs.gpus,
        gpus_per_node=needs.gpus_per_node,
        cpu=needs.cpu,
        pretended=f" --num-gpus={needs.gpus_per_node}" if needs.cpu else "",
        time=time_limit,
        notice=NOTICE,
        folder=Path.cwd(),
        run_dir=request.recipe.run_dir,
        options=options,
        variables=[(name, shlex.quote(value)) for name, value in sorted(variables.items())],
        python=shlex.quote(sys.executable),
        max_restarts=MAX_RESTARTS,
        ready_timeout=READY_TIMEOUT,
        lost_timeout=LOST_TIMEOUT,
        arguments=shlex.join(request.arguments),
    )
    refuse_secrets("the Slurm script", script, request.secrets)
    return script


def _one_line(text: str) -> str:
    return " ".join(text.split())


def sbatch(script: str, run_dir: Path) -> str:
    """Keep the script in the run's folder and hand it to sbatch; what sbatch says. Raises UserError."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "slurm.sbatch"
    write_atomic(path, script.encode(), private=True)
    try:
        result = subprocess.run(
            ["sbatch", str(path)], capture_output=True, text=True, timeout=SBATCH_TIMEOUT, check=False
        )
    except FileNotFoundError:
        raise UserError(
            f"sbatch is not on this machine: run `sbatch {path}` on a login node, or see --to ray"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(
            f"sbatch has not answered for {SBATCH_TIMEOUT:.0f} s: is slurmctld up? The script is {path}"
        ) from None
    if result.returncode:
        said = _one_line(result.stderr or result.stdout)
        raise UserError(f"sbatch refused {path}: {said or f'status {result.returncode}'}")
    return result.stdout.strip()
