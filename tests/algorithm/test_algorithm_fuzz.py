"""Hostile input: a clear ValueError or a correct result, never a crash of another kind or a silent NaN."""

from __future__ import annotations

import ast
import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dipo_openrlhf.algorithm as algorithm
from dipo_openrlhf.algorithm import DipoConfig, PerplexityQueue, dipo_advantages, reallocation_advantages

SPECIAL = [math.nan, math.inf, -math.inf, 0.7, 0.0, -1.0, 1e30, -0.0, 1.0]


@given(
    prompts=st.integers(0, 4),
    samples=st.integers(0, 4),
    data=st.data(),
    psd=st.booleans(),
    group_space=st.sampled_from(["mean", "all", "argmax", "subset"]),
    estimator=st.sampled_from(["group_norm", "dr_grpo"]),
    current=st.booleans(),
)
@settings(max_examples=300, deadline=None, database=None)
def test_any_values(
    prompts: int,
    samples: int,
    data: st.DataObject,
    psd: bool,
    group_space: str,
    estimator: str,
    current: bool,
) -> None:
    size = prompts * samples

    def draw(values: list[float]) -> torch.Tensor:
        flat = data.draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))
        return torch.tensor(flat, dtype=torch.float32).reshape(prompts, samples)

    rewards = draw(data.draw(st.sampled_from([[0.7], [0.0, 1.0], SPECIAL])))
    correct = draw(data.draw(st.sampled_from([[0.0], [1.0], [0.0, 1.0], [0.0, 1.0, 0.5, math.nan]])))
    log_ppl = draw(data.draw(st.sampled_from([[0.5], [0.1, 0.2, 3.0, math.nan], SPECIAL])))
    config = DipoConfig(
        psd=psd,
        group_space=group_space,  # type: ignore[arg-type]
        estimator=estimator,  # type: ignore[arg-type]
        include_current_batch=current,
        min_side_samples=1,
    )
    bad = (
        not torch.isfinite(rewards).all()
        or not ((correct == 0) | (correct == 1)).all()
        or torch.isinf(log_ppl).any()
    )
    queue = PerplexityQueue()
    if bad:
        with pytest.raises(ValueError, match=r"^\w+.*: .+"):
            dipo_advantages(rewards, correct, log_ppl, config, queue)
        assert queue.pushes == 0
        return
    advantages, metrics = dipo_advantages(rewards, correct, log_ppl, config, queue)
    assert advantages.shape == (prompts, samples)
    assert torch.isfinite(advantages).all() or float(rewards.abs().max()) > 1e18  # 1e30 squared has no float
    assert queue.pushes == 1
    assert set(metrics) == set(
        dipo_advantages(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1), config, queue)[1]
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_and_strides(dtype: torch.dtype) -> None:
    correct = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]])
    p = torch.tensor([[0.25, 0.5, 0.75, 1.0]] * 3)
    config = DipoConfig(psd=False)
    expected, _ = dipo_advantages(correct.float(), correct, p, config, PerplexityQueue())
    strided = [t.T.contiguous().T for t in (correct.to(dtype), correct, p.to(dtype))]
    assert not strided[0].is_contiguous()
    found, _ = dipo_advantages(strided[0], strided[1], strided[2], config, PerplexityQueue())
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.float(), expected)


def test_inputs_are_not_changed_and_need_no_gradient() -> None:
    rewards, p = torch.zeros(2, 3), torch.rand(2, 3, requires_grad=True)
    before = p.detach().clone()
    advantages, _ = dipo_advantages(rewards, rewards, p, DipoConfig(psd=False), PerplexityQueue())
    assert not advantages.requires_grad
    assert torch.equal(p.detach(), before)
    assert (rewards == 0).all()


@pytest.mark.parametrize("shape", [(6,), (2, 3, 1)])
def test_wrong_ranks(shape: tuple[int, ...]) -> None:
    zeros = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"\[P, G\]"):
        dipo_advantages(zeros, zeros, zeros, DipoConfig(), PerplexityQueue())


def test_unequal_shapes_and_wrong_types() -> None:
    good = torch.zeros(2, 3)
    for rewards, correct, p in (
        (good, torch.zeros(2, 2), good),
        (good, good, torch.zeros(3, 3)),
        (good.bool(), good, good),
        (good, good, good.long()),
    ):
        with pytest.raises(ValueError, match=r": "):
            reallocation_advantages(rewards, correct, p, DipoConfig(), PerplexityQueue())
    config = DipoConfig(normalizer="per_stream")
    with pytest.raises(ValueError, match="num_tokens"):
        reallocation_advantages(good, good, good, config, PerplexityQueue(), num_tokens=torch.ones(2))


def test_the_algorithm_imports_torch_and_the_standard_library_alone() -> None:
    allowed = {*sys.stdlib_module_names, "torch", "dipo_openrlhf"}
    for path in Path(algorithm.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                assert module.split(".")[0] in allowed, f"{path.name} imports {module}"
                assert not module.startswith("dipo_openrlhf") or module.startswith("dipo_openrlhf.algorithm")
