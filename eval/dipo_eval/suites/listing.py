"""What `dipo eval --list` shows: every suite with the data that are here, without the hub."""

from __future__ import annotations

from collections.abc import Sequence
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
from dipo_eval.suites.user import is_suite_path


def print_list(console: Console, data_dir: Path | None, names: Sequence[str] = ()) -> None:
    """The package's suites and those named (a user's own), all items read; below, why some cannot be read here, modules
    that cannot be imported among them.

    Raises UserError for an unknown name.
    """
    broken: dict[str, str] = {}
    suites = all_suites(broken)
    for name in (one for one in names if one not in suites):
        try:
            suites |= {suite.name: suite for suite in get_suites([name])}
        except UserError as error:
            if not is_suite_path(name) or not Path(name).is_file():
                raise
            broken[name] = str(error)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("suite", no_wrap=True)
    table.add_column("items", justify="right", no_wrap=True)
    table.add_column("items sha256", no_wrap=True)
    for name in ("metric", "license", "source"):
        table.add_column(name, overflow="fold")
    hints = [f"{name}: {visible(why, 400)}" for name, why in broken.items()]
    for suite in suites.values():
        count, digest, hint = _items(suite, data_dir)
        table.add_row(suite.name, count, digest, *map(Text, (suite.metric, suite.license, suite.source)))
        if hint:
            hints.append(f"{suite.name}: {visible(hint, 400)}")
    console.print(table)
    for hint in hints:
        console.print(hint, markup=False, highlight=False)


def _items(suite: Suite, data_dir: Path | None) -> tuple[str, str, str]:
    """Number and hash of a suite's items, "-" where the hint says why they cannot be read here."""
    data = suite.data
    if data is not None and find_file(data_dir, data.name) is None:
        also = f", or let the evaluation load {data.hub.name} from the hub" if data.hub else ""
        return "-", "-", f"put {data.name} into the folder of --data-dir or DIPO_DATA_DIR{also}"
    try:
        items = suite.load(data_dir, None, 0)
    except UserError as error:
        return "-", "-", str(error)
    except Exception as error:  # a user's own suite may fail in any way; the list shows the others
        return "-", "-", f"{type(error).__name__}: {error}"
    return f"{len(items):,}", items_sha256(items)[:12], ""
