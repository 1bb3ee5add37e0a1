"""What OpenRLHF, DeepSpeed or vLLM assert only once a run has its GPUs, refused before anything starts.

Sources: openrlhf/cli/train_ppo_ray.py, train and its main block; openrlhf/trainer/ray/launcher.py, RayActorGroup;
openrlhf/utils/deepspeed/deepspeed.py, DeepspeedStrategy; openrlhf/datasets/utils.py, blending_datasets;
deepspeed/runtime/zero/stage3.py, DeepSpeedZeroOptimizer_Stage3. What is about sharing GPUs is in placement/cluster.py.

What would run and be wrong is refused as well. OpenRLHF keeps its moving average in bfloat16, which rounds most of a
small step away; and what openrlhf/utils/deepspeed/deepspeed.py, DeepspeedStrategy.moving_average writes to the weights
that deepspeed/runtime/zero/partition_parameters.py, GatheredParameters gathers without a `modifier_rank` is dropped.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

from dipo_eval.errors import UserError
from dipo_eval.secrets.errors import short_repr
from dipo_openrlhf.recipe.defaults import TOOL_AGENT
from dipo_openrlhf.recipe.placement import actor_gpus
from dipo_openrlhf.recipe.recipe import Recipe


def check_openrlhf(recipe: Recipe) -> None:
    """Raise UserError on the first setting that would end the run after its start."""
    for problems in (_numbers, _batches, _deepspeed, _data):
        for key, reason in problems(recipe):
            place = recipe.place(key)
            raise UserError(f"{place}: {key}: {short_repr(recipe.get(key))}: {reason}")
    _check_engine_batch(recipe)


def _check_engine_batch(recipe: Recipe) -> None:
    """vLLM refuses fewer tokens than sequences (vllm/config/scheduler.py, SchedulerConfig.verify_max_model_len)."""
    batch = recipe.engine_batch
    sequences, tokens = batch.get("max_num_seqs", 1), batch.get("max_num_batched_tokens", sys.maxsize)
    if tokens < sequences:
        place = recipe.where.get("run.max_num_batched_tokens", "default of this project")
        raise UserError(
            f"{place}: run.max_num_batched_tokens: {tokens}: must be at least run.max_num_seqs, {sequences}"
        )


def _numbers(recipe: Recipe) -> Iterator[tuple[str, str]]:
    get = recipe.get
    if len(get("algo.advantage.is_correction_threshold")) not in (1, 2):
        yield "algo.advantage.is_correction_threshold", "takes HIGH, or LOW and HIGH"
    low, high = get("algo.dynamic_filtering_range")
    if get("algo.dynamic_filtering_enable") and low >= high:
        yield "algo.dynamic_filtering_range", "the first must be below the second"
    low, high = get("reward.clip_range")
    if low >= high:
        yield "reward.clip_range", "the first must be below the second"


def _batches(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The actor's ranks, and enough for each of them to score."""
    get = recipe.get
    parallel = get("ds.ring_attn_size") * get("ds.tensor_parallel_size")
    gpus = actor_gpus(recipe)
    if gpus % parallel:
        key = "ds.ring_attn_size" if get("ds.ring_attn_size") > 1 else "ds.tensor_parallel_size"
        yield (
            key,
            f"ds.ring_attn_size * ds.tensor_parallel_size = {parallel} must divide the actor's GPUs, {gpus}",
        )
    ranks = gpus // parallel
    samples, micro = (
        get("rollout.batch_size") * get("rollout.n_samples_per_prompt"),
        get("rollout.micro_batch_size"),
    )
    if samples // micro < ranks:
        yield (
            "rollout.micro_batch_size",
            f"a step's {samples} samples are {samples // micro} micro-batches, fewer than the actor's {ranks} ranks: at "
            f"most {samples // ranks}",
        )


def _deepspeed(recipe: Recipe) -> Iterator[tuple[str, str]]:
    get = recipe.get
    stage, dtype = get("ds.zero_stage"), get("ds.param_dtype")
    if get("ds.tensor_parallel_size") > 1 and dtype != "bf16":
        yield "ds.tensor_parallel_size", f"needs ds.param_dtype: bf16, not {dtype}"
    if get("ds.tensor_parallel_size") > 1 and stage == 3:
        yield (
            "ds.tensor_parallel_size",
            "with ds.zero_stage 3 OpenRLHF cannot gather the weights for the engines: use ds.zero_stage: 2",
        )
    if get("ds.load_in_4bit"):
        yield (
            "ds.load_in_4bit",
            "the engines cannot load weights of 4 bits: leave it out, or train an adapter (+lora)",
        )
    if get("vllm.sync_backend") != "nccl" and not recipe.on_cpu:
        yield "vllm.sync_backend", "must be nccl on GPUs: OpenRLHF makes NCCL's group whatever it is called"
    if get("train.enable_ema"):
        yield (
            "train.enable_ema",
            "OpenRLHF's moving average hardly follows the policy, and with ds.zero_stage 3 not at all, so that the "
            "starting model would be exported and evaluated: leave it out",
        )
    if get("actor.optim") == "muon" and stage == 3:
        yield (
            "actor.optim",
            "DeepSpeed has no Muon with the reduce-scatter of ds.zero_stage 3: use ds.zero_stage: 2",
        )
    if get("ds.enable_sleep") and stage == 0:
        yield (
            "ds.enable_sleep",
            "needs ds.zero_stage 1, 2 or 3: without it DeepSpeed cannot move its state to the host",
        )


def _data(recipe: Recipe) -> Iterator[tuple[str, str]]:
    get = recipe.get
    if get("data.max_images_per_prompt") > 0 and (
        get("ds.packing_samples") or get("train.dynamic_batch_enable")
    ):
        yield (
            "data.max_images_per_prompt",
            "images do not go with ds.packing_samples or train.dynamic_batch_enable",
        )
    names, shares = get("data.prompt_dataset").split(","), get("data.prompt_probs")
    if shares is not None and len(shares.split(",")) != len(names):
        yield "data.prompt_probs", f"has {len(shares.split(','))} values for {len(names)} data sets"
    if shares is not None and not _are_shares(shares):
        yield (
            "data.prompt_probs",
            "must be a share of the prompts for each data set, 1 in all, such as 0.7,0.3",
        )
    agent = get("train.agent_func_path")
    if agent and not agent.endswith(".py"):
        yield (
            "train.agent_func_path",
            f"must be {TOOL_AGENT.stem}, or a Python file (.py) that defines AgentExecutor",
        )
    if agent == str(TOOL_AGENT) and get("data.apply_chat_template"):
        yield "data.apply_chat_template", "must be false: the tool agent applies the template, with the tools"
    if agent and get("reward.overlong_buffer_len") is not None:
        yield (
            "reward.overlong_buffer_len",
            "does not go with train.agent_func_path: it would count what the tools say as the model's tokens, and an "
            "episode against rollout.max_new_tokens, which limits one message",
        )


def _are_shares(text: str) -> bool:
    """As datasets.interleave_datasets takes them, which draws with numpy."""
    try:
        shares = [float(one) for one in text.split(",")]
    except ValueError:
        return False
    return all(share >= 0 for share in shares) and abs(sum(shares) - 1) < 1e-6


def needed_packages(recipe: Recipe) -> dict[str, str]:
    """Import name of what a setting needs beside OpenRLHF's own requirements -> that setting."""
    get = recipe.get
    found = {}
    if get("ds.ring_attn_size") > 1:
        found["ring_flash_attn"] = "ds.ring_attn_size"
    if get("ds.use_liger_kernel"):
        found["liger_kernel"] = "ds.use_liger_kernel"
    if get("use_ms"):
        found["modelscope"] = "use_ms"
    return found


def check_packages(recipe: Recipe) -> None:
    """Raise UserError for a setting whose package is not installed here: where the run is to start."""
    for package, key in needed_packages(recipe).items():
        if importlib.util.find_spec(package) is None:
            place = recipe.place(key)
            name = package.replace("_", "-")
            raise UserError(
                f"{place}: {key}: {short_repr(recipe.get(key))}: needs the package {name}, which is not installed here: "
                f"`pip install {name}`, or leave the setting out"
            )
