"""How much an engine takes at once: vLLM's own defaults, and what of it reaches an engine."""

from __future__ import annotations

import dataclasses

import pytest
from vllm.engine import arg_utils
from vllm.usage.usage_lib import UsageContext

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.schema import CPU_BATCH, OFFLINE_BATCH
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.run.plan import plan_run


class Gpu:
    """What vLLM asks of its platform for the defaults."""

    def __init__(self, gib: int, name: str) -> None:
        self.get_device_total_memory = lambda: gib * 2**30
        self.get_device_name = lambda: name
        self.is_tpu = self.is_cpu = lambda: False


def defaults(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> dict[UsageContext, dict[str, int]]:
    monkeypatch.setattr(arg_utils, "current_platform", gpu)
    tokens, sequences = arg_utils.EngineArgs.get_batch_defaults(1)
    return {use: {"max_num_seqs": sequences[use], "max_num_batched_tokens": tokens[use]} for use in tokens}


def test_the_default_is_vllms_for_offline_use(monkeypatch):
    assert defaults(Gpu(24, "NVIDIA L4"), monkeypatch)[UsageContext.LLM_CLASS] == OFFLINE_BATCH
    assert defaults(Gpu(80, "NVIDIA A100"), monkeypatch)[UsageContext.LLM_CLASS] == OFFLINE_BATCH


def test_the_recipes_are_between_vllms_own_for_an_h100(monkeypatch):
    own = defaults(Gpu(80, "NVIDIA H100 80GB HBM3"), monkeypatch)
    recipe = load_recipe("math_qwen3_4b")
    batch = recipe.engine_batch
    assert batch["max_num_batched_tokens"] == own[UsageContext.OPENAI_API_SERVER]["max_num_batched_tokens"]
    assert (
        OFFLINE_BATCH["max_num_seqs"] < batch["max_num_seqs"] <= own[UsageContext.LLM_CLASS]["max_num_seqs"]
    )
    assert plan_run(recipe).engine == batch


CPU = ["--run.device", "cpu", "--actor.model_name_or_path", "a/b", "--data.prompt_dataset", "c/d"]


def test_on_cpu_an_engine_takes_a_whole_quickstart_batch_at_once_unless_the_recipe_says_otherwise():
    recipe = load_recipe("quickstart", parse_overrides(CPU))
    samples = recipe.get("rollout.batch_size") * recipe.get("rollout.n_samples_per_prompt")
    assert recipe.engine_batch == CPU_BATCH == {"max_num_seqs": samples}
    recipe = load_recipe("quickstart", parse_overrides([*CPU, "--run.max_num_seqs", "7"]))
    assert plan_run(recipe).engine == {"max_num_seqs": 7}
    recipe = load_recipe("quickstart", parse_overrides([*CPU, "--run.max_num_batched_tokens", "300"]))
    assert plan_run(recipe).engine == {"max_num_seqs": 300, "max_num_batched_tokens": 300}


def test_vllm_would_refuse_fewer_tokens_than_sequences():
    with pytest.raises(
        UserError, match=r"run\.max_num_batched_tokens: 100: must be at least run.max_num_seqs, 512"
    ):
        load_recipe("math_qwen3_4b", parse_overrides(["--run.max_num_batched_tokens", "100"]))


def test_an_engine_is_started_with_it():
    """As the driver does, in the place of OpenRLHF's class, whose named arguments go to vLLM."""
    from dipo_openrlhf.openrlhf_patch import overrides

    given: list[dict[str, object]] = []

    class Started:
        def options(self, **unused: object) -> Started:
            return self

        def remote(self, **named: object) -> None:
            given.append(named)

    plan = plan_run(load_recipe("math_qwen3_4b"))
    assert plan.engine.keys() <= {field.name for field in dataclasses.fields(arg_utils.AsyncEngineArgs)}
    overrides.ActorFactory(Started(), **plan.engine).options(num_gpus=1).remote(model="m", seed=1)
    assert given == [{"model": "m", "seed": 1, "max_num_seqs": 512, "max_num_batched_tokens": 8192}]
