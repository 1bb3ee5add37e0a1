"""`dipo train`: start the driver, show its progress, end everything it started, report in one line why it failed.

A run that failed is restarted from its last complete checkpoint, `run.max_restarts` times at most.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.subject.marker import training_ended, training_started
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.estimate.environment import check_gpu_run
from dipo_openrlhf.openrlhf_patch.overrides import check_version
from dipo_openrlhf.openrlhf_patch.settings import LaunchPlan, TrainerSettings
from dipo_openrlhf.preflight.check import check_places, check_start
from dipo_openrlhf.recipe.openrlhf_checks import check_packages
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.events import ENDED, EVENTS, read_events, write_event
from dipo_openrlhf.record.processes import EXTENSIONS, end_processes
from dipo_openrlhf.record.stop_request import StopRequest, asked_to_stop, withdraw_stop
from dipo_openrlhf.run.early import DRIVER, EarlyDriver, start_driver
from dipo_openrlhf.run.owner import owned
from dipo_openrlhf.run.plan import (
    check_ray,
    joins_cluster,
    plan_run,
    resume_hint,
    write_recipe,
)
from dipo_openrlhf.run.progress import show_progress
from dipo_openrlhf.run.resuming import check_run_dir
from dipo_openrlhf.run.stopping import NothingToWaitForError, StopNotice, pause
from dipo_openrlhf.run.watcher import watcher_beside

INTERRUPTED = 130  # the driver's exit status
END_SECONDS = 15.0  # for the driver to end Ray itself
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 300.0  # seconds between a failure and the restart


class RunFailedError(UserError):
    """A run that ended before its last step.

    Attributes:
        may_restart: whether the same run could succeed the next time: a dead process or node, a hang; not a
            mistake in the recipe or the data, a full disk or too little memory.
    """

    def __init__(self, message: str, may_restart: bool) -> None:
        super().__init__(message)
        self.may_restart = may_restart


class NotEvaluatedError(UserError):
    """The training is done, and not all of its checkpoints are evaluated; the message says how to go on.

    Attributes:
        run_dir: the run's folder.
    """

    def __init__(self, message: str, run_dir: Path) -> None:
        super().__init__(message)
        self.run_dir = run_dir


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    verbose: bool = False,
    driver: str = DRIVER,
    early: EarlyDriver | None = None,
) -> Path:
    """Train to the end and return the run's folder. `driver`: the module to run, one that calls DRIVER's `main`; `early`:
    one that imports already.

    Raises UserError with one line: bad input, or a failure of the run (the traceback is in train.log) after which it was
    not restarted, or restarted too often. NotEvaluatedError, where the training is done and its evaluation is not.
    KeyboardInterrupt, after everything has ended, where the user interrupts.
    """
    check_version()
    check_ray(recipe)
    check_packages(recipe)
    if not recipe.on_cpu and not joins_cluster(recipe):
        check_gpu_run(recipe)
    check_places(recipe)
    check_run_dir(recipe, recipe.run_dir.resolve(), resume)
    check_start(recipe, say)
    ckpt_path = Path(recipe.get("ckpt.path"))
    folder = Path.cwd()

    def attempt(resuming: bool) -> Path:
        _reenter(folder)
        return _train_once(recipe, resuming, verbose, driver, early)

    with owned([recipe.run_dir, ckpt_path], say):
        withdraw_stop(recipe.run_dir)
        return with_restarts(
            attempt,
            resume=resume,
            max_restarts=recipe.run.max_restarts,
            resumable=lambda: next(reversed(checkpoints.resumable_steps(ckpt_path)), None),
            log=say,
            pause=lambda seconds: pause(recipe.run_dir, seconds),
        )


def say(line: str) -> None:
    """A line of the run's own on the terminal."""
    print(line, flush=True)


def with_restarts(
    run_once: Callable[[bool], Path],
    *,
    resume: bool,
    max_restarts: int,
    resumable: Callable[[], int | None],
    log: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """Call `run_once(resume)` until it succeeds.

    `resumable`: the newest complete checkpoint's step, or None: then the run starts again. `log` gets a line for each
    restart. Each is preceded by a pause, longer each time: a cluster needs seconds to take back what the dead held, and
    an overloaded machine is not helped by a restart at once. Raises what `run_once` raises where a restart would not
    help, or after `max_restarts`.
    """
    restart = 0
    while True:
        try:
            return run_once(resume)
        except RunFailedError as failure:
            restart += 1
            if not failure.may_restart or restart > max_restarts:
                raise
            step = resumable()
            resume = step is not None
            start = f"from step {step}" if resume else "from the beginning"
            seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (restart - 1))
            log(f"restart {restart} of {max_restarts} {start} in {seconds:.0f} s: {failure}")
            pause(seconds)


def _reenter(folder: Path) -> None:
    """Of a restart: the folder may have been made anew since, as Ray makes that of a job. Raises UserError."""
    try:
        os.getcwd()
    except FileNotFoundError:
        if not folder.is_dir():
            raise UserError(
                f"{folder}: the folder in which the run was started is gone: make it again and use --resume"
            ) from None
        os.chdir(folder)


def _train_once(recipe: Recipe, resume: bool, verbose: bool, driver: str, early: EarlyDriver | None) -> Path:
    run_dir, ckpt_path = recipe.run_dir.resolve(), Path(recipe.get("ckpt.path"))
    check_run_dir(recipe, run_dir, resume)
    if resume:
        checkpoints.point_latest_at_newest_complete(ckpt_path)
    plan = plan_run(recipe, resume)
    plan.write(run_dir / "launch.json")
    write_recipe(recipe, plan, run_dir)
    (run_dir / EVENTS).unlink(missing_ok=True)
    if (left := asked_to_stop(run_dir)) is not None and left.may_restart:
        withdraw_stop(run_dir)  # by this restart
    write_event(run_dir, "starting")
    training_started(ckpt_path)
    outcome = "failed"
    with watcher_beside(recipe, run_dir) as finish_evaluation:
        try:
            with StopNotice(run_dir, recipe.save_before) as notice:
                _run_driver(plan, run_dir, recipe, verbose, notice, driver, early)
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            training_ended(ckpt_path, outcome)  # the driver has recorded how, unless it was killed
            with contextlib.suppress(OSError):  # a full disk, which may be what ended it
                write_event(run_dir, ENDED)
        unevaluated = finish_evaluation()
    settings = TrainerSettings(**plan.settings)
    checkpoints.prune(
        ckpt_path,
        settings.keep_checkpoints,
        keep_exports=settings.keep_exports,
        evaluate_every=settings.evaluate_every,
    )
    if unevaluated:
        raise NotEvaluatedError(unevaluated, run_dir)
    return run_dir


def _run_driver(
    plan: LaunchPlan,
    run_dir: Path,
    recipe: Recipe,
    verbose: bool,
    notice: StopNotice,
    module: str,
    early: EarlyDriver | None,
) -> None:
    """Run the driver until it ends, fails, hangs or is interrupted; leave no process behind."""
    environment = {**plan.environment, EXTENSIONS: str(extensions_folder(run_dir))}
    driver, run_id = start_driver(module, run_dir / "launch.json", run_dir / "train.log", environment, early)
    problem, ended_here = None, False
    try:
        problem = show_progress(
            driver,
            run_dir,
            recipe.start_timeout,
            recipe.run.step_timeout,
            verbose,
            check=notice.check,
            dipo_enabled=methods.get(recipe.dipo.method).reallocates and recipe.dipo.alpha > 0,
        )
    except NothingToWaitForError:
        ended_here = True
    finally:
        if driver.poll() is None:
            _interrupt(driver)
        end_processes(run_id, session=driver.pid)
    if notice.request is not None:
        _end_as_asked(notice.request, recipe, run_dir, INTERRUPTED if ended_here else driver.returncode)
    if problem:
        raise RunFailedError(f"{problem} (log: {run_dir / 'train.log'}){resume_hint(recipe)}", True)
    if driver.returncode != 0:
        failure = failure_of(run_dir, driver.returncode)
        hint = "" if "--resume" in str(failure) else resume_hint(recipe)  # it may say more about that itself
        raise RunFailedError(f"{failure}{hint}", failure.may_restart)


def _end_as_asked(request: StopRequest, recipe: Recipe, run_dir: Path, status: int) -> None:
    """Raise what ends a run that was asked to stop; returns where its training is over and nothing is left to do."""
    if status == 0 and not recipe.starts_watcher:
        return
    if status not in (0, INTERRUPTED):
        print(f"the run failed before its step was saved: {failure_of(run_dir, status)}", flush=True)
    if request.may_restart:
        raise RunFailedError(f"stopped: {request.reason}{resume_hint(recipe)}", True)
    raise KeyboardInterrupt


def extensions_folder(run_dir: Path) -> Path:
    """A folder of this run's own for what it compiles: the lock of a killed build cannot hang it."""
    folder = run_dir / "torch_extensions"
    for lock in folder.glob("**/lock"):
        lock.unlink(missing_ok=True)
    return folder


def _interrupt(driver: subprocess.Popen[bytes]) -> None:
    """Let the driver end Ray itself; the caller kills what is left."""
    driver.send_signal(signal.SIGINT)
    try:
        driver.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait(5)


def failure_of(run_dir: Path, status: int) -> RunFailedError:
    """Why the driver ended with `status` != 0: what it wrote itself, or how it was ended."""
    log = f"(log: {run_dir / 'train.log'})"
    failed = [event for event in read_events(run_dir) if event["stage"] == "failed"]
    if failed:  # the first is the cause; its consequences may be written too
        return RunFailedError(f"{failed[0]['error']} {log}", failed[0].get("may_restart", True))
    cause = f"signal {-status}" if status < 0 else f"status {status}"
    return RunFailedError(f"the training process ended with {cause} and left no message {log}", True)
