"""What the observed actor writes down is what its update was given; the update itself is OpenRLHF's."""

from __future__ import annotations

import json
from copy import copy
from types import SimpleNamespace

import pytest
import torch

from dipo_openrlhf.gpu_check.observed_files import actor_file, host_file, window_file
from dipo_openrlhf.openrlhf_patch.cpu import changes

pytest.importorskip("openrlhf")


@pytest.fixture
def observe(monkeypatch):
    monkeypatch.setenv(changes.ENABLED, "1")
    changes.install()
    from dipo_openrlhf.gpu_check import observe

    return observe


class Engine:
    """Two micro-batches an optimizer step."""

    calls = 0

    @property
    def global_steps(self):
        return self.calls // 2


def micro_batch(value):
    return SimpleNamespace(
        sequences=torch.full((1, 4), value),
        attention_mask=torch.ones(1, 4),
        action_mask=torch.ones(1, 3),
        action_log_probs=torch.zeros(1, 3),
        rollout_log_probs=None,
        advantages=torch.ones(1, 3),
    )


@pytest.fixture
def actor(observe, tmp_path, monkeypatch):
    engine, seen = Engine(), []

    def training_step(experience, *args):
        seen.append(experience)
        engine.calls += 1
        return {"metrics": {"actor_grad_norm": 10.0 * engine.calls}}

    def fit(self, kl_ctl=0):
        for value in range(4):
            self.trainer.training_step(micro_batch(value), kl_ctl, value)
        return {"policy_loss": 1.0}

    monkeypatch.setattr(observe.DiPOPolicyActor, "fit", fit)
    made = object.__new__(observe.ObservedActor)
    args = SimpleNamespace(ckpt=SimpleNamespace(path=str(tmp_path / "ckpt")))
    made.__dict__.update(
        strategy=SimpleNamespace(args=args), actor=SimpleNamespace(model=engine), checkpoint_states={}, _rank=1,
        trainer=SimpleNamespace(training_step=training_step), seen=seen,
    )  # fmt: skip
    return made


def test_the_first_window_is_kept_and_nothing_is_changed(actor, tmp_path):
    original, state = actor.trainer.training_step, torch.get_rng_state()
    assert actor.fit(0.0) == {"policy_loss": 1.0}
    assert len(actor.seen) == 4, "every micro-batch reaches OpenRLHF"
    assert actor.trainer.training_step is original
    kept = torch.load(window_file(tmp_path, 1))
    assert [int(part["sequences"][0, 0]) for part in kept["micro_batches"]] == [0, 1]
    assert kept["grad_norm"] == 20.0
    assert "rollout_log_probs" not in kept["micro_batches"][0]
    assert torch.equal(torch.load(actor_file(tmp_path, 1, 1))["torch"], state)


def test_only_the_first_update_of_a_process_is_kept(actor, tmp_path):
    actor.fit(0.0)
    window_file(tmp_path, 1).unlink()
    actor.fit(0.0)
    assert not window_file(tmp_path, 1).exists()


def test_a_resumed_actor_keeps_its_random_state_alone(actor, tmp_path):
    actor.checkpoint_states = {"global_step": 2}
    actor.fit(0.0)
    assert actor_file(tmp_path, 3, 1).is_file()
    assert not window_file(tmp_path, 1).exists()


def test_host_memory_is_kept_with_a_checkpoint(actor, observe, tmp_path, monkeypatch):
    """The system's own reading is the check's on a real machine; pages of a busy one come and go beside the test."""
    memory = SimpleNamespace(rss=2**30)

    def grow(size):
        memory.rss += size

    monkeypatch.setattr(observe.psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: copy(memory)))
    monkeypatch.setattr(observe.DiPOPolicyActor, "offload_states", lambda self: grow(2**26))
    monkeypatch.setattr(observe.DiPOPolicyActor, "save_checkpoint", lambda self, tag: None)
    monkeypatch.setattr(
        observe.DiPOPolicyActor,
        "init_model_from_pretrained",
        lambda self: observe.ppo_actor.offload_deepspeed_states(None),
    )
    monkeypatch.setattr(observe.ppo_actor, "offload_deepspeed_states", lambda model: grow(2**27))
    actor.init_model_from_pretrained()
    actor.fit(0.0)
    actor.offload_states()
    actor.save_checkpoint("global_step1")
    host = json.loads(host_file(tmp_path, 1).read_text())
    assert host["offloaded"] == 2**27 + 2**26
    assert host["peak"] > host["offloaded"]


def test_the_control_sends_nothing(observe, monkeypatch):
    monkeypatch.setattr(observe.DiPOPolicyActor, "broadcast_to_vllm", lambda self: pytest.fail("sent"))
    assert object.__new__(observe.UnsentActor).broadcast_to_vllm() is None
