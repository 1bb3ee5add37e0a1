"""Checkpoints: saved as OpenRLHF does, verified, marked complete, then pruned; also the step that a run ends with."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

from dipo_eval.files.lease import LeaseObserver
from dipo_eval.subject.checkpoints import weights_hash
from dipo_openrlhf.openrlhf_patch import divergence
from dipo_openrlhf.openrlhf_patch.failures import StoppedError
from dipo_openrlhf.openrlhf_patch.observe.step import StepMeter
from dipo_openrlhf.openrlhf_patch.settings import CLIENT_STATE_KEY, TrainerSettings
from dipo_openrlhf.record import checkpoints, run_log
from dipo_openrlhf.record.events import TRAINING, WARNING, write_event
from dipo_openrlhf.record.stop_request import asked_to_stop

logger = logging.getLogger(__name__)

MOST_UNATTENDED = 5  # exports that wait for a watcher; a live one starts on the first within seconds


class CheckpointSaving:
    """To be inherited before an OpenRLHF trainer class; its attributes are set by DiPOTraining.set_up."""

    args: Any
    settings: TrainerSettings
    run_dir: Path
    ckpt_path: Path
    total_steps: int
    observer: LeaseObserver
    meter: StepMeter
    engine_watch: Any
    wandb_logger: Any
    tensorboard_logger: Any
    exports_warned: bool = False
    unsaved: tuple[int, dict[str, Any]] | None = (
        None  # the step trained last and its state, where it is not saved
    )

    def training_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside OpenRLHF's own state."""
        raise NotImplementedError

    def save_logs_and_checkpoints(
        self,
        global_step: int,
        logs_dict: dict[str, Any] | None = None,
        client_states: dict[str, Any] | None = None,
    ) -> None:
        """Log, save with the queue in the client state, verify, mark complete, then prune.

        Raises StoppedError where the run was asked to stop: then the step is saved, whatever ckpt.save_steps says. The
        time of the save is logged with the next step.
        """
        logs_dict = {**(logs_dict or {}), **self.meter.metrics()}
        run_log.append_metrics(self.run_dir, global_step, logs_dict)
        client_states = dict(client_states or {})
        client_states[CLIENT_STATE_KEY] = self.training_state()
        is_saved = global_step % self.args.ckpt.save_steps == 0
        self.unsaved = None if is_saved else (global_step, client_states)
        with self.meter.clock("save"):
            super().save_logs_and_checkpoints(global_step, logs_dict, client_states)  # type: ignore[misc]
            if is_saved:
                self.complete_checkpoint(global_step)
        if self._is_to_stop():
            self.save_unsaved_step()
            self.engine_watch.set()  # the engines end with the run
            for tracker in (self.wandb_logger, self.tensorboard_logger):
                if tracker is not None:
                    tracker.close()
            raise StoppedError(f"step {global_step} is saved")

    def save_unsaved_step(self) -> None:
        """The step that was trained last, where ckpt.save_steps left it out: before an end, and as the final model, so
        that this is a checkpoint like the others and evaluated like them.
        """
        if self.unsaved is None:
            return
        global_step, client_states = self.unsaved
        write_event(self.run_dir, f"saving step {global_step} before the end")
        save_steps, loggers = self.args.ckpt.save_steps, (self.wandb_logger, self.tensorboard_logger)
        self.args.ckpt.save_steps = 1
        self.wandb_logger = self.tensorboard_logger = None  # the step is logged
        try:
            super().save_logs_and_checkpoints(global_step, None, client_states)  # type: ignore[misc]
        finally:
            self.args.ckpt.save_steps = save_steps
            self.wandb_logger, self.tensorboard_logger = loggers
        self.unsaved = None
        self.complete_checkpoint(global_step)

    def save_final_checkpoint(self) -> None:
        """After the last step; nothing where the recipe wants no checkpoints (ckpt.save_steps -1)."""
        if math.isfinite(self.args.ckpt.save_steps):
            self.save_unsaved_step()

    def _is_to_stop(self) -> bool:
        return asked_to_stop(self.run_dir) is not None

    def complete_checkpoint(self, global_step: int) -> None:
        """All ranks have returned, so both folders are written: check them and the weights, mark, prune.

        Raises UserError for weights that are not finite, before anything is marked or pruned.
        """
        started = time.time()
        tag = checkpoints.tag_of(global_step)
        actor_folder = self.ckpt_path / "_actor" / tag
        if not self.args.ckpt.disable_ds and not any(actor_folder.glob("*optim_states.pt")):
            raise RuntimeError(f"checkpoint {actor_folder} has no optimizer state after its save")
        exported = bool(self.args.ckpt.save_hf)
        if not exported and self.args.ckpt.disable_ds:
            return  # nothing is saved
        save_steps, about_weights = self.args.ckpt.save_steps, {}
        # Without an export the ranks have found their weights finite after the update (divergence.py, lost_updates).
        if exported:
            divergence.check_weights(self.ckpt_path, global_step)
            about_weights = {
                "weights_hash": weights_hash(self.ckpt_path / f"{tag}_hf"),
                "weights_finite": True,
            }
        facts = {
            **about_weights,
            "recipe_hash": self.settings.recipe_hash,
            "data_sha256": self.settings.data_sha256,
            "versions": self.settings.versions,
            "save_steps": save_steps if math.isfinite(save_steps) else 0,
            "scheduled": global_step % save_steps == 0 or not self._is_to_stop(),
            "saved": round(started, 3),
        }
        checkpoints.mark_complete(self.ckpt_path, global_step, facts, exported=exported)
        self._wait_for_evaluation(global_step)
        checkpoints.prune(
            self.ckpt_path,
            self.settings.keep_checkpoints,
            keep_exports=self.settings.keep_exports,
            evaluate_every=self.settings.evaluate_every,
            observer=self.observer,
        )
        self._warn_of_unattended_exports()

    def _warn_of_unattended_exports(self) -> None:
        """Once in a process: without a watcher that lives, the exports that are kept for it fill the disk."""
        if self.exports_warned or not self.settings.evaluated_meanwhile:
            return
        waiting = checkpoints.unattended_exports(self.ckpt_path, self.settings.evaluate_every, self.observer)
        if waiting > MOST_UNATTENDED:
            self.exports_warned = True
            text = (
                f"{waiting} exports in {self.ckpt_path} wait for an evaluation and none is being evaluated: each stays "
                "on the disk until it has been; see watch.log in the run's folder, or start another `dipo watch`"
            )
            logger.warning("%s", text)
            write_event(self.run_dir, WARNING, text=text)

    def _wait_for_evaluation(self, global_step: int) -> None:
        """Only with `watch.wait` in the recipe, and for a limited time."""
        limit = self.settings.wait_for_evaluation
        if not limit or self._is_to_stop():
            return
        if global_step // self.args.ckpt.save_steps % max(1, self.settings.evaluate_every):
            return
        write_event(self.run_dir, f"waiting for the evaluation of step {global_step}", timeout=limit + 60)
        if not checkpoints.wait_until_evaluated(self.ckpt_path, global_step, limit, give_up=self._is_to_stop):
            logger.warning("step %d was not evaluated within %d s: training goes on", global_step, limit)
        write_event(self.run_dir, TRAINING, total_steps=self.total_steps)
