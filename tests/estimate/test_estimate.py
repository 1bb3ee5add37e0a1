"""Memory and time by arithmetic: every figure against one computed by hand, and the layer against a real one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate.memory import (
    disk_bytes,
    engine,
    exports_bytes,
    host_bytes,
    layer_bytes,
    phases,
    training_state,
    verdict,
)
from dipo_openrlhf.estimate.model_shapes import ModelShape
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.step_time import decode_rate, sequences_at_once, step_time
from dipo_openrlhf.estimate.workload import GIB, Workload, workload_of
from dipo_openrlhf.recipe.files import BUILT_IN, recipe_names
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import Setting, parse_overrides

ASSUME = Assumptions()
# A round model: 2 layers of 4*100*100 + 3*100*250 + 200 = 115,200, one embedding of 1,000 x 100, a last norm of 100.
ROUND = ModelShape(2, 100, 250, 10, 10, 10, 1000, tied=True)
WORK = Workload(
    shape=ROUND, actor_gpus=8, actor_gpus_per_node=8, engines=8, engine_tp=1, max_num_seqs=128,
    batched_tokens=2_048, trainer_tp=1, zero_stage=3,
    adam_offload=False, gradient_bytes=4, checkpointing=True, shared=True, engine_sleep=True, trainer_sleep=True,
    utilization=0.7, reference=False, asynchronous=False, train_tokens=10_000, score_tokens=10_000, max_len=10_000,
    prompts_a_step=512, group=16, refill=0.0, train_batch=512, epochs=1, episodes=6,
    prompts=17_398, prompt_tokens=500, response_tokens=2_000, checkpoints=2,
    exports=5,
)  # fmt: skip
P = 330_500


def values(lines) -> dict[str, float]:
    return {line.what: line.value for line in lines}


def test_the_round_model():
    assert ROUND.parameters == 2 * 115_200 + 100_000 + 100 == P


@pytest.mark.parametrize(
    ("changes", "weights", "gradients", "optimizer"),
    [
        ({"zero_stage": 0}, 2 * P, 4 * P, 12 * P),
        ({"zero_stage": 1}, 2 * P, 4 * P, 12 * P / 8),
        ({"zero_stage": 2}, 2 * P, 4 * P / 8, 12 * P / 8),
        ({"zero_stage": 3}, 2 * P / 8, 4 * P / 8, 12 * P / 8),
        ({"actor_gpus": 32}, 2 * P / 32, 4 * P / 32, 12 * P / 32),
        ({"gradient_bytes": 2}, 2 * P / 8, 2 * P / 8, 12 * P / 8),
        ({"adam_offload": True}, 2 * P / 8, 4 * P / 8, 0),
        ({"trainer_tp": 2}, P / 4, 2 * P / 4, 6 * P / 4),
    ],
)
def test_what_deepspeed_keeps(changes, weights, gradients, optimizer):
    state = [line.value for line in training_state(replace(WORK, **changes))]
    assert state == pytest.approx([weights, gradients, optimizer])


def test_activations_with_and_without_checkpointing():
    update = values(phases(WORK, ASSUME)[0].lines)
    assert update["checkpointed activations"] == 2 * 10_000 * 100 * 2
    # The larger of 10 B a logit, and 4 B a logit with one layer: 10,000 * (2 * (400 + 300 + 300 + 1,000) + 800) B.
    assert layer_bytes(ROUND, 10_000) == 48_000_000
    assert update["logits"] == 10 * 10_000 * 1_000
    wide = replace(WORK, shape=replace(ROUND, vocab=100))
    update = values(phases(wide, ASSUME)[0].lines)
    assert update["logits and one layer computed again"] == 4 * 10_000 * 100 + 48_000_000
    update = values(phases(replace(WORK, checkpointing=False), ASSUME)[0].lines)
    assert update["activations"] == 2 * 48_000_000


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3"])
def test_a_layer_keeps_what_a_real_one_keeps(family):
    """Counts the tensors that autograd saves in a real layer, in bf16; flash attention has no score matrix."""
    import torch
    import transformers

    config = getattr(transformers, f"{family}Config")(
        hidden_size=128, num_hidden_layers=3, intermediate_size=384, num_attention_heads=8, num_key_value_heads=2,
        head_dim=16, vocab_size=50, attn_implementation="sdpa",
    )  # fmt: skip
    tokens = 256

    def saved(layers: int) -> int:
        config.num_hidden_layers = layers
        model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
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
    assert saved(3) - saved(2) == pytest.approx(
        layer_bytes(shape, tokens), rel=0.06
    )  # 5,800 and 6,800 B a token


def test_phases_by_hand():
    update, scoring, sampling = phases(WORK, ASSUME)
    state = (2 + 4 + 12) * P / 8
    working = 2 * P + 2 * P  # a small model is gathered whole, and its gradients are one bucket
    assert update.total == pytest.approx(state + working + 4e6 + 1e8 + 6 * GIB)
    assert scoring.total == pytest.approx(2 * P / 8 + 2 * P + 6e7 + 6 * GIB)
    sent = 2 * 2 * P  # a small model is one bucket, and there are two with ZeRO 3
    assert sampling.total == pytest.approx(2 * P / 8 + sent + 0.7 * 79 * GIB + 4 * GIB)
    awake = phases(replace(WORK, engine_sleep=False, trainer_sleep=False), ASSUME)
    assert awake[0].total - update.total == pytest.approx((0.7 * 79 - 2) * GIB)
    assert awake[2].total - sampling.total == pytest.approx(16 * P / 8)
    apart = phases(replace(WORK, shared=False, engine_sleep=False), ASSUME)
    assert [phase.name for phase in apart] == ["update", "scoring"]
    assert update.total - apart[0].total == pytest.approx(2 * GIB)
    beside = phases(replace(WORK, reference=True), ASSUME)
    assert beside[0].total - update.total == pytest.approx(2 * P / 8)


def test_engine_by_hand():
    found = engine(WORK, ASSUME)
    # 2,048 tokens x (3 x 250 + 4 x 100) values of 2 B, and 128 x 1,000 logits of 26 B
    cache = 0.7 * 79 * GIB - 2 * P - 2 * 2_048 * 1_150 - 26 * 128_000 - 1.5 * GIB
    assert ROUND.kv_bytes == 2 * 2 * 2 * 100
    assert found.kv_tokens == int(cache / 800)
    assert found.longest == found.kv_tokens // 10_000
    assert found.mean == found.kv_tokens // 2_500
    halves = engine(replace(WORK, engine_tp=2), ASSUME)
    assert halves.kv_tokens == int((cache + P + 2 * 2_048 * 375) / 400)
    more = engine(replace(WORK, max_num_seqs=512, batched_tokens=8_192), ASSUME)
    assert found.kv_tokens - more.kv_tokens == pytest.approx((2 * 6_144 * 1_150 + 26 * 384_000) / 800, abs=1)


def test_host_and_disk_by_hand():
    assert host_bytes(WORK).value == pytest.approx(8 * (16 * P / 8 + 2 * P))
    assert host_bytes(replace(WORK, trainer_sleep=False)).value == pytest.approx(8 * 2 * P)
    awake = replace(WORK, trainer_sleep=False, engine_sleep=False)
    assert host_bytes(awake).value == 0
    assert host_bytes(replace(awake, adam_offload=True)).value == pytest.approx(12 * P)
    assert disk_bytes(WORK).value == 14 * P * 3
    assert exports_bytes(WORK).value == 2 * P * 5


@pytest.mark.parametrize(
    ("arguments", "exports"),
    [
        (
            [],
            11,
        ),  # 204 steps, saved every 20 and at the end: all wait for the watcher, which runs after the training
        (["--watch.every", "3"], 7),  # 4 that wait, 2 kept, one being written
        (["--watch.enabled", "false"], 3),
        (["--watch.enabled", "false", "--run.keep_exports", "5"], 6),
        (["--watch.enabled", "false", "--run.keep_exports", "0"], 11),
        (["--ckpt.save_hf", "false"], 0),
    ],
)
def test_exports_that_lie_on_the_disk_at_once(arguments, exports):
    recipe = load_recipe("math_qwen3_8b", parse_overrides(arguments))
    assert workload_of(recipe, replace(ASSUME, prompts=17_398)).exports == exports


def test_of_a_run_of_unknown_length_each_export_is_named():
    line = exports_bytes(workload_of(load_recipe("math_qwen3_8b"), ASSUME))
    assert line.what == "disk, each export"
    assert "--prompts" in line.how


def test_time_by_hand():
    """8,192 responses of 2,000 tokens at a given rate, then 8,192 x 2,500 tokens at 8 x 100 TFLOP/s x 0.5."""
    assume = replace(ASSUME, tokens_per_second=1_000, tflops=100, utilization=0.5, sync_gbs=1, host_gbs=1)
    time = step_time(WORK, assume, fitting=500)
    parts = values(time.parts)
    assert parts["sampling"] == pytest.approx(8_192 * 2_000 / 8_000 * 1.3)
    assert parts["scoring"] == pytest.approx(2 * P * 20_480_000 / 4e14)
    assert parts["update"] == pytest.approx(8 * P * 20_480_000 / 4e14)
    assert parts["weights to the engines"] == pytest.approx(2 * P / 1e9)
    assert parts["sleep and wake"] == pytest.approx((2 * 16 * P / 8 + 2 * 2 * P) / 1e9)
    assert time.total == pytest.approx(sum(parts.values()))
    assert time.steps == 34 * 6
    assert values(time.rollout)["optimizer updates"] == 16
    plain = step_time(replace(WORK, checkpointing=False, epochs=2), assume, 500)
    assert values(plain.parts)["update"] == pytest.approx(2 * 6 * P * 20_480_000 / 4e14)
    overlapping = step_time(replace(WORK, asynchronous=True), assume, 500)
    assert overlapping.total == pytest.approx(parts["sampling"])
    refilled = step_time(replace(WORK, refill=2.0), assume, 500)
    assert values(refilled.parts)["sampling"] == pytest.approx(3 * parts["sampling"])
    assert values(refilled.parts)["update"] == parts["update"]
    assert step_time(replace(WORK, prompts=0), assume, 500).steps == 0


def test_decoding_reads_weights_and_cache():
    rate = decode_rate(WORK, ASSUME, 100)
    read = 2 * P + 100 * (500 + 1_000) * 800
    assert rate.value == pytest.approx(100 * 3.35e12 * 0.5 / read)
    assert sequences_at_once(WORK, 10_000) == 128
    assert sequences_at_once(replace(WORK, max_num_seqs=512), 10_000) == 512
    assert sequences_at_once(WORK, 50) == 50
    assert sequences_at_once(replace(WORK, prompts_a_step=8), 10_000) == 16  # 8 * 16 / 8 engines


def test_the_verdict_states_the_margin():
    found, rollouts = phases(WORK, ASSUME), engine(WORK, ASSUME)
    fits, line = verdict(found, rollouts, WORK)
    assert fits
    assert line == "fits: sampling is the fullest, 59.3 of 79.0 GiB, 19.7 left"
    small = replace(ASSUME, gpu_memory_gib=6.0)
    fits, line = verdict(phases(WORK, small), engine(WORK, small), WORK)
    assert not fits
    # sampling 0.7 * 6 + 4 = 8.2
    assert line == "does not fit: sampling needs 8.2 GiB, 2.2 more than the 6.0 of a GPU"
    long = replace(WORK, max_len=100_000_000)
    fits, line = verdict(found, engine(long, ASSUME), long)
    assert not fits
    assert re.search(r"holds [\d,]+ tokens, [\d,]+ fewer than one sequence", line)


@settings(max_examples=40, deadline=None)
@given(
    gpus=st.sampled_from([1, 2, 4, 8, 16, 32]),
    stage=st.sampled_from([0, 1, 2, 3]),
    tokens=st.integers(1, 100_000),
    checkpointing=st.booleans(),
)
def test_more_gpus_and_fewer_tokens_never_cost_memory(gpus, stage, tokens, checkpointing):
    work = replace(
        WORK,
        actor_gpus=gpus,
        zero_stage=stage,
        train_tokens=tokens,
        checkpointing=checkpointing,
        shared=False,
    )
    total = phases(work, ASSUME)[0].total
    assert phases(replace(work, actor_gpus=2 * gpus), ASSUME)[0].total <= total
    assert phases(replace(work, train_tokens=tokens + 1), ASSUME)[0].total > total
    assert (
        step_time(replace(work, actor_gpus=2 * gpus), ASSUME, 100).total < step_time(work, ASSUME, 100).total
    )


PAPER = [name for name in recipe_names() if not name.startswith("quickstart") and "lora" not in name]


ASYNC = ["math_qwen3_8b+async"]
LONG = [f"{name}+response_20k" for name in PAPER if name.startswith("math")]


def seconds(name: str, *arguments: str) -> float:
    """A step's, by the estimate; where it does not fit, without end."""
    work = workload_of(load_recipe(name, parse_overrides(list(arguments))), ASSUME)
    rollouts = engine(work, ASSUME)
    fits, _ = verdict(phases(work, ASSUME), rollouts, work)
    return step_time(work, ASSUME, max(1, rollouts.mean)).total if fits else float("inf")


@pytest.mark.parametrize("cluster", ["", "+4x8"])
@pytest.mark.parametrize("name", ASYNC)
def test_asynchronous_training_is_not_slower_where_it_is_shipped(name, cluster):
    assert seconds(f"{name}{cluster}") <= seconds(f"{name.removesuffix('+async')}{cluster}")


@pytest.mark.parametrize("cluster", ["", "+4x8"])
@pytest.mark.parametrize("name", [*PAPER, "math_qwen3_8b+dapo", "math_qwen3_8b+response_20k"])
def test_elsewhere_it_would_be_slower_and_is_refused(name, cluster, tmp_path):
    if f"{name}+async" in ASYNC:
        return
    with pytest.raises(
        UserError, match=r"variants/async\.yaml:\d+: async is sized for math_qwen3_8b.*, not for"
    ):
        load_recipe(f"{name}{cluster}+async")
    text = (BUILT_IN / "variants" / "async.yaml").read_text()
    copy = tmp_path / "mine.yaml"
    copy.write_text(re.sub("^goes_with.*", "", text, flags=re.MULTILINE))
    assert seconds(f"{name}{cluster}+{copy}") > seconds(f"{name}{cluster}")


@pytest.mark.parametrize("cluster", ["", "+4x8"])
@pytest.mark.parametrize("name", [*PAPER, *ASYNC, *LONG, *(f"{name}+lora" for name in PAPER)])
def test_every_recipe_of_the_paper_fits_80_gb(name, cluster):
    work = workload_of(load_recipe(f"{name}{cluster}"), ASSUME)
    fits, line = verdict(phases(work, ASSUME), engine(work, ASSUME), work)
    assert fits, line
    assert engine(work, ASSUME).longest >= 8


def test_without_flash_attn_a_logit_takes_more_memory():
    """Its backward pass holds several matrices of the size of the logits; with long responses that decides."""
    fits, logits = {}, {}
    for name in ("math_qwen3_8b+response_20k", "math_qwen3_8b+response_20k+no_flash_attn"):
        work = workload_of(load_recipe(name), ASSUME)
        update = phases(work, ASSUME)[0]
        logits[work.flash_attn] = next(line.value for line in update.lines if line.what == "logits")
        fits[work.flash_attn] = verdict(phases(work, ASSUME), engine(work, ASSUME), work)[0]
    assert fits == {True: True, False: False}
    assert logits[False] == pytest.approx(1.63 * logits[True])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--actor.model_name_or_path", "no/model"], ["no/model", "config.json"]),
    ],
)
def test_what_is_not_covered_is_refused(arguments, words):
    with pytest.raises(UserError) as caught:
        workload_of(load_recipe("math_qwen3_4b", parse_overrides(arguments)), ASSUME)
    for word in words:
        assert word in str(caught.value)


def test_the_data_are_counted_where_they_are(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"input": "x", "label": "1"}\n' * 1_000 + "\n")
    recipe = load_recipe("math_qwen3_4b", {"data.prompt_dataset": Setting(str(path), "test")})
    work = workload_of(recipe, ASSUME)
    assert work.prompts == 1_000
    assert step_time(work, ASSUME, 100).steps == 2 * 6
    assert workload_of(recipe, replace(ASSUME, prompts=5)).prompts == 5
