"""The driver process: OpenRLHF's own command line with one class replaced.

    python -m dipo_openrlhf.openrlhf_patch.driver RUN_DIR/launch.json

`dipo train` starts it with the run's environment (see cpu.environment) and watches it; it may also be started by
hand. openrlhf.cli.train_ppo_ray imports PPOTrainer (or PPOTrainerAsync) late, inside `train()`, so replacing that
one module attribute on the driver is enough; the class travels to Ray's worker by reference.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.secrets.masking import mask_text
from dipo_eval.watch.marker import training_ended
from dipo_openrlhf.algorithm import DipoConfig, methods
from dipo_openrlhf.openrlhf_patch import cluster
from dipo_openrlhf.openrlhf_patch import overrides as version
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
from dipo_openrlhf.openrlhf_patch.cpu.local_ray import start_ray
from dipo_openrlhf.openrlhf_patch.failures import may_restart, one_line
from dipo_openrlhf.openrlhf_patch.health.cluster import NodeWatch, watch_cluster
from dipo_openrlhf.openrlhf_patch.health.ray import watch_ray
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.record.processes import RUN_ID, end_processes

PROGRAM = "openrlhf.cli.train_ppo_ray"
_WORKER_HOOK = "dipo_openrlhf.openrlhf_patch.cpu.changes.install"


@dataclass(frozen=True)
class LaunchPlan:
    """What the driver needs; written to RUN_DIR/launch.json."""

    argv: list[str]
    dipo: dict[str, Any]
    settings: dict[str, Any]
    cpu: bool
    gpus: int  # pretended GPUs of a CPU run: one for each actor rank and engine
    environment: dict[str, str] = field(default_factory=dict)
    cluster: bool = False  # join the running Ray cluster; else a Ray of the run's own

    def write(self, path: Path) -> None:
        write_atomic(path, (json.dumps(asdict(self), indent=2) + "\n").encode(), private=True)

    @classmethod
    def read(cls, path: Path) -> LaunchPlan:
        return cls(**json.loads(path.read_text(encoding="utf-8")))


class TrainerFactory:
    """Stands where OpenRLHF expects the Ray actor class of its trainer: adds our two named arguments."""

    def __init__(self, trainer_class: Any, dipo_config: DipoConfig, settings: TrainerSettings) -> None:
        self.trainer_class = trainer_class
        self.extra = {"dipo_config": dipo_config, "settings": settings}

    def remote(self, *args: Any, **generate_kwargs: Any) -> Any:
        import ray

        return ray.remote(self.trainer_class).remote(*args, **self.extra, **generate_kwargs)


def _replace_trainer(dipo_config: DipoConfig, settings: TrainerSettings, asynchronous: bool) -> None:
    """Ours are imported before the attribute is replaced: they subclass the original."""
    if asynchronous:
        import openrlhf.trainer.ppo_trainer_async as ppo_trainer_async

        from dipo_openrlhf.openrlhf_patch.trainer_async import DiPOTrainerAsync

        ppo_trainer_async.PPOTrainerAsync = TrainerFactory(DiPOTrainerAsync, dipo_config, settings)
    else:
        import openrlhf.trainer.ppo_trainer as ppo_trainer

        from dipo_openrlhf.openrlhf_patch.trainer import DiPOTrainer

        ppo_trainer.PPOTrainer = TrainerFactory(DiPOTrainer, dipo_config, settings)


def _start_local_ray(plan: LaunchPlan) -> None:
    """A Ray of our own with pretended GPUs; OpenRLHF keeps a Ray that is already initialised."""
    # Settings of the caller's shell: one would join its cluster, the other contradicts the pretended GPUs.
    for name in ("RAY_ADDRESS", "CUDA_VISIBLE_DEVICES"):
        os.environ.pop(name, None)
    start_ray(
        num_gpus=plan.gpus,
        num_cpus=2 * plan.gpus + 4,
        object_store_memory=512 * 1024**2,
        log_to_driver=True,
        runtime_env={"worker_process_setup_hook": _WORKER_HOOK, "env_vars": plan.environment},
    )


def _allow_fp32() -> None:
    """Let `--ds.param_dtype fp32` through the parser and to the engine (vllm_engine.py:273 names bfloat16)."""
    import argparse

    original = argparse.ArgumentParser.add_argument

    def add_argument(self: argparse.ArgumentParser, *names: Any, **options: Any) -> argparse.Action:
        if "--ds.param_dtype" in names:
            options["choices"] = [*options["choices"], "fp32"]
        return original(self, *names, **options)

    argparse.ArgumentParser.add_argument = add_argument  # type: ignore[method-assign, assignment]


class _Float32Engines:
    """RolloutRayActor whose engines load float32 weights: a sync needs equal types on both sides."""

    def __init__(self, actor_class: Any) -> None:
        self.actor_class = actor_class

    def options(self, **options: Any) -> _Float32Engines:
        return _Float32Engines(self.actor_class.options(**options))

    def remote(self, **arguments: Any) -> Any:
        return self.actor_class.remote(**{**arguments, "dtype": "float32"})


def _replace_actor(needs_entropy: bool) -> None:
    """Our policy actor in OpenRLHF's place (the driver imports the class from its module)."""
    import openrlhf.trainer.ray.ppo_actor as ppo_actor
    import ray

    from dipo_openrlhf.openrlhf_patch.actor import DiPOPolicyActor
    from dipo_openrlhf.openrlhf_patch.entropy_actor import EntropyPolicyActor

    ppo_actor.PolicyModelActor = ray.remote(num_gpus=1)(
        EntropyPolicyActor if needs_entropy else DiPOPolicyActor
    )


def _replace_engines(seeded: bool, float32: bool) -> None:
    """Ours in OpenRLHF's place: the driver starts the engines by their module's attribute (vllm_engine.py:301)."""
    import openrlhf.trainer.ray.vllm_engine as vllm_engine
    import ray

    from dipo_openrlhf.openrlhf_patch.engine import CheckedEngine
    from dipo_openrlhf.openrlhf_patch.seeded_engine import SeededEngine

    engine = ray.remote(SeededEngine if seeded else CheckedEngine)
    vllm_engine.RolloutRayActor = _Float32Engines(engine) if float32 else engine


def run(plan: LaunchPlan) -> None:
    """Run OpenRLHF's training to its end. Raises what it raises."""
    version.check_version()
    settings = TrainerSettings(**plan.settings)
    run_dir = Path(settings.run_dir)
    cpu.install()
    write_event(run_dir, "checking the data")
    from dipo_openrlhf.recipe.preflight import check_prompts

    check_prompts(plan.argv)
    write_event(run_dir, "joining the Ray cluster" if plan.cluster else "starting Ray")
    if plan.cluster:
        cluster.join(plan.gpus, plan.environment, run_dir)
    elif plan.cpu:
        _start_local_ray(plan)
    if plan.cpu:
        _allow_fp32()
    write_event(run_dir, "importing OpenRLHF")
    version.check_overrides()
    dipo_config = DipoConfig(**plan.dipo)
    _replace_trainer(dipo_config, settings, asynchronous="--train.async_enable" in plan.argv)
    _replace_actor(methods.get(dipo_config.method).needs_entropy)
    _replace_engines(settings.seeded_rollouts, float32=plan.cpu and "fp32" in plan.argv)
    write_event(run_dir, "loading the model and the rollout engine")
    sys.argv = [PROGRAM, *plan.argv]
    runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)


def _end_with_parent(run_id: str) -> None:
    """End the run when `dipo train`, which holds the other end of our stdin, is gone."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(20)
        own_session = os.getsid(0) == os.getpid()  # not that of a terminal
        end_processes(run_id, session=os.getpid() if own_session else None)
        os._exit(1)

    if run_id and not sys.stdin.isatty():
        threading.Thread(target=watch, daemon=True).start()


def main(path: str) -> int:
    """Exit status: 0 trained, 1 failed (events.jsonl says why), 130 interrupted."""
    plan = LaunchPlan.read(Path(path))
    run_dir = Path(plan.settings["run_dir"])
    _end_with_parent(os.environ.get(RUN_ID, ""))
    nodes = NodeWatch(plan.gpus)
    stopping = watch_cluster(run_dir, nodes) if plan.cluster else watch_ray(run_dir)
    # SIGINT too: a shell starts what it runs in the background, such as a job's script, with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    outcome = "failed"
    try:
        run(plan)
        outcome = "done"
    except KeyboardInterrupt:
        _finish_undisturbed()
        outcome = "interrupted"
        write_event(run_dir, "interrupted")
        return 130
    except UserError as error:
        # One that a Ray worker raised is a UserError too, but its text is the worker's whole traceback.
        write_event(run_dir, "failed", error=one_line(error), may_restart=False)
        return 1
    except (Exception, SystemExit) as error:
        stopping.set()  # the cause is told here
        print(mask_text(traceback.format_exc()), file=sys.stderr)
        lost = nodes() if plan.cluster else None  # what Ray says of a lost actor seldom names its node
        write_event(
            run_dir, "failed", error=lost or one_line(error), may_restart=bool(lost) or may_restart(error)
        )
        return 1
    finally:
        stopping.set()
        if plan.settings.get("ckpt_path"):
            training_ended(Path(plan.settings["ckpt_path"]), outcome)
        _stop_ray()
    write_event(run_dir, "done")
    return 0


def _finish_undisturbed() -> None:
    """A second signal (a job's end reaches us and `dipo train`, which passes it on) must not cut the clean-up short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _stop_ray() -> None:
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
