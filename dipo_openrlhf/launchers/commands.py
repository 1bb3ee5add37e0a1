"""What `dipo submit` does: check, show or send, follow."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import typer

from dipo_eval.errors import UserError
from dipo_openrlhf.launchers import ray_jobs
from dipo_openrlhf.launchers.request import Request, make_request
from dipo_openrlhf.launchers.show import job_text

_EXIT = {"SUCCEEDED": 0, "STOPPED": 130}


@dataclass(frozen=True)
class Options:
    """The command line."""

    to: str
    address: str | None
    dry_run: bool
    follow: bool
    resume: bool
    exclude: list[str]
    env: list[str]
    secrets_file: str | None
    interactive: bool


def submit(recipe: str, tokens: list[str], options: Options) -> int:
    """Exit status: of the job where it is followed to its end, else 0. Raises UserError."""
    request = make_request(recipe, options.to, tokens, resume=options.resume)
    return submit_to_ray(request, options)


def submit_to_ray(request: Request, options: Options) -> int:
    """See submit."""
    plan = ray_jobs.plan_job(
        request, ray_jobs.server_address(options.address), options.exclude, options.env, options.secrets_file
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
    client = ray_jobs.client_of(plan.address)
    job = ray_jobs.submit(client, plan)
    typer.echo(f"submitted: {job}")
    typer.echo(f"stop it:   dipo submit --stop {job} --address {plan.address}")
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
    typer.echo(f"{job}: {details.status.value}: {_first_line(details.message)}")
    for name, value in sorted((details.metadata or {}).items()):
        typer.echo(f"  {name}: {value}")
    return 0


def _follow(client: Any, job: str, address: str) -> int:
    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        details = ray_jobs.follow(client, job, write)
    except KeyboardInterrupt:
        raise UserError(
            f"interrupted: no longer following; the job goes on: dipo submit --logs {job} --address {address}, "
            f"dipo submit --stop {job} --address {address}"
        ) from None
    status = details.status.value
    if status == "FAILED":
        raise UserError(f"job {job} failed: {_first_line(details.message)}")
    typer.echo(f"{job}: {status}")
    return _EXIT.get(status, 1)


def _first_line(message: str | None) -> str:
    lines = [line.strip() for line in (message or "").splitlines() if line.strip()]
    return lines[0] if lines else "no message"
