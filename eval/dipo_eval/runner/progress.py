"""Progress on a terminal, or nothing: the same calls either way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import TimeRemainingColumn as Remaining


class Reporter:
    """Bars of one evaluation. With progress None every call does nothing."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[None]:
        """A line with a spinner for work of unknown length."""
        with self.bar(label, None):
            yield

    @contextlib.contextmanager
    def bar(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar that is gone when the work is done; yields a function to advance it, safe from threads."""
        if self._progress is None:
            yield lambda count: None
            return
        task = self._progress.add_task(label, total=total)
        lock = threading.Lock()
        progress = self._progress

        def advance(count: int) -> None:
            with lock:
                progress.advance(task, count)

        try:
            yield advance
        finally:
            progress.remove_task(task)


@contextlib.contextmanager
def reporter(enabled: bool) -> Iterator[Reporter]:
    """A Reporter that draws on standard error while in the block, if enabled."""
    if not enabled:
        yield Reporter(None)
        return
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), Remaining(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Reporter(progress)
