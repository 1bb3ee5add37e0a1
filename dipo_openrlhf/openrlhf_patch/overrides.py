"""Every method and function of OpenRLHF that this project overrides or calls, and the check of the installed release.

tests/openrlhf_patch/test_overrides.py compares OVERRIDES with our classes; ci/canary.py compares it with the sources of a
new release, so this module imports neither OpenRLHF nor torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from dataclasses import dataclass
from typing import Any

from dipo_eval.errors import UserError

OPENRLHF_VERSION = "0.11.2"


@dataclass(frozen=True)
class Override:
    """One method or function that this project replaces or calls.

    path: "module:Class.method" or "module:name". parameters: the names it is expected to take; None: not compared.
    """

    path: str
    parameters: tuple[str, ...] | None
    why: str

    @classmethod
    def parse(cls, owner: str, signature: str, why: str) -> Override:
        """`owner`: "module:" or "module:Class."; `signature`: "name(parameter, ...)", or "name" alone."""
        name, has_parameters, rest = signature.partition("(")
        names = tuple(part.strip() for part in rest.removesuffix(")").split(",") if part.strip())
        return cls(owner + name, names if has_parameters else None, why)


_TABLE: dict[str, dict[str, str]] = {
    "openrlhf.trainer.ppo_trainer:BasePPOTrainer.": {
        "restore_best_checkpoint_state(self, checkpoint_states)": "the perplexity queue is restored",
        "train_step(self, rollout_samples, global_step)": "DiPO's metrics join the step's",
        "ppo_train(self, global_steps)": "a diverged update ends the run before it is broadcast or saved",
        "broadcast_to_vllm(self)": "the engines' weights are numbered while TrainingActor's holds the lock",
        "save_logs_and_checkpoints(self, global_step, logs_dict, client_states)": (
            "the queue is saved, the completion marker written, old checkpoints pruned after the save"
        ),
    },
    "openrlhf.trainer.ppo_trainer:PPOTrainer.__ray_actor_class__.": {
        "__init__(self, pretrain, strategy, actor_model_group, critic_model_group, reward_model_group, "
        "reference_model_group, vllm_engines, generate_kwargs)": "experience maker and generator are replaced by ours",
        "get_max_steps(self)": "the schedule is as long as the run",
        "fit(self, global_step)": "the number of steps is logged first",
    },
    "openrlhf.trainer.ppo_trainer_async:PPOTrainerAsync.__ray_actor_class__.": {
        "__init__(self, pretrain, strategy, actor_model_group, critic_model_group, reward_model_group, "
        "reference_model_group, vllm_engines, generate_kwargs)": (
            "starts VLLMLock, GenerateSamplesActor and TrainingActor, which are replaced by ours before"
        ),
        "fit(self)": "the generator gets the step from which it resumes",
    },
    "openrlhf.trainer.ppo_trainer_async:GenerateSamplesActor.__ray_actor_class__.": {
        "__init__(self, pretrain, strategy, vllm_engines, vllm_lock, rollout_queue, rollout_slots, generate_kwargs)": (
            "its samples generator is replaced by ours"
        ),
        "get_max_steps(self)": "the schedule is as long as the run",
        "fit(self, episode, total_consumed_prompts)": "queue entries get the metadata of checkpoint and log",
        "load_state_dict(self, state_dict)": "carried-over samples are restored with the data loader",
    },
    "openrlhf.trainer.ppo_trainer_async:TrainingActor.__ray_actor_class__.": {
        "__init__(self, pretrain, strategy, actor_model_group, critic_model_group, reward_model_group, "
        "reference_model_group, vllm_engines, vllm_lock, rollout_queue, rollout_slots)": (
            "the experience maker is replaced by ours"
        ),
        "fit(self, global_step)": "the metadata is removed from the queue's entries",
        "broadcast_to_vllm(self)": "holds the lock while BasePPOTrainer's, which numbers the weights, runs",
    },
    "openrlhf.trainer.ppo_trainer_async:VLLMLock.__ray_actor_class__.": {
        "__init__(self)": "the lock also keeps the number of the engines' weights",
    },
    "openrlhf.trainer.ppo_utils.experience_maker:RemoteExperienceMaker.": {
        "__init__(self, actor_model_group, critic_model_group, reward_model_group, initial_model_group, "
        "kl_controller, strategy, tokenizer, kwargs)": "ours is built with the same arguments",
        "make_experience_batch(self, rollout_samples)": (
            "the batch becomes full optimizer windows of whole groups, without the rows that train nothing"
        ),
        "split_rollout_samples(self, rollout_samples)": (
            "every rank gets the same number of micro-batches, of no more tokens than allowed"
        ),
        "get_cumulative_returns(self, rewards, action_mask, gamma)": "the same sums without a loop over tokens",
        "_flatten_results(self, refs, duplicate_factor)": "token entropies are split from the actor's output",
        "compute_advantages_and_returns(self, experiences)": (
            "the method's advantages are added here: the last place where a prompt's group is still known"
        ),
    },
    "openrlhf.trainer.ppo_utils.samples_generator:": {
        "_collect_prompt_batch(dataloader_iter, num_prompts)": "called for the next prompts",
    },
    "openrlhf.trainer.ppo_utils.samples_generator:SamplesGenerator.": {
        "__init__(self, strategy, prompts_dataloader, eval_dataloader, tokenizer, vllm_engines)": (
            "ours is built with the same arguments"
        ),
        "generate_samples(self, generate_kwargs)": (
            "all-correct and all-incorrect groups are replaced, for dapo and dipo.keep_and_refill alone"
        ),
        "generate_eval_samples(self, generate_kwargs)": "an evaluation has seeds of its own",
        "_generate_vllm(self, dataloader_iter, num_prompts, dynamic_filtering, generate_kwargs)": (
            "rollouts come in the order of the data"
        ),
        "_dispatch_prompts_to_vllm(self, prompts, labels, images, generate_kwargs)": "called for further prompts",
        "_process_response_into_experience(self, response, generate_kwargs)": (
            "a sample gets the number of the weights it was generated with"
        ),
    },
    "openrlhf.trainer.ppo_utils.experience:": {
        "balance_experiences(experiences, args)": "ours returns the ranks' shares of the optimizer windows as they are",
    },
    "openrlhf.trainer.ppo_utils.replay_buffer:NaiveReplayBuffer.": {
        "__init__(self, sample_batch_size, limit, cpu_offload, packing_samples, dynamic_batch)": (
            "ours is built with the same arguments"
        ),
        "append(self, experience)": "a rank's share of an optimizer window is kept as it is",
        "clear(self)": "the windows are removed too",
        "collate_fn(self, batch)": "a micro-batch is cut from its window",
        "setup_dynamic_batch(self, strategy)": "the windows hold their micro-batches and denominators",
    },
    "openrlhf.trainer.ray.ppo_actor:ActorPPOTrainer.": {
        "ppo_train(self, kl_ctl)": "the logged gradient norm is the mean over the step's windows",
        "training_step(self, experience, kl_ctl, step, loss_batch_info)": (
            "logged losses are those of whole windows, and DeepSpeed knows their last micro-batch"
        ),
        "broadcast_to_vllm(self)": "the sync by single parameters that weight_sync replaces",
    },
    "openrlhf.models.loss:PolicyLoss.": {
        "__init__(self, clip_eps_low, clip_eps_high, dual_clip, token_level_loss, policy_loss_type, "
        "is_correction_level, is_correction_mode, is_correction_gating, is_correction_threshold)": (
            "cispo: built without PPO's clip"
        ),
        "forward(self, log_probs, old_log_probs, advantages, action_mask, rollout_log_probs, dp_size, "
        "batch_num_tokens, global_batch_size)": "cispo: importance weights are clipped, and no token is dropped",
    },
    "openrlhf.models.utils:": {
        "masked_mean(tensor, mask, dim)": "called for the share of clipped weights",
    },
    "openrlhf.utils.loss_utils:": {
        "get_loss_batch_info(strategy, loss_mask, replay_buffer, step, dynamic_batch, batch_num_tokens, "
        "global_batch_size)": "called for the number of data-parallel ranks",
    },
    "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.__ray_actor_class__.": {
        "init_model_from_pretrained(self, strategy, pretrain, max_steps, vllm_engines)": (
            "a resume restores the actor's random number generators"
        ),
        "fit(self, kl_ctl)": "skipped updates and non-finite weights are reported",
        "forward(self, sequences, action_mask, attention_mask, packed_seq_lens, mm_train_inputs_list)": (
            "returns token entropies too, for methods that need them alone"
        ),
        "broadcast_to_vllm(self)": "weights are sent in buckets",
        "reload_states(self)": "timed",
        "offload_states(self)": "timed",
        "save_checkpoint(self, tag, client_states, metric_value, metric_key)": (
            "a checkpoint holds the actor's random number generators"
        ),
    },
    "openrlhf.utils.deepspeed.deepspeed:DeepspeedStrategy.": {
        "_ds_init_train_model(self, model, cfg)": "with LoRA a checkpoint holds the adapters alone",
        "save_model(self, model, tokenizer, output_dir, kwargs)": "with LoRA the merged model is exported",
    },
    "openrlhf.utils.deepspeed.deepspeed:": {
        "get_scheduler": "a learning rate stays where its schedule ends",  # imported there, from transformers
    },
    "openrlhf.trainer.ray.launcher:BaseModelActor.": {
        "execute_batch(self, method_name, all_data, start_idx, end_idx)": "timed",
    },
    "openrlhf.trainer.ray.utils:": {
        "get_physical_gpu_id()": "called to match an actor and its engine on one GPU",
    },
    "openrlhf.utils.distributed_util:": {
        "torch_dist_barrier_and_cuda_sync()": "called at the end of a weight sync",
    },
    "openrlhf.trainer.ray.vllm_worker_wrap:WorkerWrap.": {
        "init_process_group(self, master_address, master_port, rank_offset, world_size, group_name, backend, use_ray)": (
            "buckets of weights are received on its group"
        ),
    },
    "openrlhf.trainer.ray.vllm_engine:": {
        "batch_vllm_engine_call(engines, method_name, args, rank_0_only, kwargs)": "called to wake or pause engines",
    },
    "openrlhf.trainer.ray.vllm_engine:RolloutRayActor.__ray_actor_class__.": {
        "__init__(self, args, bundle_indices, agent_func_path, remote_rm_url, mm_pad_token_ids, kwargs)": (
            "seeded engines on CPU run without chunked prefill"
        ),
        "generate(self, prompt_token_ids, sampling_params, multi_modal_data)": (
            "every turn gets its own seed; a token without a log-probability ends the run"
        ),
        "generate_responses(self, prompt, label, sampling_params, max_length, hf_tokenizer, num_samples, images)": (
            "every sample gets its own seed"
        ),
        "sleep(self, level)": "timed",
        "wake_up(self, tags)": "timed",
        "get_num_unfinished_requests(self)": "called to see whether an engine is alive",
    },
}  # fmt: skip

OVERRIDES = tuple(
    Override.parse(owner, signature, why)
    for owner, methods in _TABLE.items()
    for signature, why in methods.items()
)


class ActorFactory:
    """Stands in OpenRLHF's module for one of its Ray actor classes: starts ours, with further named arguments."""

    def __init__(self, actor_class: Any, **extra: Any) -> None:
        """`actor_class`: what `ray.remote` returned."""
        self.actor_class = actor_class
        self.extra = extra

    def options(self, **options: Any) -> ActorFactory:
        return ActorFactory(self.actor_class.options(**options), **self.extra)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """`extra` replaces OpenRLHF's arguments of the same names."""
        return self.actor_class.remote(*args, **{**kwargs, **self.extra})


def installed_version() -> str:
    """Version of the installed OpenRLHF. Raises UserError when it is missing."""
    try:
        return importlib.metadata.version("openrlhf")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"OpenRLHF is not installed: run `make setup` (CPU) or `make gpu`, which install {OPENRLHF_VERSION}"
        ) from None


def check_version() -> None:
    """Raise UserError unless exactly the OpenRLHF release is installed whose overrides this project knows."""
    found = installed_version()
    if found != OPENRLHF_VERSION:
        raise UserError(
            f"OpenRLHF {found} is installed, but the patch is for {OPENRLHF_VERSION}: "
            f"pip install --no-deps openrlhf=={OPENRLHF_VERSION}"
        )


def check_overrides() -> None:
    """Raise UserError when an overridden method is gone or has another signature. Imports OpenRLHF (seconds)."""
    for override in OVERRIDES:
        target = resolve(override.path)
        if not callable(target):
            raise UserError(
                f"OpenRLHF has no {override.path} any more ({override.why}): install {OPENRLHF_VERSION}"
            )
        # `ray.remote` adds a tracing parameter to every method of an actor class.
        found = tuple(name for name in inspect.signature(target).parameters if name != "_ray_trace_ctx")
        if override.parameters not in (None, found):
            raise UserError(
                f"OpenRLHF's {override.path} takes {found}, expected {override.parameters}: install {OPENRLHF_VERSION}"
            )


def resolve(path: str) -> object:
    """The object at "module:Class.method", or None."""
    module, _, qualified = path.partition(":")
    target: object = importlib.import_module(module)
    for name in qualified.split("."):
        target = getattr(target, name, None)
    return target
