"""The error of a run that has diverged, and what is left on disk. tests/end_to_end/test_divergence.py runs one."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dipo_eval.errors import UserError
from dipo_eval.files.lease import LeaseObserver, acquire
from dipo_eval.subject.marker import LEASE
from dipo_openrlhf.algorithm.perplexity import sequence_log_ppl
from dipo_openrlhf.openrlhf_patch import divergence
from dipo_openrlhf.openrlhf_patch.failures import explain, may_restart
from dipo_openrlhf.openrlhf_patch.observe.step import Gpus, StepMeter
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.openrlhf_patch.trainer import DiPOTrainer
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.events import WARNING, read_events

FINE = {"policy_loss": 0.1, "actor_grad_norm": 2.0, "dipo/threshold_ppl": math.nan, "reward": 1.0}


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, []),
        ({"policy_loss": -0.1, "actor_grad_norm": 0.0}, []),
        ({"policy_loss": math.nan}, ["policy_loss"]),
        ({"critic_loss": torch.tensor(math.inf)}, ["critic_loss"]),
        ({"actor_grad_norm": math.inf, "policy_loss": math.nan}, ["policy_loss", "actor_grad_norm"]),
        ({divergence.SKIPPED: 1.0, divergence.WEIGHTS: 1.0}, [divergence.SKIPPED, divergence.WEIGHTS]),
        ({"entropy_loss": math.nan, "user_loss": math.nan}, []),  # logged only
    ],
)
def test_losses_and_norms_must_be_finite(more: dict[str, Any], names: list[str]) -> None:
    assert divergence.not_finite({**FINE, **more}, "bf16") == names


def test_fp16_may_skip_updates_but_not_lose_weights() -> None:
    status = {**FINE, "policy_loss": math.inf, divergence.SKIPPED: 3.0}
    assert divergence.not_finite(status, "fp16") == []
    assert divergence.not_finite({**status, divergence.WEIGHTS: 1.0}, "fp16") == [divergence.WEIGHTS]


# DeepSpeed itself with OpenRLHF's configuration, one rank: a step, and one with a finite loss whose gradients are not.
DIVERGES = """
import os, sys
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
os.environ.update(cpu.environment(1))
cpu.install()
import deepspeed, json, torch
from openrlhf.utils.deepspeed.deepspeed_utils import get_train_ds_config
from dipo_openrlhf.openrlhf_patch.divergence import lost_updates
os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[1])
deepspeed.init_distributed("gloo")
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.v = torch.nn.Linear(8, 8), torch.nn.Linear(8, 1)
    def forward(self, x, diverges):
        y = self.v(self.w(x)).float().mean()
        return y + torch.sqrt((self.w.weight.float() * 0).sum()) if diverges else y
found = {}
for stage, dtype in [(3, "bf16"), (2, "bf16"), (1, "bf16"), (0, "bf16"), (3, "fp32"), (2, "fp32"), (0, "fp32")]:
    model = Model()
    config = get_train_ds_config(False, adam_offload=False, stage=stage, param_dtype=dtype, max_norm=1.0, zpg=1,
        optim_config={"type": "AdamW", "params": {"lr": 1e-3, "torch_adam": True}})
    config |= {"train_micro_batch_size_per_gpu": 2, "train_batch_size": 2}
    zero = config["zero_optimization"]
    config["zero_optimization"] = {name: value for name, value in zero.items() if value != "auto"}
    groups = [{"params": [model.w.weight, model.v.weight], "weight_decay": 0.0},
              {"params": [model.w.bias, model.v.bias], "weight_decay": 0.0}]
    engine, *_ = deepspeed.initialize(model=model, config=config, model_parameters=groups)
    lost = []
    for diverges in (False, True):
        before = engine.skipped_steps
        loss = engine(torch.ones(2, 8, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32), diverges)
        engine.backward(loss)
        engine.step()
        assert torch.isfinite(loss)
        lost.append(lost_updates(engine, before))
    found[f"{stage} {dtype}"] = lost
print("found " + json.dumps(found))
"""


@pytest.mark.timeout(300)
def test_updates_lost_in_deepspeed_are_detected_in_every_stage() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", DIVERGES, str(port)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("found ")]
    found = json.loads(line.removeprefix("found "))
    assert len(found) == 7
    for stage, (fine, lost) in found.items():
        assert not any(fine.values()), stage
        assert any(lost.values()), stage


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
    """A DiPOTrainer without its engines and actors; `ppo_train`: what OpenRLHF's update returns."""
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
        samples_generator=SimpleNamespace(place=None),
        meter=StepMeter(None, [], Gpus(shared=True)),
        observer=None,
        kl_ctl=SimpleNamespace(value=0.0),
        critic_model_group=None,
        actor_model_group=SimpleNamespace(async_run_method=lambda method_name, kl_ctl: [ppo_train]),
    )
    return made


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda references: references)


def test_a_loss_that_is_not_finite_ends_the_run_and_is_logged(tmp_path: Path) -> None:
    save(tmp_path / "ckpt", 4)
    checkpoints.mark_complete(tmp_path / "ckpt", 4, {})
    assert trainer(tmp_path, FINE).ppo_train(4) == FINE
    with pytest.raises(UserError) as caught:
        trainer(tmp_path, {**FINE, "policy_loss": math.nan}).ppo_train(4)
    line = explain(caught.value)
    assert line.startswith(
        "step 5: policy_loss not finite: training has diverged, and ends before this step is saved"
    )
    assert "step 4 is complete: --resume may end in the same way" in line
    assert line.endswith(f"actor.model_name_or_path {tmp_path / 'ckpt' / 'global_step4_hf'}")
    assert not may_restart(caught.value)
    (row,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert (row["step"], row["policy_loss"], row["dipo/queue_size"]) == (5, None, 64.0)


def test_fp16_finds_a_loss_scale_with_steps_that_are_not_finite(tmp_path: Path) -> None:
    status = {**FINE, "actor_grad_norm": -1.0}
    assert trainer(tmp_path, status, param_dtype="fp16").ppo_train(4) == status


def test_nothing_is_marked_or_pruned_for_weights_that_are_not_finite(tmp_path: Path) -> None:
    ckpt = tmp_path / "ckpt"
    made = trainer(tmp_path, FINE, keep_checkpoints=1)
    save(ckpt, 1)
    made.complete_checkpoint(1)
    save(ckpt, 2)
    made.complete_checkpoint(2)
    assert checkpoints.resumable_steps(ckpt) == [2]  # the first one was pruned
    save(ckpt, 3, math.nan)
    (ckpt / "global_step3_hf" / "COMPLETE.json").write_text('{"step": 3}')  # of an earlier save of the step
    with pytest.raises(
        UserError, match=r"step 3: its weights hold NaN.*\(w in model.safetensors\)"
    ) as caught:
        made.complete_checkpoint(3)
    assert "step 2 is complete" in str(caught.value)
    assert not may_restart(caught.value)
    assert checkpoints.resumable_steps(ckpt) == [2]
    assert (ckpt / "_actor" / "latest").read_text() == "global_step2"
    # A resume starts from the complete checkpoint and deletes the other.
    assert checkpoints.point_latest_at_newest_complete(ckpt) == 2
    assert not (ckpt / "global_step3_hf").exists()


def test_exports_that_no_watcher_evaluates_are_warned_of_once(tmp_path: Path) -> None:
    ckpt = tmp_path / "ckpt"
    made = trainer(tmp_path, FINE, keep_checkpoints=1, evaluate_every=1, evaluated_meanwhile=True)
    made.observer = LeaseObserver()

    def warnings(*steps: int) -> list[str]:
        for step in steps:
            save(ckpt, step)
            made.complete_checkpoint(step)
        return [event["text"] for event in read_events(tmp_path) if event["stage"] == WARNING]

    assert warnings(1, 2, 3, 4, 5) == []
    lease = acquire(ckpt / "global_step2_hf" / LEASE, LeaseObserver())
    assert lease is not None
    assert warnings(6) == []  # a watcher is at work
    lease.release()
    (said,) = warnings(7, 8)
    assert said.startswith(f"7 exports in {ckpt} wait for an evaluation and none is being evaluated")


def test_an_export_without_weights_is_not_marked(tmp_path: Path) -> None:
    ckpt = tmp_path / "ckpt"
    made = trainer(tmp_path, FINE)
    save(ckpt, 1)
    made.complete_checkpoint(1)
    marker = json.loads((ckpt / "global_step1_hf" / "COMPLETE.json").read_text())
    assert marker["weights_finite"] is True
    save(ckpt, 2)
    (ckpt / "global_step2_hf" / "model.safetensors").rename(ckpt / "global_step2_hf" / "training_args.bin")
    (ckpt / "global_step2_hf" / "COMPLETE.json").write_text('{"step": 2}')  # of an earlier save of the step
    with pytest.raises(UserError, match=r"no weights in training_args\.bin"):
        made.complete_checkpoint(2)
    assert checkpoints.resumable_steps(ckpt) == [1]
    assert (ckpt / "_actor" / "latest").read_text() == "global_step1"


def test_where_no_checkpoint_is_complete_the_advice_is_to_start_again(tmp_path: Path) -> None:
    save(tmp_path / "ckpt", 1, math.inf)
    with pytest.raises(
        UserError, match=r"no checkpoint is complete: start again with a lower actor\.adam\.lr"
    ):
        trainer(tmp_path, FINE).complete_checkpoint(1)
    assert not (tmp_path / "ckpt" / "_actor" / "latest").exists()


@pytest.mark.parametrize(
    ("global_step", "says"),
    [
        (0, "check the weights of actor.model_name_or_path"),
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
