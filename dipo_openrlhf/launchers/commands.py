"""What `dipo submit` does: check, show or send, follow."""

from __future__ import annotations

import sys
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import typer

from dipo_eval.errors import UserError
from dipo_eval.secrets.masking import mask_text
from dipo_eval.secrets.urls import url_secrets
from dipo_openrlhf.launchers import kuberay, local, ray_jobs, slurm
from dipo_openrlhf.launchers.needs import GPUS_OF_A_NODE
from dipo_openrlhf.launchers.request import Request, job_variables, make_request
from dipo_openrlhf.launchers.show import job_text, left_out_text, size_text

_EXIT = {"SUCCEEDED": 0, "STOPPED": 130}


@dataclass(frozen=True)
class Options:
    """The command line."""

    to: str = "ray"
    address: str | None = None
    dry_run: bool = False
    follow: bool = True
    resume: bool = False
    exclude: list[str] = field(default_factory=list)
    include: list[str] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    secrets_file: str | None = None
    gpus_per_node: int = GPUS_OF_A_NODE
    time_limit: str = ""
    sbatch: list[str] = field(default_factory=list)
    image: str = ""
    claim: str = ""
    secret: str | None = None
    cpus: int = 16
    memory: str = "128Gi"


_OF = {
    "ray": ("address", "follow", "exclude", "include", "env", "secrets_file"),
    "slurm": ("env", "secrets_file", "gpus_per_node", "time_limit", "sbatch"),
    "kuberay": ("env", "gpus_per_node", "image", "claim", "secret", "cpus", "memory"),
    "local": (),
}
_ALL = ("to", "dry_run", "resume")
_SHOWN = {"time_limit": "--time", "follow": "--no-follow"}


def _check_options(options: Options) -> None:
    """An option of another launcher is a misunderstanding, not something to leave out silently."""
    for each in fields(options):
        default = each.default if each.default is not MISSING else []
        if each.name in (*_ALL, *_OF[options.to]) or getattr(options, each.name) == default:
            continue
        name = _SHOWN.get(each.name, "--" + each.name.replace("_", "-"))
        others = ", ".join(target for target, names in _OF.items() if each.name in names)
        hint = (
            "; pods take keys from a Kubernetes Secret: --secret NAME" if each.name == "secrets_file" else ""
        )
        raise UserError(f"{name}: does not go with --to {options.to}, but with {others}{hint}")


def submit(recipe: str, tokens: list[str], options: Options) -> int:
    """Exit status: of the job where it is followed to its end, else 0. Raises UserError."""
    request = make_request(
        recipe, options.to, tokens, resume=options.resume, gpus_per_node=options.gpus_per_node
    )
    _check_options(options)
    send = {"ray": submit_to_ray, "slurm": _to_slurm, "kuberay": _to_kuberay, "local": _to_local}
    return send[options.to](request, options)


def _to_slurm(request: Request, options: Options) -> int:
    if not options.time_limit:
        raise UserError(
            "--time is missing: the job's time limit, such as --time 24:00:00; it requeues itself before it"
        )
    variables = job_variables(options.env, options.secrets_file)
    script = slurm.slurm_script(request, variables, options.time_limit, options.sbatch)
    if options.dry_run:
        typer.echo(script, nl=False)
    else:
        typer.echo(slurm.sbatch(script, request.recipe.run_dir))
    return 0


def _to_kuberay(request: Request, options: Options) -> int:
    """Written to standard output: what applies it, and with which rights, is the user's."""
    if not options.image or not options.claim:
        raise UserError(
            "--image IMAGE and --claim CLAIM:/MOUNT are missing: what the pods run and the storage they share"
        )
    kube = kuberay.KubeOptions(options.image, options.claim, options.secret, options.cpus, options.memory)
    typer.echo(kuberay.manifest(request, job_variables(options.env, None), kube), nl=False)
    return 0


def _to_local(request: Request, options: Options) -> int:
    script = local.local_script(request)
    if options.dry_run:
        typer.echo(script, nl=False)
        return 0
    local.run_script(script, request.recipe.run_dir.resolve())


def submit_to_ray(request: Request, options: Options) -> int:
    """See submit."""
    plan = ray_jobs.plan_job(
        request,
        ray_jobs.server_address(options.address),
        exclude=options.exclude,
        include=options.include,
        env=options.env,
        secrets_file=options.secrets_file,
    )
    if options.dry_run:
        typer.echo(job_text(plan, request))
        return 0
    if plan.not_sent:
        typer.echo(
            f"{', '.join(plan.not_sent)}: set here and not sent; the job has the keys of the cluster's own environment, "
            "or of --secrets-file (docs/submit.md)",
            err=True,
        )
    for line in left_out_text(plan.uploads[0].left_out, plan.secrets):
        typer.echo(line)
    client = ray_jobs.client_of(plan.address)
    sizes = [sum(part.size for part in plan.uploads), sum(len(part.files) for part in plan.uploads)]
    typer.echo(
        f"sending {sizes[1]} files, {size_text(sizes[0])}, of which the cluster keeps what has not changed"
    )
    job = ray_jobs.submit(client, plan)
    typer.echo(f"submitted: {job}")
    typer.echo(f"stop it:   dipo submit --stop {job}{_address_option(plan.address)}")
    if not options.follow:
        return 0
    return _follow(client, job, plan.address)


def existing_job(action: str, job: str, address: str | None) -> int:
    """--stop, --logs or --status of a job. Raises UserError."""
    address = ray_jobs.server_address(address)
    client = ray_jobs.client_of(address)
    if action == "--stop":
        details = ray_jobs.stop(client, job)
        typer.echo(f"{job}: {details.status.value}")
        return 0
    if action == "--logs":
        ray_jobs.info(client, job)
        return _follow(client, job, address)
    details = ray_jobs.info(client, job)
    typer.echo(f"{job}: {details.status.value}: {mask_text(why(details.message))}")
    for name, value in sorted((details.metadata or {}).items()):
        typer.echo(f"  {name}: {mask_text(str(value))}")
    return 0


def _address_option(address: str) -> str:
    """For a command that can be repeated; an address with a password is in the environment, and stays there."""
    return "" if url_secrets(address) else f" --address {address}"


def _follow(client: Any, job: str, address: str) -> int:
    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        details = ray_jobs.follow(client, job, write)
    except KeyboardInterrupt:
        raise UserError(
            f"interrupted: no longer following; the job goes on: dipo submit --logs {job}{_address_option(address)}, "
            f"dipo submit --stop {job}{_address_option(address)}"
        ) from None
    status = details.status.value
    if status == "FAILED":
        raise UserError(f"job {job} failed: {why(details.message)}")
    typer.echo(f"{job}: {status}")
    return _EXIT.get(status, 1)


def why(message: str | None) -> str:
    """One line of Ray's message, which for a failed job ends with its log: the error that the log names, if any."""
    lines = [line.strip() for line in (message or "").splitlines() if line.strip()]
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    if errors:
        return errors[-1]
    return lines[0].partition(", last available logs")[0] if lines else "no message"
