"""A recipe as a job of a running Ray cluster, through its job server (`ray[default]`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dipo_eval.errors import UserError, one_line
from dipo_eval.secrets.refusing import refuse_secrets
from dipo_eval.secrets.urls import mask_urls, url_secrets
from dipo_openrlhf.launchers.launcher import Options
from dipo_openrlhf.launchers.request import Request, job_variables
from dipo_openrlhf.launchers.upload.choice import Upload, choose
from dipo_openrlhf.launchers.upload.stage import check_upload, own_code, staged
from dipo_openrlhf.recipe.recipe import Recipe

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
REQUEST_TIMEOUT = 60.0  # seconds one answer of the job server may take
START_TIMEOUT = 600.0  # seconds until the cluster has unpacked the upload and started the job
CLEAN_END = 90  # seconds that a stopped job gets to clean up, once it has saved
LOST_TIMEOUT = 300.0  # seconds without the job server before following gives up
QUIET = 30.0  # seconds without a line of the log, after which the job server is asked whether it is there
LONGEST_STOP = 86400  # seconds
POLL = 1.0  # seconds
_STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"


@dataclass(frozen=True)
class JobPlan:
    """Exactly what is sent."""

    request: Request
    address: str  # may hold a password, from the environment: shown by mask_urls alone
    submission_id: str
    entrypoint: str
    runtime_env: dict[str, Any]  # without the folders, which are made from `uploads` when it is sent
    metadata: dict[str, str]
    uploads: list[Upload]
    not_sent: list[str]  # names of keys set here, which stay here


def server_address(given: str | None) -> str:
    """--address, else RAY_API_SERVER_ADDRESS, else RAY_ADDRESS where that is a URL, else this machine's.

    A password may be in a variable's address and not in the argument, which every user of this machine can read.
    """
    if given and url_secrets(given):
        raise UserError(
            "--address: holds a password or a key, and every user of this machine can read a command's arguments: leave "
            "it out, and set the address with its password as the environment variable RAY_API_SERVER_ADDRESS"
        )
    named = given or os.environ.get("RAY_API_SERVER_ADDRESS") or ""
    if not named and os.environ.get("RAY_ADDRESS", "").startswith(("http://", "https://")):
        named = os.environ["RAY_ADDRESS"]
    address = (named or DEFAULT_ADDRESS).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise UserError(
            f"--address {mask_urls(address)!r}: give the job server's URL, such as http://HEAD:8265"
        )
    _check_userinfo(address)
    return address


def _check_userinfo(address: str) -> None:
    """Raise UserError, without the address, where what stands before an @ is no user name and password."""
    try:
        host = urlsplit(address).netloc
    except ValueError:
        host = ""
    if ("@" in address and "@" not in host) or " " in address or not address.isprintable():
        raise UserError(
            "--address, or the variable RAY_API_SERVER_ADDRESS or RAY_ADDRESS: is no URL (not shown, it may hold a "
            "password): write /, ?, #, @ and spaces of a password as %2F, %3F, %23, %40 and %20"
        )


def stop_variables(recipe: Recipe) -> dict[str, str]:
    """Seconds that Ray lets a stopped job go on before it kills it; its own default is 3."""
    return {_STOP_WAIT: str(recipe.save_before + CLEAN_END)}


def plan_job(request: Request, address: str, options: Options) -> JobPlan:
    """Checked, with nothing sent yet. Raises UserError."""
    named = [(f"RECIPE {path.name}", os.path.relpath(path)) for path in request.recipe_files]
    for key, path in request.paths:  # what starts with / or ~ is looked for on the cluster
        if not Path(path).expanduser().is_absolute() and os.path.lexists(path):
            named.append((key, path))
    folder = choose(Path.cwd(), named, options.exclude, options.include)
    uploads = [check_upload(part, request.secrets) for part in (folder, *own_code())]
    variables = job_variables(options.env, options.secrets_file)
    runtime_env = {"env_vars": {**stop_variables(request.recipe), **variables}}
    metadata = {
        "dipo_recipe": request.name,
        "dipo_recipe_hash": request.recipe.hash,
        "dipo_run_dir": str(request.recipe.run_dir),
    }
    refuse_secrets("the runtime environment", repr((runtime_env, metadata)), request.secrets)
    word = "".join(letter if letter.isalnum() else "-" for letter in request.name)[:40]
    return JobPlan(
        request=request,
        address=address,
        submission_id=f"dipo-{word}-{uuid.uuid4().hex[:8]}",
        entrypoint=shlex.join(request.command),
        runtime_env=runtime_env,
        metadata=metadata,
        uploads=uploads,
        not_sent=[] if options.secrets_file else sorted(request.secrets),
    )


def client_of(address: str) -> Any:
    """Ray's client, whose requests have a deadline. Raises UserError where nothing answers."""
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.WARNING)  # a line for each package it zips

    class Client(JobSubmissionClient):
        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": REQUEST_TIMEOUT, **options})

    try:
        return Client(address)
    except Exception as error:  # requests, Ray and versions each have their own
        raise UserError(
            f"no Ray job server answers at {mask_urls(address)}: {one_line(error)}; start the head with ray[default] and "
            "--dashboard-host, or forward its port 8265"
        ) from None


def submit(client: Any, plan: JobPlan) -> str:
    """Upload and start; the job's id. Raises UserError with the server's answer."""
    with staged(plan.uploads, plan.request.secrets) as (folder, *code):
        modules = [str(one) for one in code]
        try:
            return str(
                client.submit_job(
                    entrypoint=plan.entrypoint,
                    submission_id=plan.submission_id,
                    runtime_env={**plan.runtime_env, "working_dir": str(folder), "py_modules": modules},
                    metadata=dict(plan.metadata),
                )
            )
        except Exception as error:
            raise UserError(f"{mask_urls(plan.address)} did not take the job: {one_line(error)}") from None


def info(client: Any, job: str) -> Any:
    """Ray's JobDetails. Raises UserError for an id that the cluster does not know."""
    try:
        return client.get_job_info(job)
    except Exception as error:
        known: list[str] = []
        with contextlib.suppress(Exception):  # the first answer is what counts
            known = [details.submission_id for details in client.list_jobs() if details.submission_id]
        hint = f"; it knows {', '.join(known[-3:])}" if known else "; it has no jobs"
        raise UserError(f"no job {job!r} on this cluster{hint} ({one_line(error)[:120]})") from None


def _wait(client: Any, job: str, until: Callable[[Any], bool], timeout: float, problem: str) -> Any:
    """Poll until the job's status satisfies `until`; its JobDetails. Raises UserError after `timeout` s."""
    deadline = time.monotonic() + timeout
    while not until((details := info(client, job)).status):
        if time.monotonic() > deadline:
            raise UserError(f"job {job} {problem} (Ray: {details.message})")
        time.sleep(POLL)
    return details


def follow(client: Any, job: str, write: Callable[[str], None]) -> Any:
    """Pass on the job's log as it grows until the job has ended; its JobDetails.

    After a lost connection it continues where it broke. Raises UserError when the server stays away for LOST_TIMEOUT,
    and where the job is PENDING for START_TIMEOUT: then it stays queued.
    """
    problem = (
        f"is still PENDING after {START_TIMEOUT:.0f} s: it stays in the queue; see dipo submit --status {job}, or end it "
        f"with dipo submit --stop {job}"
    )
    _wait(client, job, lambda status: status.value != "PENDING", START_TIMEOUT, problem)
    written = 0  # characters
    lost_since: float | None = None

    def pass_on() -> None:
        """Write what is new until the server closes the log, which Ray sends from its beginning at every connection."""
        nonlocal written, lost_since
        seen = 0
        with contextlib.closing(_log(client, job)) as pieces:
            for text in pieces:
                if text is None and client.get_job_info(job).status.is_terminal():
                    return
                lost_since = None
                new = (text or "")[max(0, written - seen) :]
                seen += len(text or "")
                if new:
                    write(new)
                    written = seen

    while True:
        try:
            pass_on()
            details = client.get_job_info(job)
            lost_since = None
        except Exception as error:
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > LOST_TIMEOUT:
                raise UserError(
                    f"the job server has not answered for {LOST_TIMEOUT:.0f} s ({one_line(error)}); the job may go on: "
                    f"dipo submit --logs {job}"
                ) from None
        else:
            if details.status.is_terminal():
                return details
        time.sleep(POLL)


def _log(client: Any, job: str) -> Generator[str | None]:
    """Pieces of a job's log from its beginning; None after QUIET seconds without one, since a server may freeze."""
    stream = client.tail_job_logs(job)
    coming: asyncio.Future[str] | None = None

    async def piece() -> str | None:
        nonlocal coming
        coming = coming or asyncio.ensure_future(anext(stream))
        done, _ = await asyncio.wait({coming}, timeout=QUIET)
        if not done:
            return None
        arrived, coming = coming, None
        return arrived.result()

    with asyncio.Runner() as runner:
        while True:
            try:
                yield runner.run(piece())
            except StopAsyncIteration:
                return


def stop(client: Any, job: str) -> Any:
    """Stop a job and wait until Ray reports its end; its JobDetails. Raises UserError when it does not."""
    details = info(client, job)
    if details.status.is_terminal():
        return details
    client.stop_job(job)
    timeout = _stop_seconds(details) + 60
    problem = f"has not ended {timeout} s after it was stopped: see its log"
    return _wait(client, job, lambda status: status.is_terminal(), timeout, problem)


def _stop_seconds(details: Any) -> int:
    """What Ray lets the job go on once it is stopped; whoever sent the job may have written anything there."""
    variables = (details.runtime_env or {}).get("env_vars") or {}
    try:
        return max(0, min(int(variables[_STOP_WAIT]), LONGEST_STOP))
    except (KeyError, TypeError, ValueError):
        return CLEAN_END
