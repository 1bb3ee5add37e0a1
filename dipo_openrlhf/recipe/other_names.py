"""Keys under the names that older OpenRLHF, verl and TRL have for them: for the message about an unknown key."""

from __future__ import annotations

_MODEL, _DATA, _LR = "actor.model_name_or_path", "data.prompt_dataset", "actor.adam.lr"
_NAMES: dict[str, tuple[str, ...]] = {
    _MODEL: ("pretrain", "model", "model_path", "model_name", "model_name_or_path", "actor_rollout_ref.model.path"),
    _DATA: ("prompt_data", "dataset", "dataset_name", "train_file", "data.train_files", "data_path", "data.path"),
    "data.input_key": ("input_key", "data.prompt_key", "prompt_key"),
    "data.label_key": ("label_key", "data.answer_key", "answer_key"),
    "data.max_len": ("max_len", "max_length", "max_model_len", "max_seq_len", "max_seq_length"),
    "data.max_samples": ("max_samples", "data.train_max_samples"),
    "data.apply_chat_template": ("apply_chat_template",),
    _LR: ("lr", "learning_rate", "actor_learning_rate", "actor.lr", "actor_rollout_ref.actor.optim.lr", "optim.lr"),
    "actor.lr_scheduler": ("lr_scheduler", "lr_scheduler_type"),
    "actor.lr_warmup_ratio": ("lr_warmup_ratio", "warmup_ratio"),
    "actor.max_norm": ("max_norm", "max_grad_norm", "grad_clip", "gradient_clipping"),
    "actor.num_gpus_per_node": ("actor_num_gpus_per_node", "trainer.n_gpus_per_node", "n_gpus_per_node"),
    "actor.num_nodes": ("actor_num_nodes", "trainer.nnodes", "nnodes"),
    "actor.gradient_checkpointing_enable": ("gradient_checkpointing",),
    "algo.kl.init_coef": ("init_kl_coef", "kl_coef", "beta", "algorithm.kl_ctrl.kl_coef"),
    "algo.advantage.estimator": ("advantage_estimator", "algorithm.adv_estimator", "adv_estimator"),
    "train.batch_size": ("train_batch_size", "per_device_train_batch_size"),
    "train.micro_batch_size": ("micro_train_batch_size", "micro_batch_size"),
    "train.num_episodes": ("num_episodes", "num_train_epochs", "trainer.total_epochs", "total_epochs", "epochs"),
    "train.max_epochs": ("max_epochs", "ppo_epochs", "actor_rollout_ref.actor.ppo_epochs"),
    "train.seed": ("seed",),
    "rollout.batch_size": ("rollout_batch_size", "data.train_batch_size"),
    "rollout.micro_batch_size": ("micro_rollout_batch_size",),
    "rollout.n_samples_per_prompt": (
        "n_samples_per_prompt", "num_generations", "actor_rollout_ref.rollout.n", "rollout.n", "group_size",
    ),
    "rollout.max_new_tokens": (
        "generate_max_len", "max_completion_length", "max_new_tokens", "max_tokens", "data.max_response_length",
    ),
    "rollout.temperature": ("temperature", "actor_rollout_ref.rollout.temperature"),
    "rollout.top_p": ("top_p",),
    "reward.remote_url": ("remote_rm_url", "reward_funcs", "custom_reward_function.path", "reward_model"),
    "train.agent_func_path": ("agent_func_path",),
    "ckpt.save_steps": ("save_steps", "trainer.save_freq", "save_freq", "save_interval"),
    "ckpt.path": ("ckpt_path", "trainer.default_local_dir"),
    "ckpt.output_dir": ("save_path",),
    "ckpt.max_num": ("max_ckpt_num", "save_total_limit"),
    "run.dir": ("output_dir", "run_dir", "out_dir"),
    "run.name": ("run_name", "trainer.experiment_name", "experiment_name"),
    "run.wandb": ("use_wandb", "report_to", "trainer.logger"),
    "logger.tensorboard_dir": ("use_tensorboard", "tensorboard_dir"),
    "logger.wandb.project": ("wandb_project", "trainer.project_name"),
    "vllm.num_engines": ("vllm_num_engines",),
    "vllm.tensor_parallel_size": (
        "vllm_tensor_parallel_size", "tensor_parallel_size", "actor_rollout_ref.rollout.tensor_model_parallel_size",
    ),
    "vllm.gpu_memory_utilization": (
        "vllm_gpu_memory_utilization", "gpu_memory_utilization", "actor_rollout_ref.rollout.gpu_memory_utilization",
    ),
    "ds.zero_stage": ("zero_stage",),
    "ds.lora.rank": ("lora_rank", "lora_r"),
    "train.colocate_all": ("colocate_all_models",),
}  # fmt: skip
KEY_OF = {other: key for key, others in _NAMES.items() for other in others}
