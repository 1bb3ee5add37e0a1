"""A running Ray cluster, through its job server: send the job, follow its log, stop it."""

from __future__ import annotations

from typing import Any

import typer

from dipo_eval.errors import UserError
from dipo_eval.secrets.masking import mask_text
from dipo_eval.secrets.urls import url_secrets
from dipo_openrlhf.launchers import ray_jobs
from dipo_openrlhf.launchers.launcher import Launcher, Options
from dipo_openrlhf.launchers.request import Request
from dipo_openrlhf.launchers.show import job_text, left_out_text, total_text

_EXIT = {"SUCCEEDED": 0, "STOPPED": 130}


def submit(request: Request, options: Options) -> int:
    """Send the job and follow it: its exit status, 0 where it is not followed. Raises UserError."""
    plan = ray_jobs.plan_job(request, ray_jobs.server_address(options.address), options)
    if options.dry_run:
        typer.echo(job_text(plan))
        return 0
    if plan.not_sent:
        typer.echo(
            f"{', '.join(plan.not_sent)}: set here and not sent; the job has the keys of the cluster's own environment, "
            "or of --secrets-file (docs/submit.md)",
            err=True,
        )
    for line in left_out_text(plan.uploads[0].left_out, request.secrets):
        typer.echo(line)
    client = ray_jobs.client_of(plan.address)
    typer.echo(f"sending {total_text(plan.uploads)}; the cluster has kept what has not changed")
    job = ray_jobs.submit(client, plan)
    typer.echo(f"submitted: {job}")
    typer.echo(f"stop it:   dipo submit --stop {job}{_address_option(plan.address)}")
    return _follow(client, job, plan.address) if options.follow else 0


def existing_job(action: str, job: str, address: str | None) -> int:
    """--stop, --logs or --status of a job. Raises UserError."""
    address = ray_jobs.server_address(address)
    client = ray_jobs.client_of(address)
    if action == "--stop":
        typer.echo(f"{job}: {ray_jobs.stop(client, job).status.value}")
        return 0
    details = ray_jobs.info(client, job)
    if action == "--logs":
        return _follow(client, job, address)
    typer.echo(f"{job}: {details.status.value}: {mask_text(why(details.message))}")
    for name, value in sorted((details.metadata or {}).items()):
        typer.echo(f"  {name}: {mask_text(str(value))}")
    return 0


def _address_option(address: str) -> str:
    """For a command that can be repeated; an address with a password is in the environment, and stays there."""
    return "" if url_secrets(address) else f" --address {address}"


def _follow(client: Any, job: str, address: str) -> int:
    try:
        details = ray_jobs.follow(client, job, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        at = _address_option(address)
        raise UserError(
            f"interrupted: no longer following; the job goes on: dipo submit --logs {job}{at}, "
            f"dipo submit --stop {job}{at}"
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


LAUNCHER = Launcher(submit, ("address", "follow", "exclude", "include", "env", "secrets_file"))
