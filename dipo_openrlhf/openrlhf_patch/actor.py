"""OpenRLHF's policy actor with our update (update.py), an optimizer that needs no build, weights sent in buckets, exact
resume, detection of lost updates, and token entropies.

Dropout depends on random number generators, so a checkpoint holds them too: one file a rank, in DeepSpeed's folder of
the step.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from openrlhf.trainer.ray.ppo_actor import PolicyModelActor

from dipo_openrlhf.openrlhf_patch import fused_adam, policy_loss, schedule, update
from dipo_openrlhf.openrlhf_patch.divergence import lost_updates
from dipo_openrlhf.openrlhf_patch.lora import merged_parameters
from dipo_openrlhf.openrlhf_patch.observe.rank_meter import RankMeter, RankReport
from dipo_openrlhf.openrlhf_patch.weight_sync.sender import Weights, full_parameters, send_weights

Base: Any = PolicyModelActor.__ray_actor_class__


class DiPOPolicyActor(Base):
    """PolicyModelActor that saves and restores its generators, and checks its weights after a step."""

    def init_model_from_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """OpenRLHF's, with our update and optimizer; its resume loads the step that `latest` names."""
        fused_adam.install()
        update.install()
        policy_loss.install()
        schedule.install()
        super().init_model_from_pretrained(*args, **kwargs)
        options, folder = self.strategy.args, self._state_folder()
        if not options.ckpt.load_enable or not (folder / "latest").is_file():
            return
        saved = self._rng_file((folder / "latest").read_text(encoding="utf-8").strip())
        if saved.is_file():  # not in a checkpoint of an earlier version
            set_rng_state(torch.load(saved, weights_only=True))

    def fit(self, kl_ctl: float = 0) -> dict[str, Any]:
        """OpenRLHF's status, and the updates lost on any rank (divergence.py)."""
        engine, buffer = self.actor.model, self.trainer.replay_buffer
        schedule.advance(self.actor_scheduler, buffer.windows[0].place)
        skipped = engine.skipped_steps
        self.meter.tokens += self.trainer.max_epochs * sum(map(sum, buffer.lengths))
        with self.meter("update"):
            status: dict[str, Any] = super().fit(kl_ctl)
        lost = self.strategy.all_reduce(lost_updates(engine, skipped), op="max")
        return {**status, **{name: count for name, count in lost.items() if count}}

    def broadcast_to_vllm(self) -> None:
        """In buckets, where OpenRLHF's calls every engine for each parameter."""
        with self.meter("sync"):
            send_weights(self.trainer, self.synced_weights())

    def synced_weights(self) -> Weights:
        """What the engines get: names of the Hugging Face checkpoint, and whole tensors; with LoRA the merged ones."""
        if self.strategy.args.ds.lora.rank:
            return merged_parameters(self.actor.model.module)
        return full_parameters(self.actor, self.strategy.args)

    def execute_batch(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        """OpenRLHF's, which calls the method for each micro-batch."""
        with self.meter(method_name):
            return super().execute_batch(method_name, *args, **kwargs)

    def reload_states(self) -> None:
        """OpenRLHF's, timed."""
        with self.meter("reload"):
            super().reload_states()

    def offload_states(self) -> None:
        """OpenRLHF's, timed."""
        with self.meter("offload"):
            super().offload_states()

    def take_report(self) -> RankReport:
        """What the rank has done since the last call."""
        return self.meter.take()

    @functools.cached_property
    def meter(self) -> RankMeter:
        return RankMeter()

    def save_checkpoint(self, tag: str, *args: Any, **kwargs: Any) -> None:
        with self.meter("save"):
            super().save_checkpoint(tag, *args, **kwargs)
        if not self.disable_ds_ckpt:
            torch.save(rng_state(), self._rng_file(tag))

    def _state_folder(self) -> Path:
        return Path(self.strategy.args.ckpt.path) / "_actor"

    def _rng_file(self, tag: str) -> Path:
        return self._state_folder() / tag / f"rng_rank{self._rank}.pt"


class ScoredActions(NamedTuple):
    """What the training policy says of sampled tokens: log_probs[B, A] and entropy[B, A] in nats, on CPU."""

    log_probs: torch.Tensor
    entropy: torch.Tensor


class EntropyPolicyActor(DiPOPolicyActor):
    """An actor whose `forward` returns ScoredActions, from the one forward pass that it makes anyway.

    Used only for methods that need it: a token's entropy is a softmax over the whole vocabulary.
    """

    def forward(
        self,
        sequences: torch.Tensor,
        action_mask: torch.Tensor,
        attention_mask: torch.Tensor,
        packed_seq_lens: Any = None,
        mm_train_inputs_list: Any = None,
    ) -> ScoredActions:
        """As OpenRLHF's. Raises RuntimeError for a model that takes images."""
        if getattr(self.actor, "is_vlm", False):
            raise RuntimeError(
                "token entropies of a model with images are not supported: use another dipo.method"
            )
        device = torch.cuda.current_device()
        self.actor.eval()
        with torch.no_grad():
            log_probs, output = self.actor(
                sequences.to(device),
                action_mask.to(device),
                attention_mask.to(device),
                ring_attn_group=self.strategy.ring_attn_group,
                return_output=True,
                return_entropy=True,
            )
        self.actor.train()
        entropy = output.entropy[:, -action_mask.shape[1] :]
        return ScoredActions(log_probs.to("cpu"), entropy.float().to("cpu"))


def rng_state() -> dict[str, Any]:
    """The state of this process's generators (Python, numpy, torch): plain values and tensors, for torch.save."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # else it would open a context on every GPU
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore every generator from `state`; CUDA's only where the number of devices is the same."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))  # a file may have made lists of the tuples
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    cuda = state.get("cuda", [])
    if cuda and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([each.cpu() for each in cuda])
