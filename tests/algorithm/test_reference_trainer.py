"""The reference trainer on a tiny model: sampling, scoring, determinism, every method, learning."""

from __future__ import annotations

import dataclasses
import functools
import math
from itertools import repeat
from typing import Any, get_args

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from dipo_openrlhf.algorithm import DipoConfig, PerplexityQueue, methods, reference
from dipo_openrlhf.algorithm.method import Reduction
from dipo_openrlhf.algorithm.passes import in_passes
from dipo_openrlhf.algorithm.reference import (
    ReferenceConfig,
    clipped_loss,
    collect_once,
    join,
    learn,
    new_optimizer,
    prompt_order,
    sample,
    score_tokens,
    train,
)

EOS, PAD = 1, 0
PROMPTS = [[3, 4, 5], [6], [7, 8], [9, 10, 11, 12]]


def tiny_model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=16,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config).eval()


def settings(**options: Any) -> ReferenceConfig:
    dipo = DipoConfig(**{"min_side_samples": 5, **options.pop("dipo", {})})
    small = {"steps": 3, "prompts_per_step": 4, "max_new_tokens": 6, "lr": 3e-3}
    return ReferenceConfig(eos_token_id=EOS, pad_token_id=PAD, dipo=dipo, **{**small, **options})


def says_two(index: int, response: list[int]) -> float:
    return float(2 in response)


def never_correct_first(index: int, response: list[int]) -> float:
    return float(index > 0 and 2 in response)


def test_sampling_stops_at_the_end_token_and_pads() -> None:
    config = settings(max_new_tokens=20)
    prompts = PROMPTS * 8
    tokens, attention, mask, *_ = sample(tiny_model(), prompts, config, torch.Generator().manual_seed(0))
    width = mask.shape[1]
    ended = 0
    for prompt, row, seen, actions in zip(prompts, tokens, attention, mask, strict=True):
        length = int(actions.sum())
        assert actions.tolist() == [True] * length + [False] * (width - length)
        assert row[seen.bool()].tolist() == prompt + row[-width:][actions].tolist()
        response = row[-width:][actions].tolist()
        assert EOS not in response[:-1]
        assert (response[-1] == EOS) or length == width
        ended += response[-1] == EOS
    assert ended > 0


def test_scores_equal_those_of_each_sequence_alone() -> None:
    model, config = tiny_model(), settings()
    tokens, attention, mask, *_ = sample(model, PROMPTS, config, torch.Generator().manual_seed(1))
    width = mask.shape[1]
    log_probs, entropy = score_tokens(model, tokens, attention, width, 1.0)
    for row in range(len(PROMPTS)):
        sequence = tokens[row][attention[row].bool()].unsqueeze(0)
        length = int(mask[row].sum())
        alone = torch.log_softmax(model(input_ids=sequence).logits[0].float(), -1)[-length - 1 : -1]
        expected = alone.gather(-1, sequence[0, -length:, None]).squeeze(-1)
        torch.testing.assert_close(log_probs[row, :length], expected, rtol=1e-4, atol=1e-5)
        surprise = torch.distributions.Categorical(logits=alone).entropy()
        torch.testing.assert_close(entropy[row, :length], surprise, rtol=1e-4, atol=1e-5)


def test_cached_sampling_follows_the_model() -> None:
    # at a temperature near 0 sampling is greedy decoding, which HF's own generate does as well
    model, config = tiny_model(3), settings(temperature=1e-4, max_new_tokens=5)
    tokens, _, mask, *_ = sample(model, PROMPTS, config, torch.Generator().manual_seed(0))
    width = mask.shape[1]
    for prompt, row, actions in zip(PROMPTS, tokens, mask, strict=True):
        out = model.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=5, eos_token_id=EOS, pad_token_id=PAD
        )
        assert row[-width:][actions].tolist() == out[0, len(prompt) :].tolist()


def test_the_same_seed_gives_the_same_run_and_another_another() -> None:
    runs = []
    for seed in (0, 0, 1):
        model = tiny_model()
        logs = list(train(model, PROMPTS, says_two, settings(seed=seed, epochs=2, mini_batches=2)))
        runs.append((str(logs), [weight.clone() for weight in model.parameters()]))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))
    assert runs[0][0] != runs[2][0]


def test_alpha_zero_is_dapo_without_dynamic_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    get = methods.get
    monkeypatch.setattr(methods, "get", lambda name: dataclasses.replace(get(name), dynamic_sampling=False))
    weights = []
    for dipo in ({"alpha": 0.0, "psd": False}, {"method": "dapo"}, {"psd": False}):
        model = tiny_model()
        list(train(model, PROMPTS, never_correct_first, settings(dipo=dipo)))
        weights.append(torch.cat([weight.flatten() for weight in model.parameters()]).detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])  # prompt 0 is always incorrect: there DiPO acts


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_extreme_groups_alone_train_by_the_reallocation_alone(alpha: float) -> None:
    model = tiny_model()
    before = torch.cat([weight.flatten() for weight in model.parameters()]).detach().clone()
    config = settings(dipo={"psd": False, "alpha": alpha})
    logs = list(train(model, PROMPTS, lambda index, response: 0.0, config))
    after = torch.cat([weight.flatten() for weight in model.parameters()]).detach()
    assert torch.equal(before, after) == (alpha == 0.0)
    assert all(log["dipo/fired_hard"] == 4 for log in logs)


@pytest.mark.parametrize("method", methods.names())
def test_every_method_learns_a_token(method: str) -> None:
    config = settings(dipo={"method": method}, steps=25, lr=8e-3, max_new_tokens=4)
    logs = list(train(tiny_model(), PROMPTS, says_two, config))
    accuracy = [float(log["accuracy"]) for log in logs]
    assert sum(accuracy[-5:]) / 5 > sum(accuracy[:5]) / 5 + 0.3
    assert all(math.isfinite(float(log["loss"])) for log in logs)


def test_dynamic_sampling_keeps_mixed_groups_and_fills_the_batch() -> None:
    config = settings(dipo={"method": "dapo", "refill_cap": 3.0}, steps=1)
    seen: list[int] = []

    def half(index: int, response: list[int]) -> float:
        seen.append(index)
        return 1.0 if index == 0 else float(len(response) % 2)  # prompt 0 is always correct

    logs = list(train(tiny_model(), PROMPTS, half, config))
    assert len(seen) > 4 * 8
    assert logs[0]["sampled_responses"] == len(seen)
    assert logs[0]["responses"] == 4 * 8
    assert logs[0]["zero_gradient_share"] == 1 - 4 * 8 / len(seen)
    assert logs[0]["loss"] != 0


@pytest.mark.parametrize(("cap", "sampled"), [(0.5, 6), (1.0, 8), (2.5, 14)])
def test_dynamic_sampling_asks_for_the_missing_prompts_alone_up_to_its_cap(cap: float, sampled: int) -> None:
    config = settings(dipo={"method": "dapo", "refill_cap": cap}, steps=1)
    logs = list(train(tiny_model(), PROMPTS, lambda index, response: 1.0, config))
    assert logs[0]["sampled_responses"] == sampled * 8
    assert logs[0]["zero_gradient_share"] == 1.0


def test_what_it_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="keep_and_refill"):
        next(train(tiny_model(), PROMPTS, says_two, settings(dipo={"keep_and_refill": True})))


def test_join_pads_and_scores_stay_the_same() -> None:
    model = tiny_model()
    first = collect_once(
        model, [[3]], says_two, settings(max_new_tokens=3), torch.Generator().manual_seed(0), repeat(0)
    )
    second = collect_once(
        model, [[3, 4, 5]], says_two, settings(), torch.Generator().manual_seed(1), repeat(0)
    )
    both = join(first, second, PAD)
    assert both.tokens_BT.shape == both.attention_BT.shape
    mask = both.action_mask_BA
    log_probs, _ = score_tokens(model, both.tokens_BT, both.attention_BT, mask.shape[1], 1.0)
    torch.testing.assert_close(log_probs[mask].detach(), both.log_probs_BA[mask], rtol=1e-4, atol=1e-5)
    assert both.rows(torch.tensor([0])).scores_B.shape == (1,)


@pytest.mark.parametrize("reduction", get_args(Reduction))
@pytest.mark.parametrize("pass_tokens", [1, 60, 10_000])
def test_the_gradient_is_that_of_one_loss_over_whole_rows(
    reduction: Reduction, pass_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "in_passes", functools.partial(in_passes, limit=pass_tokens))
    model, config = tiny_model(), settings(temperature=0.8)
    batch = collect_once(
        model, PROMPTS, says_two, config, torch.Generator().manual_seed(0), prompt_order(len(PROMPTS), 0)
    )
    mask, random = batch.action_mask_BA, torch.Generator().manual_seed(1)
    advantages = torch.randn(mask.shape, generator=random) * mask
    advantages[::3] = 0
    old = batch.log_probs_BA + 0.3 * torch.randn(mask.shape, generator=random)
    batch = dataclasses.replace(batch, log_probs_BA=old)
    rows = torch.randperm(len(mask), generator=random)[:20]
    method = dataclasses.replace(methods.get("dapo"), reduction=reduction)

    model.zero_grad()
    loss = reference.add_gradient(model, batch, advantages, rows, config, method)
    found = [weight.grad.clone() for weight in model.parameters()]

    model.zero_grad()
    part = batch.rows(rows)
    new, _ = score_tokens(model, part.tokens_BT, part.attention_BT, mask.shape[1], config.temperature)
    expected = clipped_loss(
        new, part.log_probs_BA, advantages[rows], part.action_mask_BA, method.clip_low, method.clip_high,
        reduction, config.max_new_tokens,
    )  # fmt: skip
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for one, weight in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(one, weight.grad, rtol=1e-3, atol=1e-4 * float(weight.grad.abs().max()))


def test_without_an_advantage_the_optimizer_moves_on() -> None:
    model, config = tiny_model(), settings(dipo={"method": "grpo"})
    optimizer, random = new_optimizer(model, config), torch.Generator().manual_seed(0)
    moved = []
    for scores in (torch.tensor([1.0, 0.0] * 16), torch.zeros(32)):
        batch = collect_once(model, PROMPTS, says_two, config, random, prompt_order(len(PROMPTS), 0))
        batch = dataclasses.replace(batch, scores_B=scores)
        before = torch.cat([weight.flatten() for weight in model.parameters()]).detach().clone()
        metrics, _ = learn(model, optimizer, batch, config, PerplexityQueue(), random)
        after = torch.cat([weight.flatten() for weight in model.parameters()]).detach()
        moved.append(float((after - before).abs().max()))
    assert metrics["loss"] == 0
    assert moved[0] > moved[1] > 0  # by its momentum


def test_a_queue_given_is_used() -> None:
    queue = PerplexityQueue(2)
    list(train(tiny_model(), PROMPTS, says_two, settings(), queue))
    assert (queue.pushes, len(queue)) == (3, 64)


def test_clipped_loss_by_hand() -> None:
    new = torch.log(torch.tensor([[0.6, 0.3], [0.2, 0.9]]))
    old = torch.log(torch.tensor([[0.4, 0.3], [0.4, 0.5]]))
    advantages = torch.tensor([[1.0, 1.0], [-1.0, 7.0]])
    mask = torch.tensor([[True, True], [True, False]])
    # ratios 1.5 -> 1.28 of 1.0; 1.0; 0.5 with A < 0 -> 0.8
    assert float(clipped_loss(new, old, advantages, mask)) == pytest.approx((-1.28 - 1 + 0.8) / 3)
    response = clipped_loss(new, old, advantages, mask, reduction="response_mean")
    assert float(response) == pytest.approx(((-1.28 - 1) / 2 + 0.8) / 2)
    constant = clipped_loss(new, old, advantages, mask, reduction="constant", max_tokens=5)
    assert float(constant) == pytest.approx((-1.28 - 1 + 0.8) / 10)
    with pytest.raises(ValueError, match="no action token"):
        clipped_loss(new, old, advantages, torch.zeros_like(mask))


def test_no_prompts_is_an_error() -> None:
    nothing: list[list[list[int]]] = [[], [[]]]
    for prompts in nothing:
        with pytest.raises(ValueError, match="at least one prompt"):
            next(train(tiny_model(), prompts, says_two, settings()))
