"""LoRA in the estimate: parameters and saved activations against peft's own model, every other figure by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate.adapters import Adapters, adapters_of, linear_sizes
from dipo_openrlhf.estimate.memory import disk_bytes, engine, host_bytes, layer_bytes, phases, verdict
from dipo_openrlhf.estimate.model_shapes import KNOWN, ModelShape, read_shape
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.step_time import step_time
from dipo_openrlhf.estimate.workload import GIB, workload_of
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides

ON_24_GB = Assumptions(gpu_memory_gib=22.0)  # an A10 or L4 of 24 GB has 22.5 GiB, an RTX 4090 24
RECIPE = "math_qwen25_1.5b_lora"
SIZES = {
    "hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 16,
    "vocab_size": 50,
}  # fmt: skip


def work_of(*overrides: str, name: str = RECIPE):
    return workload_of(load_recipe(name, parse_overrides(list(overrides))), ON_24_GB)


def values(lines) -> dict[str, float]:
    return {line.what: line.value for line in lines}


def peft_model(family: str, layers: int, rank: int, modules):
    import peft
    import transformers

    config = getattr(transformers, f"{family}Config")(
        num_hidden_layers=layers, attn_implementation="sdpa", **SIZES
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.enable_input_require_grads()
    lora = peft.LoraConfig(task_type="CAUSAL_LM", r=rank, target_modules=modules)
    return config, peft.get_peft_model(model, lora)


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3", "Llama"])
@pytest.mark.parametrize("modules", ["all-linear", ["q_proj", "v_proj"], ["down_proj", "o_proj", "k_proj"]])
def test_trained_parameters_are_those_of_peft(tmp_path, family, modules):
    config, model = peft_model(family, 3, 5, modules)
    config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path / "config.json")
    adapters = Adapters(5, tuple(linear_sizes(shape)) if modules == "all-linear" else tuple(modules))
    trained, total = model.get_nb_trainable_parameters()
    assert adapters.parameters(shape) == trained
    assert shape.parameters == total - trained


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3"])
@pytest.mark.parametrize("rank", [8, 64])
def test_a_layer_keeps_what_a_real_one_keeps(family, rank):
    """Counts the tensors that autograd saves in a layer with adapters, in bf16, as for full fine-tuning."""
    import torch

    tokens = 256

    def saved(layers: int) -> int:
        model = peft_model(family, layers, rank, "all-linear")[1].to(torch.bfloat16)
        weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        found: dict[int, tuple[int, torch.Tensor]] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                found[storage.data_ptr()] = (storage.nbytes(), tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.zeros(1, tokens, dtype=torch.long)).logits.float().sum()
        return sum(size for size, _ in found.values())

    shape = ModelShape(3, 128, 384, 8, 2, 16, 50, tied=True, qk_norm=family == "Qwen3")
    adapters = Adapters(rank, tuple(linear_sizes(shape)))
    assert saved(3) - saved(2) == pytest.approx(layer_bytes(shape, tokens, adapters), rel=0.06)


def test_the_recipe_for_one_gpu_fits_24_gb():
    work = work_of()
    fits, line = verdict(phases(work, ON_24_GB), engine(work, ON_24_GB), work)
    assert fits, line
    assert engine(work, ON_24_GB).longest >= 32
    full = replace(work, adapters=None)
    assert not verdict(phases(full, ON_24_GB), engine(full, ON_24_GB), full)[0]


def test_memory_by_hand():
    shape, work = KNOWN["Qwen/Qwen2.5-1.5B-Instruct"], work_of()
    # 32 * (q 1536+1536, k and v 1536+256, o 1536+1536, gate, up and down 1536+8960) in each of 28 layers
    trained = 28 * 32 * (2 * 3_072 + 2 * 1_792 + 3 * 10_496)
    assert work.trained_parameters == trained == 36_929_536
    update, _, sampling = (values(phase.lines) for phase in phases(work, ON_24_GB))
    assert update["weights, bf16"] == 2 * (shape.parameters + trained)
    assert update["gradients"] == 4 * trained
    assert update["optimizer state"] == 12 * trained
    assert update["gradients being reduced"] == 2 * trained
    assert "gathered weights" not in update
    assert sampling["one weight being merged"] == 14 * 1_536 * 8_960
    assert sampling["engine"] == pytest.approx(0.6 * 22 * GIB)
    assert disk_bytes(work).value == 14 * trained * (work.checkpoints + 1)
    assert host_bytes(replace(work, engine_sleep=False)).value == 0
    sharded = values(phases(replace(work, zero_stage=3, actor_gpus=4), ON_24_GB)[0].lines)
    assert sharded["weights, bf16"] == 2 * (shape.parameters + trained) / 4
    assert sharded["optimizer state"] == 12 * trained / 4


def test_time_by_hand():
    """The frozen weights have no gradients of their own: 2 of 8 FLOPs fewer."""
    work = work_of()
    update, full = (
        values(step_time(one, ON_24_GB, 100).parts)["update"] for one in (work, replace(work, adapters=None))
    )
    assert update == pytest.approx(full * 6 / 8)
    plain, full = (replace(work, checkpointing=False, adapters=each) for each in (work.adapters, None))
    assert (plain.training_flops, full.training_flops) == (4, 6)


def test_layers_that_are_not_known_are_named():
    with pytest.raises(UserError, match=r"ds\.lora\.target_modules: 'wq': the estimate counts q_proj"):
        work_of("--ds.lora.target_modules", "[q_proj, wq]")
    recipe = load_recipe("math_qwen3_4b+lora", parse_overrides(["--ds.lora.target_modules", "[q_proj]"]))
    shape = KNOWN["Qwen/Qwen3-4B-Base"]
    assert adapters_of(recipe, shape) == Adapters(32, ("q_proj",))
    assert adapters_of(load_recipe("math_qwen3_4b"), shape) is None


def test_the_documented_figures_are_those_of_the_estimate():
    assume = replace(ON_24_GB, tflops=165, bandwidth_tbs=1, prompts=17_398)
    work = workload_of(load_recipe(RECIPE), assume)
    fullest = max(phase.total for phase in phases(work, assume)) / GIB
    minutes = step_time(work, assume, engine(work, assume).mean).total / 60
    text = " ".join((Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8").split())
    assert f"The recipe takes {fullest:.1f} GiB and {minutes:.1f} minutes a step by this estimate" in text
