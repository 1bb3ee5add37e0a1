"""The options of `dipo data` that make the prompts. Imports little, so that `dipo --help` stays quick. Not a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from typer import Option

from dipo_openrlhf.data.word_ngrams import NGRAM, SHARE


@dataclass(frozen=True)
class Options:
    """`prepare` takes these; the empty path of `out` means none was given."""

    out: Annotated[
        Path, Option(help="The prompts file, .jsonl: the recipe's data.prompt_dataset.", show_default=False)
    ] = Path()
    file: Annotated[
        Path | None,
        Option(
            "--from", help="A .jsonl, .json or .parquet file. Default: the data folder's, else the hub's."
        ),
    ] = None
    data_dir: Annotated[
        Path | None, Option(envvar="DIPO_DATA_DIR", help="Folder of the data sets' and the suites' files.")
    ] = None
    limit: Annotated[
        int | None, Option(min=1, help="At most so many prompts, chosen by the hash of seed and id.")
    ] = None
    seed: Annotated[int, Option(help="Seed for --limit, --split and generated prompts.")] = 0
    split: Annotated[
        float, Option(min=0.0, max=0.99, help="Share that is held out, into FILE.heldout.jsonl, by id.")
    ] = 0.0
    template: Annotated[
        str | None,
        Option(
            "--prompt",
            help="boxed (the suites' own instruction), plain, dapo, or a string with {question}. "
            "Default: boxed, for toolrl and what is generated plain.",
        ),
    ] = None
    also: Annotated[
        list[str], Option(help="A suite of your own (.yaml, .py) to compare with; several times.")
    ] = field(default_factory=list)
    suite_seed: Annotated[
        int,
        Option(help="Your evaluation's --seed: arithmetic-control and tools-control are generated from it."),
    ] = 0
    ngram: Annotated[int, Option(min=2, help="Words in an n-gram.")] = NGRAM
    share: Annotated[
        float,
        Option(
            min=0.0,
            max=1.0,
            help="Drop a prompt that shares more than this share of a suite problem's words in n-grams.",
        ),
    ] = SHARE
    drop_wording: Annotated[
        bool, Option("--drop-wording", help="Drop also what differs from a suite's problem in numbers.")
    ] = False
    drop_bad: Annotated[
        bool, Option("--drop-bad", help="Leave rows with unsound golds or ids out, and list them.")
    ] = False
    force: Annotated[bool, Option("--force", help="Replace a file with other content.")] = False

    @property
    def heldout(self) -> Path:
        """The file of the held-out prompts."""
        return self.out.with_name(f"{self.out.stem}.heldout{self.out.suffix}")

    @property
    def report(self) -> Path:
        """The file of the counts and of everything that was dropped."""
        return self.out.with_name(f"{self.out.stem}.report.json")
