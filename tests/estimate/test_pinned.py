"""Blocks of pinned memory, by hand."""

from __future__ import annotations

import pytest

from dipo_openrlhf.estimate.model_shapes import shape_of
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.pinned import block, engine_blocks, rounding, training_blocks
from dipo_openrlhf.estimate.workload import GIB, workload_of
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides


@pytest.mark.parametrize(
    ("size", "whole"), [(0, 0), (1, 1), (3, 4), (4, 4), (2**20 + 1, 2**21), (1.5 * GIB, 2 * GIB)]
)
def test_a_block_is_a_power_of_two(size, whole):
    assert block(size) == whole


def test_the_training_of_8b_by_hand():
    """1.0238e9 parameters of a rank: sub-groups of 1e9 and the rest, three of 4 B each, and 4 B of gradient."""
    work = workload_of(load_recipe("math_qwen3_8b"), Assumptions())
    part = 8_190_735_360 / 8
    assert training_blocks(work) == pytest.approx([4e9] * 3 + [4 * (part - 1e9)] * 3 + [4 * part])


def test_with_adapters_their_parameters_alone_are_in_blocks():
    """4 B of each of them for master weights and for both moments, and the gradient."""
    recipe = load_recipe("math_qwen25_1.5b_lora", parse_overrides(["--ds.enable_sleep", "true"]))
    work = workload_of(recipe, Assumptions())
    assert work.adapters is not None
    adapters = work.adapters.parameters(work.shape)
    assert adapters < 0.05 * work.shape.parameters
    assert training_blocks(work) == pytest.approx([4 * adapters] * 3 + [work.gradient_bytes * adapters])


def test_the_weights_of_an_engine_are_all_there():
    shape = shape_of("Qwen/Qwen3-8B-Base")
    assert sum(engine_blocks(shape, 1)) == pytest.approx(2 * shape.parameters, rel=1e-3)
    assert sum(engine_blocks(shape, 2)) == pytest.approx(shape.parameters, rel=1e-3)
    # A layer, MiB: 48, 32, 192, 96 become 64, 32, 256, 128; an embedding, 1,187 MiB, becomes 2,048.
    assert sum(map(block, engine_blocks(shape, 1))) == (36 * 480 + 2 * 2_048) * 2**20


def test_it_is_a_fifth_of_what_sleeps_and_nothing_where_nothing_does():
    work = workload_of(load_recipe("math_qwen3_8b"), Assumptions())
    assert 40 * GIB < rounding(work).value < 60 * GIB
    awake = load_recipe(
        "math_qwen3_8b", parse_overrides(["--vllm.enable_sleep", "false", "--ds.enable_sleep", "false"])
    )
    assert rounding(workload_of(awake, Assumptions())).value == 0
