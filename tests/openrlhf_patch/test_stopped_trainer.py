"""The trainer's part of a stop: OpenRLHF's save at any step, a complete marker, an error that the driver knows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.exceptions import RayTaskError
from safetensors.torch import save_file

from dipo_eval.subject.marker import complete_checkpoints
from dipo_openrlhf.openrlhf_patch.failures import StoppedError, explain, may_restart, was_stopped
from dipo_openrlhf.openrlhf_patch.observe.step import Gpus, StepMeter
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.openrlhf_patch.trainer import DiPOTrainer
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.events import read_events
from dipo_openrlhf.record.stop_request import StopRequest, ask_to_stop


def write_step(ckpt: Path, step: int, export: bool = True) -> None:
    folder, state = ckpt / f"global_step{step}_hf", ckpt / "_actor" / f"global_step{step}"
    state.mkdir(parents=True)
    (state / "mp_rank_00_optim_states.pt").write_text("")
    if export:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        save_file({"w": torch.ones(2)}, folder / "model.safetensors")
    (ckpt / "_actor" / "latest").write_text(f"global_step{step}")


class Trainer:
    """A DiPOTrainer whose actors only write files; what each save was called with."""

    def __init__(self, folder: Path, save_steps: float, **settings: Any) -> None:
        self.saved: list[dict[str, Any]] = []
        self.closed = 0
        self.export = True
        self.made: Any = object.__new__(DiPOTrainer)
        tracker = SimpleNamespace(close=self._close, log_train=lambda step, logs: None)
        vars(self.made).update(
            run_dir=folder,
            ckpt_path=folder / "ckpt",
            args=SimpleNamespace(
                ckpt=SimpleNamespace(
                    disable_ds=False, save_hf=True, save_steps=save_steps, path=str(folder / "ckpt")
                ),
                logger=SimpleNamespace(logging_steps=1),
            ),
            settings=TrainerSettings(run_dir=str(folder), recipe_hash="", **settings),
            experience_maker=SimpleNamespace(
                queue=SimpleNamespace(state_dict=lambda: {"entries": 64}), metrics={}
            ),
            samples_generator=SimpleNamespace(is_exhausted=False),
            meter=StepMeter(SimpleNamespace(async_run_method=lambda method_name: []), [], Gpus(shared=True)),
            observer=None,
            kl_ctl=SimpleNamespace(value=0.0),
            critic_model_group=None,
            wandb_logger=tracker,
            tensorboard_logger=None,
            best_eval_metric_key="none",
            best_eval_metric_value=0.0,
            _latest_eval_metric_value=None,
            engine_watch=SimpleNamespace(set=lambda: None),
            total_steps=100,
            actor_model_group=SimpleNamespace(async_run_method=self._save),
        )

    def _close(self) -> None:
        self.closed += 1

    def _save(self, method_name: str, tag: str, **options: Any) -> list[None]:
        assert method_name == "save_checkpoint"
        self.saved.append(options["client_states"])
        write_step(self.made.ckpt_path, int(tag.removeprefix("global_step")), self.export)
        return []

    def end_step(self, step: int) -> None:
        self.made.save_logs_and_checkpoints(step, {"policy_loss": 0.5}, {"episode": 0, "global_step": step})


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda references, timeout=None: references)


@pytest.mark.parametrize("save_steps", [10, float("inf")])
def test_a_stop_saves_the_step_off_schedule_and_the_schedule_goes_on(tmp_path, save_steps):
    subject = Trainer(tmp_path, save_steps)
    subject.end_step(6)
    assert not complete_checkpoints(tmp_path / "ckpt")
    ask_to_stop(tmp_path, StopRequest("SIGTERM"))
    with pytest.raises(StoppedError, match="step 7 is saved") as raised:
        subject.end_step(7)
    (one,) = complete_checkpoints(tmp_path / "ckpt")
    assert (one.step, one.marker["scheduled"], one.marker["weights_finite"]) == (7, False, True)
    assert one.marker["save_steps"] == (10 if save_steps == 10 else 0)
    assert checkpoints.resumable_steps(tmp_path / "ckpt") == [7]
    (states,) = subject.saved
    assert states["dipo"]["queue"] == {"entries": 64}
    assert states["global_step"] == 7
    assert {"python", "numpy", "torch"} <= states["dipo"]["rng"].keys()
    assert [event["stage"] for event in read_events(tmp_path)] == ["saving step 7 before the end"]
    assert subject.closed == 1, "what the trackers hold is flushed"
    assert subject.made.args.ckpt.save_steps == save_steps
    # As the driver gets it: through Ray, which may raise it of a class derived from ours.
    through_ray = RayTaskError("fit", "Traceback ...", raised.value).as_instanceof_cause()
    assert was_stopped(through_ray)
    assert was_stopped(RayTaskError("fit", "Traceback ...", through_ray))
    assert not was_stopped(RuntimeError("StoppedError"))
    assert may_restart(through_ray)
    assert explain(through_ray)


def test_without_exports_a_run_is_rotated_and_resumed_all_the_same(tmp_path):
    """ckpt.save_hf: false. Nothing of it can be evaluated, so that nothing is offered to a watcher."""
    subject = Trainer(tmp_path, 2, keep_checkpoints=2)
    subject.made.args.ckpt.save_hf = False
    subject.export = False
    for step in range(1, 9):
        subject.end_step(step)
    ckpt = tmp_path / "ckpt"
    assert checkpoints.resumable_steps(ckpt) == [6, 8]
    assert sorted(folder.name for folder in (ckpt / "_actor").iterdir() if folder.is_dir()) == [
        "global_step6",
        "global_step8",
    ]
    assert complete_checkpoints(ckpt) == []
    ask_to_stop(tmp_path, StopRequest("SIGTERM"))
    with pytest.raises(StoppedError, match="step 9 is saved"):
        subject.end_step(9)
    assert checkpoints.resumable_steps(ckpt) == [8, 9]
    write_step(ckpt, 10, export=False)  # killed before its marker was written
    assert checkpoints.point_latest_at_newest_complete(ckpt) == 9
    assert (ckpt / "_actor" / "latest").read_text() == "global_step9"
    assert not (ckpt / "_actor" / "global_step10").exists()
    checkpoints.withdraw(ckpt, 9)
    assert checkpoints.resumable_steps(ckpt) == [8]


def test_a_stop_at_a_step_of_the_schedule_saves_it_once_and_waits_for_no_evaluation(tmp_path):
    subject = Trainer(tmp_path, 5, wait_for_evaluation=10**6)
    ask_to_stop(tmp_path, StopRequest("SIGTERM"))
    with pytest.raises(StoppedError):
        subject.end_step(5)
    (one,) = complete_checkpoints(tmp_path / "ckpt")
    assert (one.step, one.marker["scheduled"], len(subject.saved)) == (5, True, 1)


def test_a_stop_ends_the_waiting_for_an_evaluation(tmp_path, monkeypatch):
    subject = Trainer(tmp_path, 5, wait_for_evaluation=10**6)
    monkeypatch.setattr("time.sleep", lambda seconds: ask_to_stop(tmp_path, StopRequest("SIGTERM")))
    with pytest.raises(StoppedError):
        subject.end_step(5)
    assert len(subject.saved) == 1
