"""The driver process: OpenRLHF's own command line with a few classes replaced.

    python -m dipo_openrlhf.openrlhf_patch.driver RUN_DIR/launch.json

`dipo train` starts it with the run's environment (cpu.changes.environment) and watches it; it can be started by hand too.
openrlhf/cli/train_ppo_ray.py, train imports its classes late, so replacing attributes of their modules on the driver is
enough; our classes travel to Ray's workers by reference.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.files.processes import end_with_parent
from dipo_eval.secrets.masking import mask_text
from dipo_eval.subject.marker import training_ended
from dipo_openrlhf.algorithm import DipoConfig, methods
from dipo_openrlhf.openrlhf_patch import overrides, ray_start
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
from dipo_openrlhf.openrlhf_patch.cpu import fork_server
from dipo_openrlhf.openrlhf_patch.cpu.forked_worker import set_environment
from dipo_openrlhf.openrlhf_patch.failures import explain, may_restart, was_stopped
from dipo_openrlhf.openrlhf_patch.health import NodeWatch, dead_ray, watch_for_death
from dipo_openrlhf.openrlhf_patch.overrides import ActorFactory
from dipo_openrlhf.openrlhf_patch.settings import LaunchPlan, TrainerSettings
from dipo_openrlhf.recipe.openrlhf_args import CPU_CHOICES, OWN_CHOICES
from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.record.processes import RUN_ID, end_processes

PROGRAM = "openrlhf.cli.train_ppo_ray"


def _replace_classes(plan: LaunchPlan, dipo_config: DipoConfig, settings: TrainerSettings) -> None:
    """Put our trainer, actor and engine classes into the modules from which OpenRLHF's command line imports its own.

    Ours are imported before the attribute is replaced: they subclass the original.
    """
    import openrlhf.trainer.ray.ppo_actor as ppo_actor
    import openrlhf.trainer.ray.vllm_engine as vllm_engine
    import ray

    from dipo_openrlhf.openrlhf_patch.actor import DiPOPolicyActor, EntropyPolicyActor
    from dipo_openrlhf.openrlhf_patch.engine import CheckedEngine, SeededEngine
    from dipo_openrlhf.openrlhf_patch.weight_sync.worker import EXTENSION

    named = {"dipo_config": dipo_config, "settings": settings}
    if "--train.async_enable" in plan.argv:
        import openrlhf.trainer.ppo_trainer_async as ppo_trainer_async

        from dipo_openrlhf.openrlhf_patch.trainer_async import DiPOTrainerAsync

        ppo_trainer_async.PPOTrainerAsync = ActorFactory(ray.remote(DiPOTrainerAsync), **named)
    else:
        import openrlhf.trainer.ppo_trainer as ppo_trainer

        from dipo_openrlhf.openrlhf_patch.trainer import DiPOTrainer

        ppo_trainer.PPOTrainer = ActorFactory(ray.remote(DiPOTrainer), **named)

    needs_entropy = methods.get(dipo_config.method).needs_entropy
    actor = EntropyPolicyActor if needs_entropy else DiPOPolicyActor
    ppo_actor.PolicyModelActor = ray.remote(num_gpus=1)(actor)

    if given(plan.argv, "--ds.lora.rank") not in ("", "0"):
        import openrlhf.utils.deepspeed as strategies

        from dipo_openrlhf.openrlhf_patch.lora import LoraStrategy

        strategies.DeepspeedStrategy = LoraStrategy  # what openrlhf/utils/utils.py, get_strategy makes

    engine = ray.remote(SeededEngine if settings.seeded_rollouts else CheckedEngine)
    vllm_engine.RolloutRayActor = ActorFactory(
        engine,
        worker_extension_cls=EXTENSION,
        **_log_probs(settings),
        **engine_dtype(plan.argv),
        **plan.engine,
    )


def _log_probs(settings: TrainerSettings) -> dict[str, str]:
    """As OpenRLHF starts its engines where it requests log-probabilities: those of the distribution that is sampled."""
    return {"logprobs_mode": "processed_logprobs"} if settings.log_vllm_kl else {}


def engine_dtype(argv: Sequence[str]) -> dict[str, str]:
    """A weight sync needs equal types on both sides; OpenRLHF starts its engines with bfloat16."""
    dtype = {"fp32": "float32", "fp16": "float16"}.get(given(argv, "--ds.param_dtype"))
    return {"dtype": dtype} if dtype else {}


def given(argv: Sequence[str], option: str) -> str:
    """The value of an option of OpenRLHF's command line, empty where it is not given."""
    return dict(itertools.pairwise(argv)).get(option, "")


def _allow(added: Mapping[str, list[str]]) -> None:
    """Let these values of options through the parser of OpenRLHF's command line."""
    import argparse

    original = argparse.ArgumentParser.add_argument

    def add_argument(self: argparse.ArgumentParser, *names: Any, **options: Any) -> argparse.Action:
        if more := added.get(next(iter(names), "").removeprefix("--")):
            options["choices"] = [*options["choices"], *more]
        return original(self, *names, **options)

    argparse.ArgumentParser.add_argument = add_argument  # type: ignore[method-assign, assignment]


def run(plan: LaunchPlan) -> None:
    """Run OpenRLHF's training to its end. Raises what it raises."""
    overrides.check_version()
    settings = TrainerSettings(**plan.settings)
    run_dir = Path(settings.run_dir)
    cpu.install()
    write_event(run_dir, "joining the Ray cluster" if plan.cluster else "starting Ray")
    if plan.cluster:
        folders = {"run.dir": settings.run_dir, "ckpt.path": settings.ckpt_path or settings.run_dir}
        ray_start.join_cluster(plan.gpus, plan.environment, run_dir, folders, plan.files)
    elif plan.cpu:
        ray_start.start_simulated(plan.gpus, plan.environment)
    else:
        ray_start.start_on_gpus(plan.environment)
    ray_start.set_signals()  # Ray has a handler of its own, which ends the driver at once
    _allow({**OWN_CHOICES, **(CPU_CHOICES if plan.cpu else {})})
    if fork_server.ADDRESS not in os.environ:
        write_event(run_dir, "importing OpenRLHF")
    overrides.check_overrides()
    _replace_classes(plan, DipoConfig(**plan.dipo), settings)
    write_event(run_dir, "loading the model and the rollout engine")
    sys.argv = [PROGRAM, *plan.argv]
    runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)


def _forks(plan: LaunchPlan, run_dir: Path) -> contextlib.AbstractContextManager[None]:
    """The fork server of a run with a Ray of its own on CPU, after the imports that all its processes need."""
    if not plan.cpu or plan.cluster or os.environ.get(fork_server.ENABLED) == "0":
        return contextlib.nullcontext()
    write_event(run_dir, "importing OpenRLHF")
    cpu.install()
    try:
        can_fork = fork_server.preload()
    except Exception:  # `run` meets it again, where it is reported
        can_fork = False
    return fork_server.running() if can_fork else contextlib.nullcontext()


def early() -> int:
    """Import, and then do what one line of standard input says (run/early.py): the plan, the log and the environment."""
    cpu.install()
    with contextlib.suppress(Exception):  # `main` meets it again
        fork_server.preload()
    line = bytearray()
    while not line.endswith(b"\n"):
        if not (more := os.read(0, 1)):
            return 0
        line += more
    told = json.loads(line)
    set_environment({**os.environ, **told["environment"]})
    for name in ("huggingface_hub.constants", "datasets.config"):  # both have read it
        if told["environment"].get("HF_HUB_OFFLINE") and name in sys.modules:
            vars(sys.modules[name])["HF_HUB_OFFLINE"] = True
    sys.stdout.flush()
    log = os.open(told["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    return main(told["plan"])


def _end_with_parent(run_id: str) -> None:
    """End the run when `dipo train`, which holds the other end of our stdin, is gone."""

    def end() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(20)
        own_session = os.getsid(0) == os.getpid()  # not that of a terminal
        end_processes(run_id, session=os.getpid() if own_session else None)
        os._exit(1)

    if run_id and not sys.stdin.isatty():
        end_with_parent(end)


def main(path: str) -> int:
    """Exit status: 0 trained, 1 failed (events.jsonl says why), 130 interrupted, or stopped as asked."""
    plan = LaunchPlan.read(Path(path))
    run_dir = Path(plan.settings["run_dir"])
    ray_start.set_signals()
    try:
        with _forks(plan, run_dir):
            return train(plan, run_dir)
    except KeyboardInterrupt:  # while it was importing
        write_event(run_dir, "interrupted")
        return 130


def train(plan: LaunchPlan, run_dir: Path) -> int:
    """As `main`; every thread of this process is started here, after its fork server."""
    _end_with_parent(os.environ.get(RUN_ID, ""))
    nodes = NodeWatch(plan.gpus, run_dir)
    if plan.cluster:
        stopping = watch_for_death("cluster-health", nodes, run_dir)
    else:
        stopping = watch_for_death("ray-health", dead_ray, run_dir, poll=2.0)
    ray_start.set_signals()
    outcome = "failed"
    try:
        run(plan)
        outcome = "done"
    except KeyboardInterrupt:
        ignore_further_signals()
        outcome = "interrupted"
        write_event(run_dir, "interrupted")
        return 130
    except UserError as error:
        # One that a Ray worker raised is a UserError too, but its text is the worker's traceback.
        write_event(run_dir, "failed", error=explain(error), may_restart=False)
        return 1
    except (Exception, SystemExit) as error:
        stopping.set()  # the cause is written here
        if was_stopped(error):
            ignore_further_signals()
            outcome = "interrupted"
            write_event(run_dir, "interrupted")
            return 130
        print(mask_text(traceback.format_exc()), file=sys.stderr)
        lost = nodes() if plan.cluster else None  # Ray's message on a lost actor seldom names its node
        write_event(
            run_dir,
            "failed",
            error=lost or explain(error, plan.argv),
            may_restart=bool(lost) or may_restart(error, plan.files.values()),
        )
        return 1
    finally:
        stopping.set()
        if plan.settings.get("ckpt_path"):
            training_ended(Path(plan.settings["ckpt_path"]), outcome)
        _stop_ray()
    write_event(run_dir, "done")
    return 0


def ignore_further_signals() -> None:
    """A second signal must not interrupt the clean-up: a job's end reaches us and `dipo train`, which forwards it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _stop_ray() -> None:
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(early() if sys.argv[1] == "--early" else main(sys.argv[1]))
