"""The range of every number that OpenRLHF takes, and the words of what has no choices of its own: one schema.

OpenRLHF declares types alone; a value out of range is found by whatever divides by it or asserts on it, often after the
model and the engines are up, or never (a learning rate of nan). A test requires an entry for every number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, without those two where `above` or `below` says so; `also` is one more that is valid.

    `why`: after the rule, in the message.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    also: float | None = None
    infinite: bool = False
    why: str = ""

    def holds(self, value: float) -> bool:
        if math.isnan(value) or (math.isinf(value) and not self.infinite):
            return False
        if value == self.also:
            return True
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return over and under

    @property
    def rule(self) -> str:
        """What the value must be, for a message."""
        parts = []
        if not math.isinf(self.low):
            parts.append(f"{'above' if self.above else 'at least'} {self.low:.10g}")
        if not math.isinf(self.high):
            parts.append(f"{'below' if self.below else 'at most'} {self.high:.10g}")
        text = f"must be {' and '.join(parts) or 'a finite number'}"
        if self.also is not None:
            text += f", or {self.also:g}"
        return f"{text}: {self.why}" if self.why else text


def _above(low: float, high: float = math.inf, **more: object) -> Range:
    return Range(low, high, above=True, **more)  # type: ignore[arg-type]


_FROM_1, _FROM_0, _POSITIVE, _SHARE, _FINITE = Range(1), Range(0), _above(0), Range(0, 1), Range()
_STEPS = Range(1, also=-1, why="-1 is never")
_MOMENTUM = Range(0, 1, below=True)
_LR = Range(0, 1, why="1e-6 is usual for full fine-tuning")

# More than any cluster has: what is placed is counted one by one.
MOST_NODES, MOST_GPUS_PER_NODE, MOST_ENGINES = 10_000, 128, 100_000

_PLACES = {
    f"{part}.{key}": Range(1, most)
    for part in ("ref", "reward", "actor", "critic")
    for key, most in (("num_nodes", MOST_NODES), ("num_gpus_per_node", MOST_GPUS_PER_NODE))
}
_OPTIMIZERS = {
    f"{part}.{key}": allowed
    for part in ("actor", "critic")
    for key, allowed in {
        "muon.lr": _SHARE,
        "muon.momentum": _MOMENTUM,
        "muon.ns_steps": _FROM_1,
        "adam.lr": _LR,
        "adam.betas": _MOMENTUM,
        "adam.eps": _POSITIVE,
        "adam.weight_decay": _FROM_0,
        "lr_warmup_ratio": _SHARE,
        "min_lr_ratio": _SHARE,
        "max_norm": _FROM_0,
    }.items()
}

RANGES: dict[str, Range] = {
    **_PLACES,
    **_OPTIMIZERS,
    "vllm.num_engines": Range(1, MOST_ENGINES, why="rollouts need at least one vLLM engine"),
    "vllm.tensor_parallel_size": Range(1, 1_024),
    "vllm.gpu_memory_utilization": _above(0, 1),
    "algo.advantage.is_correction_threshold": _POSITIVE,
    "algo.advantage.lambd": _SHARE,
    "algo.advantage.gamma": _SHARE,
    "algo.kl.target": _POSITIVE,
    "algo.kl.horizon": _FROM_1,
    "algo.kl.init_coef": _FROM_0,
    "algo.dynamic_filtering_range": _FINITE,
    "train.async_queue_size": Range(1, why="it is how many batches may wait to be trained"),
    "train.ema_beta": _SHARE,
    "train.max_tokens_per_gpu": _FROM_1,
    "train.num_episodes": _FROM_1,
    "train.max_epochs": _FROM_1,
    "train.micro_batch_size": _FROM_1,
    "train.batch_size": _FROM_1,
    "train.seed": Range(0, 2**32 - 1),
    "eval.steps": _STEPS,
    "eval.temperature": _FROM_0,
    "eval.n_samples_per_prompt": _FROM_1,
    "ckpt.save_steps": _STEPS,
    "ckpt.max_num": Range(0, why="0 keeps all"),
    "ckpt.max_mem": _above(0, infinite=True),
    "logger.logging_steps": _FROM_1,
    "local_rank": Range(-1),
    "ds.zero_stage": Range(0, 3),
    "ds.zpg": _FROM_1,
    "ds.tensor_parallel_size": _FROM_1,
    "ds.ring_attn_size": _FROM_1,
    "ds.ring_attn_head_stride": _FROM_1,
    "ds.lora.rank": Range(0, why="0 is full fine-tuning"),
    "ds.lora.alpha": _above(0, why="an adapter counts with ds.lora.alpha / ds.lora.rank"),
    "ds.lora.dropout": _MOMENTUM,
    "data.dataloader_num_workers": _FROM_0,
    "data.max_len": Range(2),
    "data.max_samples": _FROM_1,
    "data.max_images_per_prompt": _FROM_0,
    "rollout.max_tokens_per_gpu": _FROM_1,
    "rollout.batch_size": _FROM_1,
    "rollout.vllm_generate_batch_size": _FROM_1,
    "rollout.micro_batch_size": _FROM_1,
    "rollout.max_new_tokens": _FROM_1,
    "rollout.top_p": _above(0, 1),
    "rollout.temperature": _above(0, why="the actor divides its logits by it"),
    "rollout.n_samples_per_prompt": _FROM_1,
    "actor.eps_clip": _above(0, 1),
    "actor.eps_clip_low_high": _FROM_0,
    "actor.dual_clip": _above(1),
    "actor.aux_loss_coef": _FROM_0,
    "actor.entropy_coef": _FINITE,
    "critic.value_clip": _POSITIVE,
    "critic.freezing_steps": Range(-1),
    "reward.clip_range": Range(infinite=True),
    "reward.overlong_buffer_len": _POSITIVE,
    "reward.overlong_penalty_factor": _FROM_0,
    "reward.stop_properly_penalty_coef": Range(high=1, why="below 0 it is the reward itself"),
}

# What transformers/optimization.py, get_scheduler makes without arguments that OpenRLHF does not pass on.
_SCHEDULERS = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
    "cosine_with_min_lr", "cosine_warmup_with_min_lr",
)  # fmt: skip
WORDS: dict[str, tuple[str, ...]] = {
    "actor.lr_scheduler": _SCHEDULERS,
    "critic.lr_scheduler": _SCHEDULERS,
    "vllm.sync_backend": ("nccl", "gloo"),
    "ds.grad_accum_dtype": ("fp32", "bf16", "fp16"),
}


def range_problem(key: str, value: object) -> str:
    """What is wrong with one value of an OpenRLHF argument, that has its type already; empty where nothing is."""
    if isinstance(value, str):
        words = WORDS.get(key, ())
        return f"must be one of {', '.join(words)}" if words and value not in words else ""
    allowed = RANGES.get(key)
    if allowed is None or not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    return "" if allowed.holds(value) else allowed.rule
