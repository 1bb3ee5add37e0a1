"""Refuse to run on an OpenRLHF whose overrides were not checked."""

from __future__ import annotations

import importlib.metadata
import inspect
from dataclasses import dataclass

from dipo_eval.errors import UserError

OPENRLHF_VERSION = "0.11.2"


@dataclass(frozen=True)
class Override:
    """One method of OpenRLHF that this project overrides or calls, with the parameters it relies on."""

    path: str
    parameters: tuple[str, ...]
    why: str


_TRAINER = "openrlhf.trainer.ppo_trainer:BasePPOTrainer"
_GENERATOR = "openrlhf.trainer.ppo_utils.samples_generator:SamplesGenerator"
_ENGINE = "openrlhf.trainer.ray.vllm_engine:RolloutRayActor.__ray_actor_class__"
_MAKER = "openrlhf.trainer.ppo_utils.experience_maker:RemoteExperienceMaker"
_ASYNC = "openrlhf.trainer.ppo_trainer_async"

OVERRIDES = (
    Override(
        f"{_MAKER}.compute_advantages_and_returns",
        ("self", "experiences"),
        "DiPO's advantages are added here: the last place where a prompt's group is still known",
    ),
    Override(
        f"{_MAKER}.make_experience_batch",
        ("self", "rollout_samples"),
        "rows that train nothing are dropped, and a batch is padded to whole optimizer windows",
    ),
    Override(
        f"{_MAKER}.split_rollout_samples",
        ("self", "rollout_samples"),
        "a batch of odd size gives every rank as many micro-batches",
    ),
    Override(
        f"{_MAKER}._flatten_results",
        ("self", "refs", "duplicate_factor"),
        "token entropies are taken out of what the actor's forward returned",
    ),
    Override(
        "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.__ray_actor_class__.forward",
        ("self", "sequences", "action_mask", "attention_mask", "packed_seq_lens", "mm_train_inputs_list"),
        "returns token entropies too, for rl_zvp and entropy_advantage alone",
    ),
    Override(
        "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.__ray_actor_class__.init_model_from_pretrained",
        ("self", "strategy", "pretrain", "max_steps", "vllm_engines"),
        "a resume restores the actor's random number generators",
    ),
    Override(
        "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.__ray_actor_class__.fit",
        ("self", "kl_ctl"),
        "skipped updates and weights that are not finite are told",
    ),
    Override(
        "openrlhf.trainer.ray.ppo_actor:PolicyModelActor.__ray_actor_class__.save_checkpoint",
        ("self", "tag", "client_states", "metric_value", "metric_key"),
        "a checkpoint holds the actor's random number generators",
    ),
    Override(
        f"{_ENGINE}.generate_responses",
        ("self", "prompt", "label", "sampling_params", "max_length", "hf_tokenizer", "num_samples", "images"),
        "every sample gets a seed of its own",
    ),
    Override(
        f"{_ENGINE}.generate",
        ("self", "prompt_token_ids", "sampling_params", "multi_modal_data"),
        "every turn gets a seed of its own",
    ),
    Override(
        f"{_GENERATOR}.generate_samples",
        ("self", "generate_kwargs"),
        "replaces all-correct and all-incorrect groups with a cap, for dapo and dipo.keep_and_refill alone",
    ),
    Override(
        f"{_GENERATOR}._generate_vllm",
        ("self", "dataloader_iter", "num_prompts", "dynamic_filtering", "generate_kwargs"),
        "rollouts come in the order of the data",
    ),
    Override(
        f"{_GENERATOR}._dispatch_prompts_to_vllm",
        ("self", "prompts", "labels", "images", "generate_kwargs"),
        "called for further prompts",
    ),
    Override(
        f"{_MAKER}.__init__",
        (
            "self",
            "actor_model_group",
            "critic_model_group",
            "reward_model_group",
            "initial_model_group",
            "kl_controller",
            "strategy",
            "tokenizer",
            "kwargs",
        ),
        "the experience maker is rebuilt as DiPO's with the same arguments",
    ),
    Override(
        f"{_TRAINER}.restore_best_checkpoint_state",
        ("self", "checkpoint_states"),
        "the perplexity queue is restored from the checkpoint",
    ),
    Override(
        f"{_TRAINER}.save_logs_and_checkpoints",
        ("self", "global_step", "logs_dict", "client_states"),
        "the queue is saved, the completion marker written, old checkpoints pruned after the save",
    ),
    Override(
        f"{_TRAINER}.train_step",
        ("self", "rollout_samples", "global_step"),
        "DiPO's metrics join the step's",
    ),
    Override(
        f"{_TRAINER}.broadcast_to_vllm",
        ("self",),
        "the engines' weights are numbered under the lock that TrainingActor's own takes",
    ),
    Override(
        f"{_ASYNC}:PPOTrainerAsync.__ray_actor_class__.__init__",
        (
            "self",
            "pretrain",
            "strategy",
            "actor_model_group",
            "critic_model_group",
            "reward_model_group",
            "reference_model_group",
            "vllm_engines",
            "generate_kwargs",
        ),
        "starts VLLMLock, GenerateSamplesActor and TrainingActor: ours are put in their place before",
    ),
    Override(
        f"{_ASYNC}:PPOTrainerAsync.__ray_actor_class__.fit",
        ("self",),
        "the generator is told from which step it resumes",
    ),
    Override(
        f"{_ASYNC}:GenerateSamplesActor.__ray_actor_class__.__init__",
        (
            "self",
            "pretrain",
            "strategy",
            "vllm_engines",
            "vllm_lock",
            "rollout_queue",
            "rollout_slots",
            "generate_kwargs",
        ),
        "its samples generator is rebuilt as ours",
    ),
    Override(
        f"{_ASYNC}:GenerateSamplesActor.__ray_actor_class__.fit",
        ("self", "episode", "total_consumed_prompts"),
        "what it puts into the queue gets the facts that a checkpoint and the log need",
    ),
    Override(
        f"{_ASYNC}:GenerateSamplesActor.__ray_actor_class__.load_state_dict",
        ("self", "state_dict"),
        "samples left over at the checkpoint are restored with the data loader",
    ),
    Override(
        f"{_ASYNC}:TrainingActor.__ray_actor_class__.__init__",
        (
            "self",
            "pretrain",
            "strategy",
            "actor_model_group",
            "critic_model_group",
            "reward_model_group",
            "reference_model_group",
            "vllm_engines",
            "vllm_lock",
            "rollout_queue",
            "rollout_slots",
        ),
        "DiPO's parts are put in their place",
    ),
    Override(
        f"{_ASYNC}:TrainingActor.__ray_actor_class__.fit",
        ("self", "global_step"),
        "what was put into the queue is taken out again",
    ),
    Override(
        f"{_ASYNC}:TrainingActor.__ray_actor_class__.broadcast_to_vllm",
        ("self",),
        "holds the lock while BasePPOTrainer's, which numbers the weights, runs",
    ),
    Override(
        f"{_GENERATOR}._process_response_into_experience",
        ("self", "response", "generate_kwargs"),
        "a sample gets the number of the weights it was generated with",
    ),
    Override(
        "openrlhf.trainer.ray.vllm_engine:RolloutRayActor.__ray_actor_class__.generate",
        ("self", "prompt_token_ids", "sampling_params", "multi_modal_data"),
        "a token without a log-probability ends the run instead of counting as certain",
    ),
)


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
    """Raise UserError when an overridden method has another signature. Imports OpenRLHF (seconds)."""
    import importlib

    for override in OVERRIDES:
        module, _, qualified = override.path.partition(":")
        target: object = importlib.import_module(module)
        for name in qualified.split("."):
            target = getattr(target, name, None)
        if not callable(target):
            raise UserError(
                f"OpenRLHF has no {override.path} any more ({override.why}): install {OPENRLHF_VERSION}"
            )
        # `ray.remote` adds a tracing parameter to every method of an actor class.
        found = tuple(name for name in inspect.signature(target).parameters if name != "_ray_trace_ctx")
        if found != override.parameters:
            raise UserError(
                f"OpenRLHF's {override.path} takes {found}, expected {override.parameters}: install {OPENRLHF_VERSION}"
            )
