"""`dipo quickstart`: make a model and prompts, train with DiPO, evaluate every checkpoint, write the board."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm.fire_rate import fire_summary
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.record.checkpoints import whole_checkpoints
from dipo_openrlhf.record.run_log import read_metrics
from dipo_openrlhf.run.supervisor import interrupted_message, train

if TYPE_CHECKING:
    from dipo_eval.runner.run import SuiteResult

MODELS = {"tiny": "quickstart", "smollm2": "quickstart_smollm2"}  # choice -> recipe
DATA_DIR = "DIPO_DATA_DIR"


@dataclass(frozen=True)
class QuickstartOptions:
    """What the command line offers; everything else is in the recipe."""

    model: str = "tiny"
    run_dir: Path | None = None
    steps: int | None = None
    seed: int = 42
    data_dir: Path | None = None
    resume: bool = False
    verbose: bool = False


def cache_dir() -> Path:
    """Where pretrained and converted models are kept: $DIPO_CACHE_DIR, else the user's cache folder."""
    base = os.environ.get("DIPO_CACHE_DIR")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dipo"


def quickstart(options: QuickstartOptions, overrides: dict[str, Setting] | None = None) -> Path:
    """Run all of it and return the board's path. Raises UserError with one line."""
    console = wide_console()
    run_dir = run_folder(options)
    check_folder(run_dir, options.resume)
    data_dir = options.data_dir or (Path(os.environ[DATA_DIR]) if DATA_DIR in os.environ else None)
    gsm8k = _gsm8k_train(data_dir) if options.model == "smollm2" else None
    console.print("[bold]1/4[/bold] model and prompts")
    model = _model(options.model)
    recipe = _recipe(options, run_dir, model, overrides or {})
    run_dir.mkdir(parents=True, exist_ok=True)
    _write_prompts(run_dir / "prompts.jsonl", recipe, options, gsm8k)

    console.print("[bold]2/4[/bold] training with DiPO through OpenRLHF (Ray, vLLM, DeepSpeed)")
    try:
        train(_without_late_watcher(recipe), resume=options.resume, verbose=options.verbose)
    except KeyboardInterrupt:
        raise UserError(interrupted_message(recipe)) from None

    console.print("[bold]3/4[/bold] evaluating every checkpoint")
    results = evaluate_run(recipe, model, data_dir)

    console.print("[bold]4/4[/bold] writing the board")
    board = write_run_board(recipe)
    _summary(console, recipe, results, board)
    return board


def _without_late_watcher(recipe: Recipe) -> Recipe:
    """With `watch.when: after` this process evaluates, which loads the engine's packages once for all checkpoints."""
    if recipe.watch.when == "during":
        return recipe
    return dataclasses.replace(recipe, watch=recipe.watch.model_copy(update={"enabled": False}))


def run_folder(options: QuickstartOptions) -> Path:
    """Where the run lives: as asked, else the first free of runs/quickstart, runs/quickstart-2, ...

    With `resume` the newest of those that exist. Nothing of an earlier run is ever overwritten.
    """
    if options.run_dir is not None:
        return options.run_dir.resolve()
    first = Path("runs", MODELS[options.model]).resolve()
    candidates = itertools.chain([first], (first.with_name(f"{first.name}-{n}") for n in itertools.count(2)))
    used = list(itertools.takewhile(_in_use, candidates))
    if options.resume and used:
        return used[-1]
    return first if not used else first.with_name(f"{first.name}-{len(used) + 1}")


def _in_use(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def check_folder(folder: Path, resume: bool) -> None:
    """Refuse to start in a folder that holds something else. Raises UserError."""
    if resume or not _in_use(folder):
        return
    if (folder / "prompts.jsonl").is_file():
        raise UserError(
            f"{folder}: holds an earlier quickstart: continue it with --resume, or name another folder"
        )
    raise UserError(f"{folder}: is not empty and not of a quickstart: choose another with --run-dir")


def wide_console() -> Console:
    """The terminal, or 110 columns where output goes to a file: tables there are read later, on any width."""
    console = Console()
    return console if console.is_terminal else Console(width=110)


def _model(choice: str) -> Path:
    if choice == "smollm2":
        from dipo_openrlhf.quickstart.smollm2 import smollm2_model

        return smollm2_model(cache_dir())
    from dipo_openrlhf.quickstart.pretrain import pretrained_model

    return pretrained_model(cache_dir())


def _recipe(options: QuickstartOptions, run_dir: Path, model: Path, overrides: dict[str, Setting]) -> Recipe:
    given = {
        "run.dir": str(run_dir),
        "actor.model_name_or_path": str(model),
        "data.prompt_dataset": str(run_dir / "prompts.jsonl"),
        "train.seed": options.seed,
    }
    settings = {key: Setting(value, "dipo quickstart") for key, value in given.items()}
    return load_recipe(MODELS[options.model], {**settings, **overrides})


def _write_prompts(path: Path, recipe: Recipe, options: QuickstartOptions, gsm8k: Path | None) -> None:
    """As many prompts as the steps need, alike for the same seed. A resume goes on with those that are there.

    Raises UserError where they are those of another number of steps.
    """
    from dipo_openrlhf.data.arithmetic import write_prompts

    steps = options.steps or (20 if options.model == "tiny" else 5)
    size = int(recipe.get("rollout.batch_size"))
    count = steps * size
    if options.resume and path.is_file():
        found = len(path.read_text(encoding="utf-8").splitlines())
        if found != count:
            raise UserError(
                f"{path}: holds the prompts of {found // size} steps, not of {steps}: "
                f"resume with --steps {found // size}, or start a new quickstart"
            )
        return
    if gsm8k is None:
        write_prompts(path, count, options.seed)
        return
    rows = _easy_rows(count // 2, options.seed)
    rows += _gsm8k_rows(gsm8k, count - len(rows), options.seed)
    random.Random(options.seed).shuffle(rows)
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")


def _gsm8k_train(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise UserError(
            f"--model smollm2 trains on GSM8K: name the folder of gsm8k_train.jsonl with --data-dir or {DATA_DIR}"
        )
    path = data_dir / "gsm8k_train.jsonl"
    if not path.is_file():
        raise UserError(f"{path}: no such file; --data-dir must hold gsm8k_train.jsonl and gsm8k_test.jsonl")
    return path


def _easy_rows(count: int, seed: int) -> list[str]:
    """Sums of two digits: what a 135M model gets right now and then, so that there is something to learn from."""
    rng = random.Random(f"sums:{seed}")
    pairs = [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(count)]
    boxed = "Put the answer in \\boxed{}."
    return [
        _row(f"sum-{index}", f"What is {a} + {b}?\n{boxed}", str(a + b), "arithmetic")
        for index, (a, b) in enumerate(pairs)
    ]


def _row(identity: str, question: str, answer: str, datasource: str) -> str:
    return json.dumps({"id": identity, "input": question, "label": answer, "datasource": datasource})


def _gsm8k_rows(path: Path, count: int, seed: int) -> list[str]:
    with open(path, encoding="utf-8") as file:
        lines = random.Random(seed).sample(file.readlines(), count)
    boxed = "Reason step by step and put the final answer in \\boxed{}."
    rows = map(json.loads, lines)
    return [_row(row["id"], f"{row['question']}\n{boxed}", row["answer"], "gsm8k") for row in rows]


def evaluate_run(recipe: Recipe, start_model: Path, data_dir: Path | None) -> list[SuiteResult]:
    """The starting model (step 0) and every whole checkpoint on the recipe's suites.

    What a watcher has evaluated is found and not made again.
    """
    from dipo_eval.runner.run import evaluate
    from dipo_eval.subject.checkpoints import Checkpoint

    found = [Checkpoint(start_model, "global_step0", 0)]
    for whole in whole_checkpoints(Path(recipe.get("ckpt.path"))):
        found.append(Checkpoint(whole.hf_path, f"global_step{whole.step}", whole.step))
    section = recipe.evaluate
    return evaluate(
        found,
        section.suites,
        results_dir=recipe.run_dir / "results",
        run=recipe.name,
        engine=section.engine,
        samples=section.samples,
        limit=section.limit,
        temperature=section.temperature,
        max_new_tokens=section.max_new_tokens,
        seed=section.seed,
        data_dir=Path(section.data_dir) if section.data_dir else data_dir,
    )


def write_run_board(recipe: Recipe) -> Path:
    """board.html of one run, in its folder."""
    from dipo_eval.board import read_run_log, write_board

    return write_board(
        recipe.run_dir / "results",
        recipe.run_dir / "board.html",
        runs=[read_run_log(recipe.run_dir)],
        title=f"DiPO: {recipe.name}",
    )


def _summary(console: Console, recipe: Recipe, results: list[SuiteResult], board: Path) -> None:
    from dipo_eval.cli import results_table

    console.print(results_table(results))
    rows: list[dict[str, Any]] = read_metrics(recipe.run_dir)
    console.print(fire_summary(rows), highlight=False)
    console.print(f"board: {board}", highlight=False, soft_wrap=True)
