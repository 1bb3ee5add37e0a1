"""What ends a run that has diverged, and what it leaves on disk. tests/end_to_end/test_divergence.py runs one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from openrlhf.utils.deepspeed.deepspeed import DeepspeedStrategy
from safetensors.torch import save_file

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm.perplexity import sequence_log_ppl
from dipo_openrlhf.openrlhf_patch import checkpoints, divergence
from dipo_openrlhf.openrlhf_patch.failures import may_restart, one_line
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.openrlhf_patch.trainer import DiPOTrainer

FINE = {"policy_loss": 0.1, "actor_grad_norm": 2.0, "dipo/threshold_ppl": math.nan, "reward": 1.0}


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, []),
        ({"policy_loss": -0.1, "actor_grad_norm": 0.0}, []),
        ({"policy_loss": math.nan}, ["policy_loss"]),
        ({"critic_loss": torch.tensor(math.inf)}, ["critic_loss"]),
        ({"actor_grad_norm": math.inf, "policy_loss": math.nan}, ["actor_grad_norm", "policy_loss"]),
        ({"actor_grad_norm": -1.0}, ["actor_grad_norm"]),
    ],
)
def test_losses_and_gradient_norms_must_be_finite(more: dict[str, Any], names: list[str]) -> None:
    assert divergence.not_finite({**FINE, **more}) == names


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_deepspeed_says_minus_one_of_a_norm_that_is_not_finite(value: float) -> None:
    """So that a test for NaN alone would find nothing."""
    from deepspeed.runtime.utils import mask_nan_or_inf_with_val_inplace

    norm = torch.tensor(value)
    mask_nan_or_inf_with_val_inplace(norm, device="cpu")
    model = SimpleNamespace(get_global_grad_norm=lambda: norm)
    found = DeepspeedStrategy.get_grad_norm(object.__new__(DeepspeedStrategy), model)
    assert divergence.not_finite({"actor_grad_norm": found}) == ["actor_grad_norm"]


def save(ckpt: Path, step: int, value: float = 1.0) -> None:
    """A step as DeepSpeed and OpenRLHF leave it, before anything is marked."""
    export, state = ckpt / f"global_step{step}_hf", ckpt / "_actor" / f"global_step{step}"
    export.mkdir(parents=True)
    state.mkdir(parents=True)
    (export / "config.json").write_text("{}")
    (state / "mp_rank_00_optim_states.pt").write_text("")
    save_file({"w": torch.tensor([1.0, value], dtype=torch.bfloat16)}, export / "model.safetensors")
    (ckpt / "_actor" / "latest").write_text(f"global_step{step}")


def trainer(folder: Path, ppo_train: dict[str, Any], **settings: Any) -> Any:
    """A DiPOTrainer without its engines and actors; `ppo_train`: what OpenRLHF's update answers."""
    made: Any = object.__new__(DiPOTrainer)
    vars(made).update(
        run_dir=folder,
        ckpt_path=folder / "ckpt",
        args=SimpleNamespace(
            ckpt=SimpleNamespace(disable_ds=False, save_hf=True, save_steps=1),
            ds=SimpleNamespace(param_dtype=settings.pop("param_dtype", "bf16"), enable_sleep=False),
            critic=SimpleNamespace(freezing_steps=-1),
        ),
        settings=TrainerSettings(run_dir=str(folder), recipe_hash="", **settings),
        experience_maker=SimpleNamespace(metrics={"dipo/queue_size": 64.0}),
        samples_generator=None,
        sightings=None,
        kl_ctl=SimpleNamespace(value=0.0),
        critic_model_group=None,
        actor_model_group=SimpleNamespace(async_run_method=lambda method_name, kl_ctl: [ppo_train]),
    )
    return made


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda references: references)


def test_a_loss_that_is_not_finite_ends_the_run_and_is_written_down(tmp_path: Path) -> None:
    save(tmp_path / "ckpt", 4)
    checkpoints.mark_complete(tmp_path / "ckpt", 4, {})
    assert trainer(tmp_path, FINE).ppo_train(4) == FINE
    with pytest.raises(UserError) as caught:
        trainer(tmp_path, {**FINE, "policy_loss": math.nan}).ppo_train(4)
    line = one_line(caught.value)
    assert line.startswith(
        "step 5: policy_loss not finite: training has diverged, and ends before this step is saved"
    )
    assert "step 4 is complete: --resume may end in the same way" in line
    assert line.endswith(f"actor.model_name_or_path {tmp_path / 'ckpt' / 'global_step4_hf'}")
    assert not may_restart(caught.value)
    (row,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert (row["step"], row["policy_loss"], row["dipo/queue_size"]) == (5, None, 64.0)


def test_fp16_looks_for_a_loss_scale_with_steps_that_are_not_finite(tmp_path: Path) -> None:
    status = {**FINE, "actor_grad_norm": -1.0}
    assert trainer(tmp_path, status, param_dtype="fp16").ppo_train(4) == status


def test_nothing_is_marked_or_pruned_for_weights_that_are_not_finite(tmp_path: Path) -> None:
    ckpt = tmp_path / "ckpt"
    made = trainer(tmp_path, FINE, keep_checkpoints=1)
    save(ckpt, 1)
    made._complete(1)
    save(ckpt, 2)
    made._complete(2)
    assert checkpoints.resumable_steps(ckpt) == [2]  # the first one was pruned
    save(ckpt, 3, math.nan)
    (ckpt / "global_step3_hf" / "COMPLETE.json").write_text('{"step": 3}')  # of an earlier save of the step
    with pytest.raises(
        UserError, match=r"step 3: its weights hold NaN.*\(w in model.safetensors\)"
    ) as caught:
        made._complete(3)
    assert "step 2 is complete" in str(caught.value)
    assert not may_restart(caught.value)
    assert checkpoints.resumable_steps(ckpt) == [2]
    assert (ckpt / "_actor" / "latest").read_text() == "global_step2"
    # What a resume does first: it goes on from the one that is whole, and the other one is gone.
    assert checkpoints.point_latest_at_newest_whole(ckpt) == 2
    assert not (ckpt / "global_step3_hf").exists()


def test_an_export_without_weights_is_not_marked(tmp_path: Path) -> None:
    ckpt = tmp_path / "ckpt"
    made = trainer(tmp_path, FINE)
    save(ckpt, 1)
    made._complete(1)
    marker = json.loads((ckpt / "global_step1_hf" / "COMPLETE.json").read_text())
    assert marker["weights_finite"] is True
    save(ckpt, 2)
    (ckpt / "global_step2_hf" / "model.safetensors").rename(ckpt / "global_step2_hf" / "training_args.bin")
    (ckpt / "global_step2_hf" / "COMPLETE.json").write_text('{"step": 2}')  # of an earlier save of the step
    with pytest.raises(UserError, match=r"no weights in training_args\.bin"):
        made._complete(2)
    assert checkpoints.resumable_steps(ckpt) == [1]
    assert (ckpt / "_actor" / "latest").read_text() == "global_step1"


def test_where_no_checkpoint_is_complete_the_advice_is_to_begin_anew(tmp_path: Path) -> None:
    save(tmp_path / "ckpt", 1, math.inf)
    with pytest.raises(
        UserError, match=r"no checkpoint is complete: begin anew with a lower actor\.adam\.lr"
    ):
        trainer(tmp_path, FINE)._complete(1)
    assert not (tmp_path / "ckpt" / "_actor" / "latest").exists()


@pytest.mark.parametrize(
    ("global_step", "says"),
    [
        (0, "look at the weights of actor.model_name_or_path"),
        (4, "training has diverged; step 4 is complete"),
    ],
)
def test_log_probabilities_that_are_not_finite_are_a_diverged_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, global_step: int, says: str
) -> None:
    save(tmp_path / "ckpt", 4)
    checkpoints.mark_complete(tmp_path / "ckpt", 4, {})
    made = trainer(tmp_path, FINE)
    log_probs = torch.tensor([[-1.0, math.nan]])
    made.total_steps = 8
    made.experience_maker.make_experience_batch = lambda samples: sequence_log_ppl(
        log_probs, torch.ones_like(log_probs)
    )
    with pytest.raises(UserError) as caught:
        made.train_step([], global_step)
    assert f"step {global_step + 1}: log-probabilities of the samples are not finite" in str(caught.value)
    assert says in str(caught.value)
    assert not may_restart(caught.value)
