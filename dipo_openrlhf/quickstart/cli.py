"""`dipo quickstart`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dipo_eval.errors import UserError


def quickstart_command(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(help="tiny: a million parameters, made here. smollm2: SmolLM2-135M-Instruct on GSM8K."),
    ] = "tiny",
    run_dir: Annotated[
        Path | None,
        typer.Option(
            "--run-dir",
            help="Folder of the run. Default: the first free of runs/quickstart, runs/quickstart-2, ...",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps. Default: 20, smollm2: 5.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of prompts and training.")] = 42,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", envvar="DIPO_DATA_DIR", help="Folder of gsm8k_train.jsonl, gsm8k_test.jsonl."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted quickstart.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show OpenRLHF's log as well.")] = False,
) -> None:
    """Train a small model with DiPO on this machine, evaluate every checkpoint, write the board.

    The real loop: Ray, vLLM and DeepSpeed, on two CPU cores, in minutes. Any key of the recipe can be overridden as
    --section.key value. Example:

        dipo quickstart --steps 20 --dipo.group_space argmax
    """
    from dipo_openrlhf.quickstart.folder import MODELS, run_folder
    from dipo_openrlhf.quickstart.run import quickstart
    from dipo_openrlhf.recipe.yaml_lines import parse_overrides

    if model not in MODELS:
        raise UserError(f"--model {model!r}: choose one of {', '.join(MODELS)}")
    overrides = parse_overrides(context.args)
    with run_folder(model, run_dir, resume) as folder:
        quickstart(model, folder, steps, seed, data_dir, resume, verbose, overrides)
