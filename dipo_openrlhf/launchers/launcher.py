"""What a launcher is, and the options of `dipo submit`. Imports little, so that `dipo --help` stays quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

if TYPE_CHECKING:
    from dipo_openrlhf.launchers.request import Request


_RAY, _SLURM, _KUBERAY = "ray", "slurm", "kuberay"


def _of(targets: str, *names: str, **more: Any) -> Any:
    """An option of the named targets, in their panel of the help."""
    return Option(*names, rich_help_panel=f"With --to {targets}", **more)


@dataclass(frozen=True)
class Options:
    """`dry_run` and `resume` go with every launcher, the others with those that name them in `Launcher.options`."""

    address: Annotated[
        str | None,
        _of(
            _RAY,
            help="URL of the job server. Default: RAY_API_SERVER_ADDRESS, otherwise RAY_ADDRESS if that is a URL, "
            "otherwise http://127.0.0.1:8265.",
        ),
    ] = None  # fmt: skip
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print exactly what would be sent, and send nothing.")
    ] = False
    follow: Annotated[bool, _of(_RAY, "--follow/--no-follow", help="Show the job's log until it ends.")] = (
        True
    )
    resume: Annotated[
        bool,
        Option(
            "--resume",
            help="ray: continue from the newest complete checkpoint of the run's folder; the others do at each start.",
        ),
    ] = False
    exclude: Annotated[list[str], _of(_RAY, help="Leave files out of the upload; a .gitignore pattern.")] = (
        field(default_factory=list)
    )
    include: Annotated[
        list[str],
        _of(_RAY, help="Send more than code, configuration and what the recipe names; a .gitignore pattern."),
    ] = field(default_factory=list)  # fmt: skip
    env: Annotated[
        list[str],
        _of("ray, slurm or kuberay", help="NAME of a variable set here that the job gets; no keys."),
    ] = field(default_factory=list)
    secrets_file: Annotated[
        str | None,
        _of(
            "ray or slurm",
            help="File of NAME=VALUE lines with keys, on the cluster, for its owner alone; only its path is sent.",
        ),
    ] = None
    gpus_per_node: Annotated[
        int | None, _of("slurm or kuberay", min=1, help="GPUs of a node; run.gpus_per_node of the recipe if not given.")
    ] = None  # fmt: skip
    time: Annotated[
        str, _of(_SLURM, help="Time limit, as sbatch takes it; before it the job requeues itself.")
    ] = ""
    sbatch: Annotated[list[str], _of(_SLURM, help="A further option, such as --sbatch=--partition=gpu.")] = (
        field(default_factory=list)
    )
    image: Annotated[str, _of(_KUBERAY, help="Container image with this project's environment.")] = ""
    claim: Annotated[str, _of(_KUBERAY, help="CLAIM:/MOUNT, the volume that all pods share.")] = ""
    secret: Annotated[
        str | None, _of(_KUBERAY, help="Secret with WANDB_API_KEY and HF_TOKEN; only referred to.")
    ] = None
    cpus: Annotated[
        int | None, _of(_KUBERAY, min=1, help="CPU cores of a pod; by the recipe's estimate if not given.")
    ] = None
    memory: Annotated[
        str | None, _of(_KUBERAY, help="Memory of a pod, such as 512Gi; by the recipe's estimate if not given.")
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
