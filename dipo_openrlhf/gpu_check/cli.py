"""`dipo check-gpu`."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dipo_eval.errors import UserError

DEFAULT_FOLDER = Path("runs", "check-gpu")


def check_gpu_command(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of the check. Default: the first free of runs/check-gpu, runs/check-gpu-2, ...",
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="GPUs to train on, one engine on each. Default: 2 if the machine has two or more, otherwise 1.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="A model folder. Default: SmolLM2-135M-Instruct, which comes with a package.")
    ] = "",
    prompts: Annotated[int, typer.Option(min=1, help="Prompts a step.")] = 8,
    samples: Annotated[int, typer.Option(min=2, help="Responses to each prompt.")] = 8,
    tokens: Annotated[int, typer.Option(min=2, help="Longest response.")] = 128,
    train_batch: Annotated[int, typer.Option(min=2, help="Responses of an optimizer step.")] = 32,
    limit: Annotated[
        int | None,
        typer.Option(min=30, help="Seconds that one of the seven parts may take. Default: 600, on CPU 1500."),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            "--measured",
            help="Where the measured speeds go that `dipo doctor RECIPE` starts from. Default: the user's cache "
            "folder; on CPU nowhere.",
        ),
    ] = None,
) -> None:
    """Train a small model for three steps on this machine's GPUs, and compare every result with a CPU.

    Weights, log-probabilities, advantages, gradient, memory, resume and export, as a table of pass and FAIL; every
    figure is in report.json. Each of the seven parts takes at most --limit seconds; not yet timed on a GPU. The exit
    status is 1 where a row fails. Without a GPU the same runs on simulated ones. Any key of a recipe can be overridden as
    --section.key value. Without flash-attn:

        dipo check-gpu --ds.attn_implementation sdpa --ds.packing_samples false --train.dynamic_batch_enable false
    """
    from rich.console import Console

    from dipo_openrlhf.estimate.measured import measured_file
    from dipo_openrlhf.gpu_check.check import run_check
    from dipo_openrlhf.gpu_check.prepare import check_recipes
    from dipo_openrlhf.gpu_check.report import print_report
    from dipo_openrlhf.gpu_check.settings import LIMITS, CheckSettings
    from dipo_openrlhf.openrlhf_patch.overrides import check_version
    from dipo_openrlhf.recipe.defaults import on_cpu
    from dipo_openrlhf.recipe.yaml_lines import parse_overrides

    check_version()
    overrides = {key: setting.value for key, setting in parse_overrides(context.args).items()}
    device = overrides.pop("run.device", "auto")
    if device not in ("auto", "cpu", "gpu"):
        raise UserError(f"--run.device {device!r}: choose auto, cpu or gpu")
    cpu = on_cpu(device)
    found = visible_gpus()
    if gpus is None:
        gpus = 2 if cpu or found >= 2 else 1
    if not cpu and gpus > found:
        raise UserError(f"--gpus {gpus}: torch sees {found} GPUs here: {_no_gpu(found)}")
    if model and not (Path(model) / "config.json").is_file():
        raise UserError(
            f"--model {model!r}: has no config.json, so it is not a folder of a Hugging Face model"
        )
    if prompts * samples % train_batch or train_batch % samples:
        raise UserError(
            f"--train-batch {train_batch}: must divide --prompts x --samples = {prompts * samples} and be a multiple of "
            f"--samples {samples}"
        )
    settings = CheckSettings(
        folder=str((out or DEFAULT_FOLDER).resolve()),
        cpu=cpu,
        gpus=gpus,
        model=model,
        prompts=prompts,
        samples=samples,
        tokens=tokens,
        train_batch=train_batch,
        limit=limit or LIMITS[cpu],
        overrides=overrides,
        measured=str(measured or ("" if cpu else measured_file())),
    )
    check_recipes(settings)
    settings = replace(settings, folder=str(_new_folder(out)))
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    report = run_check(settings, console)
    print_report(console, settings, report)
    if not report.passed:
        raise typer.Exit(1)


def visible_gpus() -> int:
    """GPUs that torch can use; no CUDA context is made."""
    from dipo_eval.engines.device import set_process_env

    set_process_env()
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _no_gpu(found: int) -> str:
    if found:
        return "name fewer, or free CUDA_VISIBLE_DEVICES"
    return "`dipo doctor` says what the machine lacks"


def _new_folder(out: Path | None) -> Path:
    """The folder of the check, made; nothing of an earlier one is overwritten. Raises UserError."""
    first = folder = (out or DEFAULT_FOLDER).resolve()
    try:
        first.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):
            with contextlib.suppress(FileExistsError):
                folder.mkdir()  # it fails where another check was quicker, so that two never share a folder
                return folder
            if out is not None and folder.is_dir() and not any(folder.iterdir()):
                return folder
            if out is not None:
                raise UserError(f"--out {out}: is not empty: name another folder")
            folder = first.with_name(f"{first.name}-{number}")
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be made ({error.strerror})") from None
    raise AssertionError("counting does not end")
