"""`dipo quickstart`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quickstart_command(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(help="tiny: a million parameters, made here. smollm2: SmolLM2-135M-Instruct on GSM8K."),
    ] = "tiny",
    task: Annotated[
        str,
        typer.Option(
            help="What it learns. arithmetic: problems with a number. tools: which function to call, how."
        ),
    ] = "arithmetic",
    run_dir: Annotated[
        Path | None,
        typer.Option(
            "--run-dir",
            help="Folder of the run. Default: the first free of runs/quickstart, runs/quickstart-2, ..., by task.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps. Default: 20, smollm2: 5.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of prompts and training.")] = 42,
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

    Function calls, graded as the BFCL benchmark does, on functions that training never shows:

        dipo quickstart --task tools --seed 1
    """
    from dipo_openrlhf.quickstart.folder import recipe_of, run_folder
    from dipo_openrlhf.recipe.yaml_lines import parse_overrides
    from dipo_openrlhf.run.early import early_driver

    recipe = recipe_of(model, task)
    overrides = parse_overrides(context.args)
    with run_folder(recipe, run_dir, resume) as folder, early_driver() as early:
        from dipo_openrlhf.quickstart.run import quickstart  # while the driver imports too

        quickstart(recipe, folder, steps, seed, data_dir, resume, verbose, overrides, early)
