"""`dipo submit`: options, and which launcher they go to."""

from __future__ import annotations

from typing import Annotated

import typer

from dipo_eval.errors import UserError


def submit_command(
    context: typer.Context,
    recipe: Annotated[
        str | None, typer.Argument(help="A YAML file, or the name of a recipe of this package.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="ray, slurm, kuberay or local.")] = "ray",
    address: Annotated[
        str | None,
        typer.Option(
            help="ray: URL of the job server. Default: RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print exactly what would be sent, and send nothing.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="ray: show the job's log until it ends.")
    ] = True,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the newest whole checkpoint of the run's folder.")
    ] = False,
    exclude: Annotated[
        list[str] | None, typer.Option(help="ray: leave files out of the upload; a .gitignore pattern.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            help="ray: send more than code, configuration and what the recipe names; a .gitignore pattern."
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(help="ray, slurm, kuberay: NAME of a variable set here that the job gets; no keys."),
    ] = None,
    secrets_file: Annotated[
        str | None,
        typer.Option(
            "--secrets-file",
            help="File of NAME=VALUE lines with keys, on the cluster, for its owner alone; only its path is sent.",
        ),
    ] = None,
    gpus_per_node: Annotated[int, typer.Option(min=1, help="slurm, kuberay: GPUs of a node.")] = 8,
    time: Annotated[
        str, typer.Option(help="slurm: time limit, as sbatch takes it; before it the job requeues itself.")
    ] = "",
    sbatch: Annotated[
        list[str] | None, typer.Option(help="slurm: a further option, such as --sbatch=--partition=gpu.")
    ] = None,
    image: Annotated[
        str, typer.Option(help="kuberay: container image with this project's environment.")
    ] = "",
    claim: Annotated[str, typer.Option(help="kuberay: CLAIM:/MOUNT, the volume that all pods share.")] = "",
    secret: Annotated[
        str | None, typer.Option(help="kuberay: Secret with WANDB_API_KEY and HF_TOKEN; only referred to.")
    ] = None,
    cpus: Annotated[int, typer.Option(min=1, help="kuberay: CPU cores of a pod.")] = 16,
    memory: Annotated[str, typer.Option(help="kuberay: memory of a pod.")] = "128Gi",
    stop: Annotated[
        str | None, typer.Option(help="ray: end the job of this ID and wait until it is gone.")
    ] = None,
    logs: Annotated[str | None, typer.Option(help="ray: show the log of the job of this ID.")] = None,
    status: Annotated[str | None, typer.Option(help="ray: say how the job of this ID stands.")] = None,
) -> None:
    """Send a recipe to a Ray cluster, Slurm, Kubernetes (KubeRay), or run it here.

    Any key of the recipe can be overridden as --section.key value. The recipe is checked before anything is sent.
    Examples:

        dipo submit my_recipe.yaml --address http://head:8265 --run.dir /shared/runs/mine

        dipo submit my_recipe.yaml --to slurm --run.dir /shared/runs/mine --dry-run

        dipo submit --stop ID --address http://head:8265
    """
    from dipo_openrlhf.launchers import commands

    asked = {"--stop": stop, "--logs": logs, "--status": status}
    jobs = {name: job for name, job in asked.items() if job is not None}
    if jobs:
        if len(jobs) > 1 or recipe or context.args:
            given = [*jobs, *([recipe] if recipe else []), *context.args]
            raise UserError(
                f"{' '.join(given)}: --stop, --logs and --status take one job's ID and nothing else"
            )
        ((name, job),) = jobs.items()
        raise typer.Exit(commands.existing_job(name, job, address))
    if recipe is None:
        raise UserError(
            "no recipe given: dipo submit RECIPE --to ray|slurm|kuberay|local, or --stop, --logs, --status ID"
        )
    options = commands.Options(
        to=to,
        address=address,
        dry_run=dry_run,
        follow=follow,
        resume=resume,
        exclude=exclude or [],
        include=include or [],
        env=env or [],
        secrets_file=secrets_file,
        gpus_per_node=gpus_per_node,
        time_limit=time,
        sbatch=sbatch or [],
        image=image,
        claim=claim,
        secret=secret,
        cpus=cpus,
        memory=memory,
    )
    raise typer.Exit(commands.submit(recipe, context.args, options))
