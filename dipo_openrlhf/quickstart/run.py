"""`dipo quickstart`: make a model and prompts, train with DiPO, evaluate every checkpoint, write the board."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from dipo_eval.cli import results_table
from dipo_eval.engines.early import imported_meanwhile
from dipo_eval.errors import UserError
from dipo_eval.files.step_log import read_metrics
from dipo_eval.subject.marker import complete_checkpoints, tag_of
from dipo_openrlhf.algorithm.fire_rate import fire_summary
from dipo_openrlhf.quickstart.folder import LESSONS, SMOLLM2
from dipo_openrlhf.quickstart.prompts import DATA_DIR, write_quickstart_prompts, writer_of
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.record.events import SAVING, read_events
from dipo_openrlhf.record.user_cache import cache_dir
from dipo_openrlhf.run.plan import interrupted_message
from dipo_openrlhf.run.supervisor import train

if TYPE_CHECKING:
    from dipo_eval.runner.run import SuiteResult
    from dipo_openrlhf.run.early import EarlyDriver

STEPS = {SMOLLM2: 5}  # else 20
MODEL = "actor.model_name_or_path"


def quickstart(
    name: str,
    run_dir: Path,
    steps: int | None,
    seed: int,
    data_dir: Path | None,
    resume: bool,
    verbose: bool,
    overrides: dict[str, Setting],
    early: EarlyDriver | None = None,
) -> Path:
    """Run the recipe `name` in `run_dir` (folder.py) and return the board's path. Raises UserError with one line.

    `early`: a driver that imports meanwhile (run/early.py).
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)  # tables in a file are read later, at any width
    data_dir = data_dir or (Path(os.environ[DATA_DIR]) if DATA_DIR in os.environ else None)
    writer = writer_of(name, data_dir)
    prompts = run_dir / "prompts.jsonl"
    given = {"run.dir": str(run_dir), "data.prompt_dataset": str(prompts), "train.seed": seed}
    _load(name, {**given, MODEL: "made below"}, overrides)  # a mistake is met before minutes of teaching
    console.print("[bold]1/4[/bold] model and prompts")
    start_model = _model(name)
    recipe = _load(name, {**given, MODEL: str(start_model)}, overrides)
    run_dir.mkdir(parents=True, exist_ok=True)
    batch_size = int(recipe.get("rollout.batch_size"))
    write_quickstart_prompts(prompts, steps or STEPS.get(name, 20), batch_size, seed, writer, resume)

    console.print("[bold]2/4[/bold] training with DiPO through OpenRLHF (Ray, vLLM, DeepSpeed)")
    try:
        with engine_imported(recipe, start_model):
            train(_without_late_watcher(recipe), resume=resume, verbose=verbose, early=early)
    except KeyboardInterrupt:
        raise UserError(interrupted_message(recipe)) from None

    console.print("[bold]3/4[/bold] evaluating every checkpoint")
    results = evaluate_run(recipe, start_model, data_dir)

    console.print("[bold]4/4[/bold] writing the board")
    board = write_run_board(recipe)
    console.print(results_table(results))
    console.print(fire_summary(read_metrics(recipe.run_dir)), highlight=False)
    console.print(f"board: {board}", highlight=False, soft_wrap=True)
    return board


def _load(name: str, given: dict[str, object], overrides: dict[str, Setting]) -> Recipe:
    settings = {key: Setting(value, "dipo quickstart") for key, value in given.items()}
    return load_recipe(name, {**settings, **overrides})


def _without_late_watcher(recipe: Recipe) -> Recipe:
    """With `watch.when: after` this process evaluates, which loads the engine's packages once for all checkpoints."""
    if recipe.watch.when == "during":
        return recipe
    return dataclasses.replace(recipe, watch=recipe.watch.model_copy(update={"enabled": False}))


def engine_imported(recipe: Recipe, model: Path) -> contextlib.AbstractContextManager[None]:
    """Import the engine of the evaluation once the last step is trained, while the run's processes end.

    Not where a run that failed is restarted: that would start in the environment of an engine.
    """
    if recipe.watch.when == "during" or recipe.evaluate.engine != "vllm" or recipe.run.max_restarts:
        return contextlib.nullcontext()
    started = time.time()

    def is_trained() -> bool:
        events = read_events(recipe.run_dir)
        return any(event["stage"] == SAVING and event["time"] >= started for event in events)

    return imported_meanwhile(model, is_trained)


def _model(name: str) -> Path:
    if name == SMOLLM2:
        from dipo_openrlhf.quickstart.smollm2 import smollm2_model

        return smollm2_model(cache_dir())
    from dipo_openrlhf.quickstart.lessons import lesson_named
    from dipo_openrlhf.quickstart.pretrain import pretrained_model

    return pretrained_model(cache_dir(), lesson=lesson_named(LESSONS[name]))


def evaluate_run(recipe: Recipe, start_model: Path, data_dir: Path | None) -> list[SuiteResult]:
    """The starting model (step 0) and every complete checkpoint on the recipe's suites.

    What a watcher has evaluated is found and not evaluated again.
    """
    from dipo_eval.runner.run import evaluate
    from dipo_eval.subject.checkpoints import Checkpoint

    found = [Checkpoint(start_model, tag_of(0), 0)]
    for one in complete_checkpoints(Path(recipe.get("ckpt.path"))):
        found.append(Checkpoint(one.hf_path, one.name, one.step))
    section = recipe.evaluate
    return evaluate(
        found,
        section.suites,
        results_dir=recipe.run_dir / "results",
        run=recipe.name,
        data_dir=Path(section.data_dir) if section.data_dir else data_dir,
        **section.model_dump(exclude={"suites", "data_dir"}),
    )


def write_run_board(recipe: Recipe) -> Path:
    """board.html of one run, in its folder."""
    from dipo_eval.board.data.runlog import read_run_log
    from dipo_eval.board.page.render import write_board

    return write_board(
        recipe.run_dir / "results",
        recipe.run_dir / "board.html",
        runs=[read_run_log(recipe.run_dir)],
        title=f"DiPO: {recipe.name}",
    )
