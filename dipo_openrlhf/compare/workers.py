"""Several runs at a time, each in a process with one thread; what is finished is kept, whatever ends the others."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from dipo_eval.errors import UserError, one_line
from dipo_openrlhf.compare.cell import Cell, run_cell
from dipo_openrlhf.compare.full_stack import run_on_full_stack
from dipo_openrlhf.compare.store import cell_path, write_cell

RUN_TIMEOUT = 3600.0
"""Seconds in which some run must end; small runs take seconds to minutes."""


def run_cells(
    cells: Sequence[Cell],
    folder: Path,
    models: dict[str, Path],
    workers: int,
    done: Callable[[Cell, float], None],
) -> None:
    """Run these cells and write each as it ends. done: told of each, with its seconds.

    models: task -> folder of the starting model. Raises UserError where a run fails or a worker is killed; the runs that
    had ended are kept.
    """
    if not cells:
        return
    if workers == 1 or len(cells) == 1 or cells[0].stack == "openrlhf":  # which takes all cores
        _set_up()
        for cell in cells:
            with _told(cell):
                done(*_run(cell, folder, models[cell.task]))
        return
    context = multiprocessing.get_context("spawn")  # a fork after torch's threads have started could hang
    pool = ProcessPoolExecutor(min(workers, len(cells)), context, initializer=_set_up_worker)
    try:
        futures = {pool.submit(_run, cell, folder, models[cell.task]): cell for cell in cells}
        for future in as_completed(futures, timeout=RUN_TIMEOUT * len(cells)):
            with _told(futures[future]):
                done(*future.result())
    except BaseException:
        running = multiprocessing.active_children()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.terminate()
        raise
    pool.shutdown()


@contextlib.contextmanager
def _told(cell: Cell) -> Iterator[None]:
    """What ends a run, in one line that names it."""
    where = f"{cell.task}, {cell.entry.name}, seed {cell.seed}"
    try:
        yield
    except BrokenProcessPool:
        raise UserError(
            f"{where}: its process was killed, for want of memory perhaps: start again with fewer --workers; "
            "finished runs are kept"
        ) from None
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(f"{where}: {one_line(error)}; finished runs are kept") from None


def _run(cell: Cell, folder: Path, model: Path) -> tuple[Cell, float]:
    if cell.stack == "openrlhf":
        trained = run_on_full_stack(cell, model, cell_path(folder, cell).with_suffix(""))
    else:
        trained = run_cell(cell, model)
    write_cell(folder, cell, trained)
    return cell, trained.seconds


def _set_up() -> None:
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(1)  # one run a core: small matrices gain nothing from a second


def _set_up_worker() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    _set_up()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
