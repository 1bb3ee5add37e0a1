"""A Slurm job: start a Ray cluster over srun, train, and requeue before the time limit.

No key is in the script and Slurm gets no environment (`--export=NONE`): the keys are read from --secrets-file.
`man sbatch`: a variable SBATCH_* overrides an option of the script, and an option of the command line overrides both.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jinja2
import typer

from dipo_eval.engines.device import is_cpu_build
from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.files.places import check_can_make_folder
from dipo_eval.secrets.refusing import refuse_secrets, refuse_url_secrets
from dipo_openrlhf.launchers.launcher import Launcher, Options
from dipo_openrlhf.launchers.request import Request, job_variables
from dipo_openrlhf.recipe.openrlhf_checks import check_packages
from dipo_openrlhf.recipe.placement import needs_of

CLEAN_END = 120  # seconds for what follows a saved step: end the training and the cluster, requeue the job
READY_TIMEOUT = 600  # seconds until all nodes have joined
LOST_TIMEOUT = 30  # seconds after a failed training in which a node that Ray misses may come back
MAX_RESTARTS = 50
SBATCH_TIMEOUT = 60.0  # seconds
# Options of sbatch on which the script relies, and its short options that may stand before -t in one word.
_OURS = {
    "export": "name a variable with --env",
    "export-file": "name a variable with --env",
    "time": "give dipo submit --time",
    "time-min": "give dipo submit --time",
    "signal": "the notice follows from run.save_before",
}
_SHORT_TIME = re.compile(r"-[hHkOQsvV]*t")
_TIME = re.compile(r"\d+|\d+:\d{1,2}(:\d{1,2})?|\d+-\d{1,2}(:\d{1,2}){0,2}")


def slurm_script(request: Request, options: Options) -> str:
    """The sbatch script. Raises UserError for options that Slurm would not take, and for a key in any of it."""
    _check(options, (Path.cwd(), request.recipe.run_dir))
    notice = _notice(request.recipe.save_before, options.time)
    check_packages(request.recipe)  # the job runs with this interpreter
    needs = needs_of(request.recipe, options.gpus_per_node)
    variables = job_variables(options.env, options.secrets_file)
    template = Path(__file__).with_name("slurm.sbatch.j2").read_text(encoding="utf-8")
    script = jinja2.Template(template, undefined=jinja2.StrictUndefined, keep_trailing_newline=True).render(
        name=_one_line(request.name),
        job_name="dipo-" + re.sub(r"[^A-Za-z0-9_.-]", "-", request.name),
        needs=needs,
        simulated=f" --num-gpus={needs.gpus_per_node}" if needs.simulated else "",
        time=options.time,
        notice=notice,
        folder=Path.cwd(),
        run_dir=request.recipe.run_dir,
        options=options.sbatch,
        variables=[(name, shlex.quote(value)) for name, value in sorted(variables.items())],
        python=shlex.quote(sys.executable),
        max_restarts=MAX_RESTARTS,
        ready_timeout=READY_TIMEOUT,
        lost_timeout=LOST_TIMEOUT,
        arguments=shlex.join(request.arguments),
    )
    refuse_secrets("the Slurm script", script, request.secrets)
    return script


def _check(options: Options, folders: tuple[Path, Path]) -> None:
    if not options.time:
        raise UserError(
            "--time is missing: the job's time limit, such as --time 24:00:00; it requeues itself before it"
        )
    if not _TIME.fullmatch(options.time):
        raise UserError(f"--time {options.time!r}: write minutes, H:MM:SS or D-HH:MM:SS, as sbatch does")
    for option in options.sbatch:
        _check_option(option)
    for folder in folders:
        # Slurm reads #SBATCH lines itself, without a shell's quoting.
        if re.search(r"\s", str(folder)):
            raise UserError(
                f"{str(folder)!r}: Slurm's #SBATCH lines take no spaces: use a folder without them"
            )


def _check_option(option: str) -> None:
    """Raise UserError for what is no option of sbatch, has a secret, or replaces what the script relies on."""
    refuse_url_secrets("--sbatch", option, "Slurm keeps and shows a job's options")
    try:
        words = shlex.split(option)  # Slurm reads a line's quotes as a shell does, and all of its options
    except ValueError:
        words = []
    if not re.match(r"-[A-Za-z]|--[A-Za-z]", option) or not option.isprintable() or not words:
        raise UserError(f"--sbatch {option!r}: give one option of sbatch, such as --sbatch=--partition=gpu")
    for word in words:
        name = word[2:].partition("=")[0] if word.startswith("--") else ""
        if _SHORT_TIME.match(word):
            name = "time"
        # getopt_long takes any beginning of a name.
        for ours, remedy in _OURS.items():
            if name and ours.startswith(name):
                raise UserError(f"--sbatch {option!r}: the script sets --{ours} itself: {remedy}")


def _notice(save_before: int, limit: str) -> int:
    """Seconds before the time limit at which the run is asked to save. Raises UserError for a limit that is too short."""
    notice = save_before + CLEAN_END
    if _seconds(limit) <= 2 * notice:
        raise UserError(
            f"--time {limit}: leaves too little for training: {notice} s before the limit the run is asked to save "
            f"(run.save_before: {save_before}, and {CLEAN_END} s to end): give more than twice as much, or lower "
            "run.save_before"
        )
    return notice


def _seconds(limit: str) -> int:
    """Of a time limit that _TIME accepts: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    days, dash, rest = limit.rpartition("-")
    fields = [int(field) for field in rest.split(":")]
    if dash:
        hours, minutes, seconds = (*fields, 0, 0)[:3]
        return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
    hours, minutes, seconds = (0, *fields, 0)[:3] if len(fields) < 3 else fields
    return hours * 3600 + minutes * 60 + seconds


def _one_line(text: str) -> str:
    return " ".join(text.split())


def sbatch(script: str, run_dir: Path) -> str:
    """Keep the script in the run's folder and submit it; sbatch's answer. Raises UserError."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SBATCH_")}
    if ignored := sorted(os.environ.keys() - environment.keys()):
        typer.echo(
            f"{', '.join(ignored)}: not passed on, since sbatch prefers them to the script: give options with --sbatch",
            err=True,
        )
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "slurm.sbatch"
    write_atomic(path, script.encode(), private=True)
    try:
        result = subprocess.run(
            ["sbatch", "--export=NONE", str(path)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SBATCH_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise UserError(
            f"sbatch is not on this machine: run `sbatch --export=NONE {path}` on a login node, or see --to ray"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(
            f"sbatch has not answered for {SBATCH_TIMEOUT:.0f} s: is slurmctld up? The script is {path}"
        ) from None
    if result.returncode:
        reason = _one_line(result.stderr or result.stdout) or f"status {result.returncode}"
        raise UserError(f"sbatch refused {path}: {reason}")
    return result.stdout


def _submit(request: Request, options: Options) -> int:
    script = slurm_script(request, options)
    if not options.dry_run and not request.recipe.on_cpu and is_cpu_build():
        raise UserError(
            f"{sys.executable}: this environment is for CPU, and the job would train with it: submit with the one "
            "of `make gpu`, .venv-gpu/bin/dipo, or train on CPU with --run.device cpu"
        )
    if not options.dry_run:
        check_can_make_folder(request.recipe.run_dir, "run.dir")
    typer.echo(script if options.dry_run else sbatch(script, request.recipe.run_dir), nl=False)
    return 0


LAUNCHER = Launcher(_submit, ("env", "secrets_file", "gpus_per_node", "time", "sbatch"))
