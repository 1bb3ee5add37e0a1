"""What a launcher is, and the options of `dipo submit`. Imports little, so that `dipo --help` stays quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from typer import Option

if TYPE_CHECKING:
    from dipo_openrlhf.launchers.request import Request


@dataclass(frozen=True)
class Options:
    """`dry_run` and `resume` go with every launcher, the others with those that name them in `Launcher.options`."""

    address: Annotated[
        str | None,
        Option(help="ray: URL of the job server. Default: RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265."),
    ] = None  # fmt: skip
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print exactly what would be sent, and send nothing.")
    ] = False
    follow: Annotated[bool, Option("--follow/--no-follow", help="ray: show the job's log until it ends.")] = (
        True
    )
    resume: Annotated[
        bool, Option("--resume", help="Continue from the newest complete checkpoint of the run's folder.")
    ] = False
    exclude: Annotated[
        list[str], Option(help="ray: leave files out of the upload; a .gitignore pattern.")
    ] = field(default_factory=list)
    include: Annotated[
        list[str],
        Option(help="ray: send more than code, configuration and what the recipe names; a .gitignore pattern."),
    ] = field(default_factory=list)  # fmt: skip
    env: Annotated[
        list[str], Option(help="ray, slurm, kuberay: NAME of a variable set here that the job gets; no keys.")
    ] = field(default_factory=list)
    secrets_file: Annotated[
        str | None,
        Option(
            help="File of NAME=VALUE lines with keys, on the cluster, for its owner alone; only its path is sent."
        ),
    ] = None
    gpus_per_node: Annotated[
        int | None, Option(min=1, help="slurm, kuberay: GPUs of a node; run.gpus_per_node of the recipe if not given.")
    ] = None  # fmt: skip
    time: Annotated[
        str, Option(help="slurm: time limit, as sbatch takes it; before it the job requeues itself.")
    ] = ""
    sbatch: Annotated[
        list[str], Option(help="slurm: a further option, such as --sbatch=--partition=gpu.")
    ] = field(default_factory=list)
    image: Annotated[str, Option(help="kuberay: container image with this project's environment.")] = ""
    claim: Annotated[str, Option(help="kuberay: CLAIM:/MOUNT, the volume that all pods share.")] = ""
    secret: Annotated[
        str | None, Option(help="kuberay: Secret with WANDB_API_KEY and HF_TOKEN; only referred to.")
    ] = None
    cpus: Annotated[
        int | None, Option(min=1, help="kuberay: CPU cores of a pod; by the recipe's estimate if not given.")
    ] = None
    memory: Annotated[
        str | None, Option(help="kuberay: memory of a pod, such as 512Gi; by the recipe's estimate if not given.")
    ] = None  # fmt: skip


@dataclass(frozen=True)
class Launcher:
    """One target of `dipo submit --to NAME`: targets/NAME.py defines it as LAUNCHER."""

    submit: Callable[[Request, Options], int]
    """Sends a checked request, or with `dry_run` prints what it would send; the exit status. Raises UserError."""
    options: tuple[str, ...] = ()
    """Names of the Options it takes; any other that is given is refused."""
    hints: Mapping[str, str] = field(default_factory=dict)
    """Option that it does not take -> what to use instead."""
    on_cluster: bool = True
    """The run joins a Ray cluster, so run.dir must be on storage that every node sees."""
