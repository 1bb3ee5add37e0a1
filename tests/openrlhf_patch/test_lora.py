"""LoRA through OpenRLHF's Actor and DeepSpeed on two ranks: what the engines, an export and a checkpoint hold."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from two_ranks import run_two_ranks

from dipo_eval.errors import UserError
from dipo_eval.subject.finite_weights import first_not_finite
from dipo_openrlhf.openrlhf_patch.divergence import WEIGHTS
from dipo_openrlhf.openrlhf_patch.lora import ADAPTER, check_mergeable, merged_parameters, merged_weight

TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 64,
}  # fmt: skip


CASES = ["2_bf16", "3_bf16", "2_fp32", "3_fp32"]  # ZeRO stage and type


def tiny(family: str = "Qwen2", **more: object) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, f"{family}Config")(**TINY, **more)
    )


def with_adapters(model: transformers.PreTrainedModel, **more: object) -> peft.PeftModel:
    """As openrlhf/models/actor.py, Actor.__init__ makes them, with a B that is not zero."""
    config = peft.LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "target_modules": "all-linear", **more})
    made = peft.get_peft_model(model, config)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return made


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> Path:
    """A folder with what two ranks left (lora_rank.py)."""
    folder = tmp_path_factory.mktemp("ranks")
    for case in CASES:
        dtype = torch.bfloat16 if "bf16" in case else torch.float32
        tiny(tie_word_embeddings=case.startswith("2")).to(dtype).save_pretrained(folder / case / "model")
    run_two_ranks("lora_rank.py", str(folder), seconds=400)
    return folder


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_two_ranks(ranks, case):
    trained = ranks / case
    found = json.loads((trained / "result.json").read_text())
    state = torch.load(trained / "weights.pt", weights_only=True)
    weights = state["weights"]
    export, base = trained / "export", load_file(trained / "model" / "model.safetensors")
    # The engines get the base model's own names, the export the same numbers, and adapters changed every linear layer.
    assert set(weights) == set(base)
    exported = load_file(export / "model.safetensors")
    assert set(exported) == set(base)
    changed = {name for name in base if not torch.equal(base[name], exported[name])}
    assert changed == {name for name in base if "_proj.weight" in name}
    assert all(torch.equal(weights[name], exported[name]) for name in base)
    assert first_not_finite(export) is None
    # The adapter beside it, on the base, is the same model; as is what was trained.
    plain = transformers.AutoModelForCausalLM.from_pretrained(trained / "model", dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(plain, export / ADAPTER)
    merged = transformers.AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    with torch.no_grad():
        logits = merged(state["tokens"]).logits
        tolerance = 0.05 if weights["model.norm.weight"].dtype == torch.bfloat16 else 1e-4
        torch.testing.assert_close(adapted(state["tokens"]).logits, logits, atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(state["logits"], logits, atol=tolerance, rtol=tolerance)
    assert found["types"] == [str(weights["model.norm.weight"].dtype)]
    # Merging and resuming leave every weight bit-equal, and training goes on exactly as it would have.
    assert found["changed_by_merging"] == found["changed_by_resuming"] == found["differ_in_the_end"] == 0
    assert found["losses"] == found["losses_resumed"]
    assert [one[WEIGHTS] for one in found["lost"]] == [0.0, 1.0]
    # The checkpoint holds no weight of the base.
    files = list((trained / "ckpt" / "one").glob("*model_states.pt"))
    names = {name for file in files for name in torch.load(file, weights_only=False)["module"]}
    assert names
    assert all(".lora_" in name for name in names)


@settings(max_examples=25, deadline=None)
@given(
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32]),
    rank=st.integers(1, 8),
    alpha=st.integers(1, 64),
    seed=st.integers(0, 2**16),
)
def test_a_merged_weight_is_rounded_once(dtype, rank, alpha, seed):
    """Against float64: half a unit in the last place of the type, where repeated merging in it would add up."""
    torch.manual_seed(seed)
    layer = peft.tuners.lora.Linear(
        torch.nn.Linear(24, 16, bias=False), "default", peft.LoraConfig(r=rank, lora_alpha=alpha),
        r=rank, lora_alpha=alpha,
    ).to(dtype)  # fmt: skip
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    base, a, b = (
        one.weight.double() for one in (layer.base_layer, layer.lora_A["default"], layer.lora_B["default"])
    )
    exact = base + alpha / rank * b @ a
    merged = merged_weight(layer)
    assert merged.dtype == dtype
    unit = torch.finfo(dtype).eps * exact.abs().clamp(min=1e-2) / 2
    slack = 1e-5 * (base.abs() + (alpha / rank) * (b.abs() @ a.abs()))  # of fp32 sums
    assert ((merged.double() - exact).abs() <= unit * 1.01 + slack).all()


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3", "Llama", "GPT2"])
def test_peft_merges_to_the_same(family):
    """In fp32 as peft's own merge, on its layers of either orientation."""
    model = (
        tiny(family)
        if family != "GPT2"
        else transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, n_positions=32)
        )
    )
    adapted = with_adapters(model, **({"fan_in_fan_out": True} if family == "GPT2" else {}))
    found = {name: tensor.clone() for name, tensor in merged_parameters(adapted)}
    expected = dict(adapted.merge_and_unload().named_parameters())
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor.data, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"target_modules": ["embed_tokens"]}, "embed_tokens"), ({"use_dora": True}, "q_proj")],
)
def test_adapters_that_cannot_be_merged_are_refused(settings, name):
    actor = transformers.utils.ModelOutput(model=with_adapters(tiny(), **settings))
    with pytest.raises(UserError, match=rf"ds\.lora\.target_modules: .*{name}"):
        check_mergeable(actor)
