"""What an estimate of memory and time starts from: the recipe's sizes and named assumptions.

memory.py and step_time.py compute; every figure is a Line that carries its arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.estimate.adapters import Adapters, adapters_of
from dipo_openrlhf.estimate.model_shapes import ModelShape, shape_of
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.recipe.placement import ACTOR, needs_of, placement, shares_gpus
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.schema import OFFLINE_BATCH

GIB = 2**30


@dataclass(frozen=True)
class Line:
    """One figure of an estimate: bytes, seconds or a count, and the arithmetic behind it."""

    what: str
    value: float
    how: str


@dataclass(frozen=True)
class Workload:
    """The sizes of one recipe, as plain numbers."""

    shape: ModelShape
    actor_gpus: int
    actor_gpus_per_node: int  # of the node that has most of the actor
    engines: int
    engine_tp: int
    max_num_seqs: int  # that an engine decodes at once
    batched_tokens: int  # of one forward pass of an engine
    trainer_tp: int
    zero_stage: int
    adam_offload: bool
    gradient_bytes: int
    checkpointing: bool
    shared: bool
    engine_sleep: bool
    trainer_sleep: bool
    utilization: float
    reference: bool
    asynchronous: bool
    train_tokens: int  # of one micro-batch on one GPU, in the update
    score_tokens: int  # the same when old log-probabilities are computed
    max_len: int
    prompts_a_step: int
    group: int
    refill: float  # further prompts a step, at most, in units of prompts_a_step
    train_batch: int
    epochs: int
    episodes: int
    prompts: int  # rows of the data, 0 where not known
    prompt_tokens: int
    response_tokens: int
    checkpoints: int
    exports: float  # Hugging Face exports that lie on the disk at once; inf: all of a run whose length is not known
    flash_attn: bool = True  # whose cross-entropy computes the loss in place
    adapters: Adapters | None = None  # of LoRA; None: the whole model is trained

    @property
    def ranks(self) -> int:
        """Ranks over which ZeRO divides what it divides."""
        return max(1, self.actor_gpus // self.trainer_tp)

    @property
    def rank_parameters(self) -> float:
        """Parameters of one tensor-parallel part of the model."""
        return self.shape.parameters / self.trainer_tp

    @property
    def trained_parameters(self) -> float:
        """Those of rank_parameters, or of adapters beside them, that have gradients and optimizer state."""
        return self.adapters.parameters(self.shape) if self.adapters else self.rank_parameters

    @property
    def training_flops(self) -> int:
        """For one parameter and token: forward 2, again for checkpointing, and backward 2 for the activations' gradients
        and 2 for the weights', which the frozen weights under adapters have none of.
        """
        return 4 + 2 * self.checkpointing + 2 * (self.adapters is None)


def workload_of(recipe: Recipe, assume: Assumptions) -> Workload:
    """The sizes of a validated recipe. Raises UserError for what the arithmetic does not cover."""
    get = recipe.get
    max_len = get("data.max_len")
    new_tokens = get("rollout.max_new_tokens") or max_len
    dynamic = get("train.dynamic_batch_enable")
    train_tokens = get("train.max_tokens_per_gpu") if dynamic else get("train.micro_batch_size") * max_len
    score_tokens = get("rollout.max_tokens_per_gpu") or train_tokens
    if not dynamic:
        score_tokens = get("rollout.micro_batch_size") * max_len
    divisor = 1 if dynamic else get("ds.ring_attn_size")  # dynamic batches count tokens on one GPU
    batch = {**OFFLINE_BATCH, **recipe.engine_batch}
    refills = recipe.dipo.keep_and_refill or methods.get(recipe.dipo.method).dynamic_sampling
    shape = shape_of(get("actor.model_name_or_path"))
    return Workload(
        shape=shape,
        actor_gpus=placement(recipe).actor,
        actor_gpus_per_node=max(node[ACTOR] for node in needs_of(recipe).layout.parts_by_node),
        engines=get("vllm.num_engines"),
        engine_tp=get("vllm.tensor_parallel_size"),
        max_num_seqs=batch["max_num_seqs"],
        batched_tokens=batch["max_num_batched_tokens"],
        trainer_tp=get("ds.tensor_parallel_size"),
        zero_stage=get("ds.zero_stage"),
        adam_offload=get("ds.adam_offload"),
        gradient_bytes=4 if get("ds.grad_accum_dtype") == "fp32" else 2,
        checkpointing=get("actor.gradient_checkpointing_enable"),
        shared=shares_gpus(recipe),
        engine_sleep=get("vllm.enable_sleep") and shares_gpus(recipe),
        trainer_sleep=get("ds.enable_sleep"),
        utilization=get("vllm.gpu_memory_utilization"),
        reference=get("algo.kl.init_coef") > 0,
        asynchronous=get("train.async_enable"),
        train_tokens=max(train_tokens, max_len) // divisor,
        score_tokens=max(score_tokens, max_len) // divisor,
        max_len=max_len,
        prompts_a_step=get("rollout.batch_size"),
        group=get("rollout.n_samples_per_prompt"),
        refill=recipe.dipo.refill_cap if refills else 0.0,
        train_batch=get("train.batch_size"),
        epochs=get("train.max_epochs"),
        episodes=get("train.num_episodes"),
        prompts=assume.prompts or _rows(get("data.prompt_dataset"), get("data.max_samples")),
        prompt_tokens=assume.prompt_tokens or max(1, (max_len - new_tokens) // 4),
        response_tokens=assume.response_tokens or max(1, new_tokens // 4),
        checkpoints=get("ckpt.max_num"),
        exports=_exports(recipe, assume),
        flash_attn=uses_flash_attn(recipe),
        adapters=adapters_of(recipe, shape),
    )


def _exports(recipe: Recipe, assume: Assumptions) -> float:
    """As record/checkpoints.py, prune keeps them: run.keep_exports, and those that wait for a watcher after the run."""
    get = recipe.get
    every = get("ckpt.save_steps")
    if every <= 0 or not get("ckpt.save_hf"):
        return 0
    prompts = assume.prompts or _rows(get("data.prompt_dataset"), get("data.max_samples"))
    steps = math.ceil(prompts / get("rollout.batch_size")) * get("train.num_episodes")
    saves = math.ceil(steps / every) if prompts else math.inf
    kept = get("ckpt.max_num") if recipe.run.keep_exports is None else recipe.run.keep_exports
    waiting = 0.0
    if recipe.starts_watcher and recipe.watch.when == "after":
        waiting = math.ceil(saves / recipe.watch.every) if prompts else math.inf
    if kept <= 0 or get("ckpt.max_num") <= 0:
        return saves
    return min(saves, max(kept, get("ckpt.max_num")) + 1 + waiting)


def _rows(dataset: str, limit: int) -> int:
    path = Path(dataset).expanduser()
    if path.suffix != ".jsonl" or not path.is_file():
        return 0
    with open(path, "rb") as file:
        return min(limit, sum(1 for line in file if line.strip()))


def uses_flash_attn(recipe: Recipe) -> bool:
    """Whether the training calls flash-attn; packing and dynamic batches force it (openrlhf/cli/train_ppo_ray.py)."""
    packs = recipe.get("ds.packing_samples") or recipe.get("train.dynamic_batch_enable")
    return bool(packs or "flash_attention" in recipe.get("ds.attn_implementation"))
