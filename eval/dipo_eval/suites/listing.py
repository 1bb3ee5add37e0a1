"""What `dipo eval --list` shows: every suite with the data that are here, without asking the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dipo_eval.errors import UserError
from dipo_eval.printable import visible
from dipo_eval.suites import Suite, all_suites, get_suites
from dipo_eval.suites.base import items_sha256
from dipo_eval.suites.data_file import find_file


@dataclass(frozen=True)
class Listed:
    """One suite; ``items`` and ``sha256`` (of its items) are None where ``hint`` says why they cannot be read here."""

    suite: Suite
    items: int | None
    sha256: str | None
    hint: str | None


def list_suites(data_dir: Path | None, names: Sequence[str] = ()) -> list[Listed]:
    """The package's suites and those named (a user's own), all items read. Raises UserError for an unknown name."""
    suites = {**all_suites(), **{suite.name: suite for suite in (get_suites(names) if names else [])}}
    return [_listed(suite, data_dir) for suite in suites.values()]


def _listed(suite: Suite, data_dir: Path | None) -> Listed:
    data = suite.data
    if data is not None and find_file(data_dir, data.name) is None:
        hint = f"put {data.name} into the folder of --data-dir or DIPO_DATA_DIR"
        also = f", or let the evaluation load {data.hub.name} from the hub" if data.hub else ""
        return Listed(suite, None, None, hint + also)
    try:
        items = suite.load(data_dir, None, 0)
        return Listed(suite, len(items), items_sha256(items), None)
    except UserError as error:
        return Listed(suite, None, None, str(error))
    except Exception as error:  # a user's own suite may fail in any way; the list shows the others
        return Listed(suite, None, None, f"{type(error).__name__}: {error}")


def suite_table(listed: Sequence[Listed]) -> Table:
    """One row a suite; "-" where its items cannot be read here."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("suite", no_wrap=True)
    table.add_column("items", justify="right", no_wrap=True)
    table.add_column("items sha256", no_wrap=True)
    for name in ("metric", "license", "source"):
        table.add_column(name, overflow="fold")
    for one in listed:
        count = "-" if one.items is None else f"{one.items:,}"
        digest = one.sha256[:12] if one.sha256 else "-"
        suite = one.suite
        table.add_row(
            suite.name, count, digest, *(Text(t) for t in (suite.metric, suite.license, suite.source))
        )
    return table


def print_list(console: Console, data_dir: Path | None, names: Sequence[str] = ()) -> None:
    """The table, then one line for each suite whose items cannot be read here."""
    listed = list_suites(data_dir, names)
    console.print(suite_table(listed))
    for one in listed:
        if one.hint:
            console.print(f"{one.suite.name}: {visible(one.hint, 400)}", markup=False, highlight=False)
