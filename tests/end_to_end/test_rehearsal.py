"""Shipped recipes are run with their own switches: submitted to two Ray nodes, killed, resumed, evaluated to the end.

What may differ from the recipe is in dipo_openrlhf/recipe/rehearsal.py, and tests/recipe/test_rehearsal_rule.py checks
that for every name. Here each recipe runs once, and each variant that changes structure with a recipe of either task.
"""

from __future__ import annotations

import pytest
from rehearsals import rehearse

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(3000)]

QUICK = "math_qwen3_4b"
REFILL = (
    "--dipo.keep_and_refill",
    "true",
    "--train.batch_size",
    "10240",
    "--train.dynamic_batch_enable",
    "false",
)
MORE: list[tuple[str, tuple[str, ...]]] = [
    ("tools_qwen25_3b", ()),
    ("math_qwen3_8b+async", ()),
    ("math_qwen3_4b+dapo", ()),
    ("math_qwen25_7b", ()),
    ("tools_qwen25_7b", ()),
    ("math_qwen3_8b", ()),
    ("math_qwen3_4b", REFILL),
    ("math_qwen3_8b+response_20k", ()),
    ("math_qwen3_8b+grpo+4x8", ()),
    ("tools_qwen25_3b+dapo", ()),
    ("math_qwen3_8b+async+grpo", ()),
    ("math_qwen3_4b+no_flash_attn", ()),
    ("math_qwen25_1.5b_lora", ()),
    ("tools_qwen25_3b+lora", ()),
    ("tools_llama31_8b", ()),
    ("tools_multi_turn_qwen3_4b", ()),
]


def test_a_shipped_recipe_is_rehearsed(tmp_path):
    print(rehearse(QUICK, tmp_path / "rehearsal").row())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "overrides"), MORE, ids=[" ".join((n, *o[:1])) for n, o in MORE])
def test_every_recipe_and_structure_is_rehearsed(name, overrides, tmp_path):
    print(rehearse(name, tmp_path / "rehearsal", overrides).row())
