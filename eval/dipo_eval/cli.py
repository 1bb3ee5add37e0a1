"""`dipo eval`: evaluate models and checkpoints on suites, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dipo_eval.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from dipo_eval.runner.task import SuiteResult


def eval_command(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model folder in HF form, a training run's checkpoint folder (all of its "
            "global_step*_hf are evaluated, in step order), or a model name on the hub.",
            show_default=False,
        ),
    ] = None,
    suites: Annotated[
        str | None,
        typer.Option(
            help="Suites, separated by commas (--list shows them); or a .yaml or .py file of your own.",
            show_default=False,
        ),
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder that results are written to.")] = Path("results"),
    run: Annotated[
        str | None,
        typer.Option(help="Name of the run in the results. Default: the training run's folder, or 'models'."),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What generates: vllm, hf (slower), or openai (a server, with --base-url).")
    ] = "vllm",
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Address of an OpenAI-compatible server; MODEL is then its name there, and a key is read from "
            "OPENAI_API_KEY. Example: http://localhost:8000/v1",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples a problem; above 1 set --temperature.")] = 1,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most this many problems a suite, a random subset fixed by --seed."),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling, in (0, 1].")] = 1.0,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Most tokens of one response; use what training allowed.")
    ] = 1024,
    max_model_len: Annotated[
        int | None, typer.Option(min=2, help="Tokens of prompt and response. Default: what is needed.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="auto (float32 without a GPU), float32, bfloat16, float16.")
    ] = "auto",
    stop: Annotated[
        list[str] | None,
        typer.Option(help="A string that ends a response; may be given several times.", show_default=False),
    ] = None,
    thinking: Annotated[
        bool | None,
        typer.Option(
            "--thinking/--no-thinking",
            help="The chat template's thinking mode. Default: the template's.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes sampling, --limit and generated suites.")] = 0,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="DIPO_DATA_DIR", help="Folder of the suites' JSON-lines files.", show_default=False
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Evaluate again and replace stored results.")
    ] = False,
    with_: Annotated[
        str | None,
        typer.Option(
            "--with",
            help="Official scores of the same generations beside ours: lm-eval, evalplus, bfcl-eval, with commas.",
            show_default=False,
        ),
    ] = None,
    list_suites: Annotated[
        bool, typer.Option("--list", help="List the suites, with --data-dir their items, and stop.")
    ] = False,
) -> None:
    """Evaluate a model or all checkpoints of a run, with intervals, and store every sample.

    Example:

        dipo eval runs/quickstart/ckpt --suites arithmetic-control --results results

    Results of the same weights, suite and settings are kept, and a killed evaluation is resumed. All suites share one
    load of the model.
    """
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a log or a pipe
    try:
        if list_suites:
            from dipo_eval.harness.lm_eval import TASKS
            from dipo_eval.suites.listing import print_list

            print_list(console, data_dir, [name for name in (suites or "").split(",") if name])
            console.print(
                f"the same as lm-eval tasks: lm_eval --include_path {TASKS}", markup=False, soft_wrap=True
            )
            return
        if model is None:
            raise UserError("no model named; give a model folder, a training run's folder or a hub name")
        if not suites:
            raise UserError(
                "no suite named; give --suites, for example --suites gsm8k,math500 (--list shows all)"
            )
        from dipo_eval.harness.command import score_officially, show_official
        from dipo_eval.harness.registry import get_harnesses

        harnesses = get_harnesses(with_, suites)
        # Late, so that --help and --list do not wait for torch.
        from dipo_eval.results.store import safe_name
        from dipo_eval.runner.progress import Reporter
        from dipo_eval.runner.run import evaluate
        from dipo_eval.subject.checkpoints import Checkpoint, default_run, find_checkpoints

        served = engine == "openai"
        found = evaluate(
            [Checkpoint(Path(model), safe_name(model))] if served else find_checkpoints(model),
            [name.strip() for name in suites.split(",") if name.strip()],
            results_dir=results,
            run=run or default_run(model, served),
            engine=engine,
            samples=samples,
            limit=limit,
            temperature=temperature,
            top_p=top_p,
            max_new_tokens=max_new_tokens,
            max_model_len=max_model_len,
            dtype=dtype,
            seed=seed,
            stop=stop or (),
            thinking=thinking,
            base_url=base_url,
            data_dir=data_dir,
            force=force,
            progress=console.is_terminal,
            log=lambda line: typer.echo(line, err=True),
        )
        console.print(results_table(found))
        with Reporter(console.is_terminal) as report:
            scored = score_officially([(one.folder, one.result) for one in found], harnesses, report.bar)
        show_official(scored, console)
    except UserError as error:
        # Not by rich: a path or a model's message may contain markup.
        typer.echo(f"dipo eval: {error}", err=True)
        raise typer.Exit(2) from error
    for line in overall_lines(found):
        console.print(line, markup=False, highlight=False)
    console.print(
        f"results in {results / (run or default_run(model, served))}", markup=False, highlight=False
    )


def results_table(results: list[SuiteResult]) -> Table:
    """One row a checkpoint and suite: accuracy in percent, its 95% interval, counts, and seconds."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("checkpoint", "suite"):
        table.add_column(name, overflow="fold")
    for name in ("accuracy", "95% interval", "n", "k", "trunc.", "undec.", "sec."):
        table.add_column(name, justify="right", no_wrap=True)
    for item in results:
        accuracy, counts = item.result["metrics"]["accuracy"], item.result["counts"]
        seconds = sum(item.result["seconds"].get(part, 0.0) for part in ("generate", "grade"))
        table.add_row(
            item.result["checkpoint"], item.result["suite"], f"{100 * accuracy['value']:.1f}%",
            f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}", str(accuracy["n"]), str(accuracy["k"]),
            str(counts["truncated"]), str(counts["undecided"]), f"{seconds:.1f}",
        )  # fmt: skip
    notes = [
        f"{count} of {len(results)} {words}"
        for origin, words in (("found", "already there"), ("regraded", "graded again"))
        if (count := sum(item.origin == origin for item in results))
    ]
    table.caption = "; ".join(notes) or None
    return table


def overall_lines(results: list[SuiteResult]) -> list[str]:
    """One line for each overall score of a result, or for its missing parts."""
    lines = []
    for item in results:
        for name, score in item.result.get("overall", {}).items():
            head = f"{item.result['checkpoint']}, {name} overall: "
            if score["value"] is not None:
                lines.append(f"{head}{100 * score['value']:.1f}%")
                continue
            parts = ", ".join(part for part, value in score["parts"].items() if value is None)
            zero = f"{100 * score['missing_as_zero']:.1f}%"
            lines.append(f"{head}none, without {parts}; bfcl-eval counts missing parts as 0: {zero}")
    return lines
