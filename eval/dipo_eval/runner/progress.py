"""Progress on a terminal, or nothing: the same calls either way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Reporter(Progress):
    """Bars of one evaluation on standard error, drawn while it is entered; unless enabled, every call does nothing."""

    def __init__(self, enabled: bool, beat: Callable[[], None] = lambda: None) -> None:
        """`beat` is called whenever a bar is started or advances, enabled or not; from any thread."""
        self._beat = beat
        columns = (
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        super().__init__(*columns, console=Console(stderr=True), transient=True, disable=not enabled)

    @contextlib.contextmanager
    def bar(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar that is gone when the work is done; yields a function to advance it, safe from threads."""
        task = self.add_task(label, total=total)

        def advance(count: int) -> None:
            self.advance(task, count)
            self._beat()

        self._beat()
        try:
            yield advance
        finally:
            self.remove_task(task)
