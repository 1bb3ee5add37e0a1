"""What OpenRLHF, DeepSpeed or vLLM would assert on the cluster is one line here."""

from __future__ import annotations

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.openrlhf_checks import check_packages
from dipo_openrlhf.recipe.yaml_lines import parse_overrides

GRPO_WITH_KL = ["--dipo.method", "grpo", "--algo.kl.init_coef", "0.01", "--algo.kl.use_loss", "true"]


def loaded(*words: str):
    return load_recipe("math_qwen3_4b", parse_overrides(list(words)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vllm.gpu_memory_utilization", "1.2"], "vllm.gpu_memory_utilization: 1.2: must be above 0"),
        (["--rollout.temperature", "0"], "rollout.temperature: 0.0: must be above 0"),
        (["--rollout.top_p", "0"], "rollout.top_p: 0.0: must be"),
        (["--algo.advantage.is_correction_threshold", "0.5", "1", "2"], "takes HIGH, or LOW and HIGH"),
        (
            ["--dipo.method", "grpo", "--algo.dynamic_filtering_enable", "true",
             "--algo.dynamic_filtering_range", "1", "0"],
            "the first must be below the second",
        ),
        (["--dipo.method", "grpo", "--reward.stop_properly_penalty_coef", "1.5"], "must be at most 1"),
        (["--ds.ring_attn_size", "3"], "ring_attn_size: 3: .* = 3 must divide the actor's GPUs, 8"),
        (
            ["--rollout.micro_batch_size", "2048"],
            "8192 samples are 4 micro-batches, fewer than the actor's 8 ranks: at most 1024",
        ),
        (["--ds.tensor_parallel_size", "2", "--ds.param_dtype", "fp16"], "needs ds.param_dtype: bf16, not fp16"),
        (["--ds.tensor_parallel_size", "2"], "ds.tensor_parallel_size: 2: .* use ds.zero_stage: 2"),
        (["--ds.load_in_4bit", "true"], "ds.load_in_4bit: True: the engines cannot load weights of 4 bits"),
        (["--train.enable_ema", "true"], "train.enable_ema: True: .* the starting model would be exported"),
        (["--vllm.sync_backend", "gloo"], "vllm.sync_backend: 'gloo': must be nccl on GPUs"),
        (["--actor.optim", "muon"], "actor.optim: 'muon': DeepSpeed has no Muon .* use ds.zero_stage: 2"),
        (["--ds.zero_stage", "0"], "ds.enable_sleep: True: needs ds.zero_stage 1, 2 or 3"),
        (["--data.max_images_per_prompt", "1"], "images do not go with"),
        (["--data.prompt_probs", "0.5,0.5"], "has 2 values for 1 data sets"),
        (["--train.agent_func_path", "agent"], "must be tool_agent, or a Python file"),
        (["--train.agent_func_path", "tool_agent"], "data.apply_chat_template: True: must be false: the tool agent"),
        (
            ["--train.agent_func_path", "tool_agent", "--data.apply_chat_template", "false",
             "--reward.overlong_buffer_len", "16"],
            "overlong_buffer_len: 16.0: does not go with train.agent_func_path: it would count what the tools say",
        ),
        ([*GRPO_WITH_KL, "--ref.num_gpus_per_node", "4"], "ref.num_gpus_per_node: 4: .*actor.num_gpus_per_node, 8"),
        ([*GRPO_WITH_KL, "--run.nodes", "2", "--actor.num_nodes", "2"], "ref.num_nodes: 1: .*actor.num_nodes, 2"),
    ],
)  # fmt: skip
def test_it_is_refused_with_key_and_remedy(words, message):
    with pytest.raises(UserError, match=message) as caught:
        loaded(*words)
    assert "\n" not in str(caught.value)


def test_the_reference_beside_the_actor_is_accepted():
    assert loaded(*GRPO_WITH_KL).get("ref.num_gpus_per_node") == 8


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["--ds.ring_attn_size", "2"], "ring-flash-attn"),
        (["--ds.use_liger_kernel", "true"], "liger-kernel"),
    ],
)
def test_a_package_that_is_not_installed_is_named(words, package):
    """Where the run starts, before it: `dipo train` and the Slurm launcher ask."""
    check_packages(loaded())
    with pytest.raises(
        UserError, match=f"{words[0]}: .*needs the package {package}, which is not installed here"
    ):
        check_packages(loaded(*words))
