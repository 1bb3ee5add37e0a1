"""`dipo export`: results in other tools' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dipo_eval.errors import UserError
from dipo_eval.printable import visible


def export_command(
    results: Annotated[Path, typer.Argument(help="Folder that `dipo eval` has written.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path("export"),
    run: Annotated[str | None, typer.Option(help="Only this run. Default: all.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Only this checkpoint. Default: all.")] = None,
    formats: Annotated[
        str | None,
        typer.Option("--format", help="lm-eval, every-eval-ever, hub, model-index, by commas. Default: all."),
    ] = None,
    model_id: Annotated[
        str | None,
        typer.Option(help="ORG/NAME on the hub, for one checkpoint. Default: RUN/CHECKPOINT."),
    ] = None,
    source_url: Annotated[
        str | None, typer.Option(help="Where these results are published, for the formats that name it.")
    ] = None,
) -> None:
    """Write results for other tools: lm-eval's files, Every Eval Ever, the hub's .eval_results, a card's model-index.

    Example:

        dipo export results --format lm-eval,model-index --out export

    The files lie in OUT/FORMAT/RUN/CHECKPOINT. What a format has no field for is left out.
    """
    from dipo_eval.export.formats import FORMATS, write_fit
    from dipo_eval.export.source import Identity, find_evaluated

    names = [name.strip() for name in formats.split(",") if name.strip()] if formats else list(FORMATS)
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise UserError(f"--format {unknown[0] if unknown else formats!r}: choose from {', '.join(FORMATS)}")
    problems: list[str] = []

    def unfit(line: str) -> None:
        problems.append(line)
        _left_out(line)

    found = find_evaluated(results, run, checkpoint, _left_out, unfit)
    if model_id and len(found) > 1:
        raise UserError(
            f"--model-id names one model, and there are {len(found)} checkpoints; add --run, --checkpoint"
        )
    identity = Identity(model_id, source_url)
    for evaluated in found:
        for name in names:
            folder = out / name / evaluated.run / evaluated.checkpoint
            before = len(problems)
            count = len(write_fit(name, evaluated, identity, folder, unfit))
            if count or len(problems) == before:
                _say(
                    f"{name}: {f'{count} files in {folder}' if count else f'has no field for {folder.name}'}"
                )
    if problems:
        raise UserError("not all results could be exported: the lines above say which, and why")


def _say(line: str, *, err: bool = False) -> None:
    """Print one line: the names of folders and results are anybody's, and may hold escape sequences and line breaks."""
    typer.echo(visible(line, 2000), err=err)


def _left_out(line: str) -> None:
    _say(f"left out: {line}", err=True)
