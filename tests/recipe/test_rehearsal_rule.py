"""The shrink rule: every shipped recipe in every variant keeps all of its settings but those that the rule names."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe import files as recipe_files
from dipo_openrlhf.recipe.files import recipe_names, variant_names
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.rehearsal import DEVICE, REPLACED, SIZES, check_rehearsal, rehearsal
from dipo_openrlhf.recipe.yaml_lines import Setting


def names() -> list[str]:
    """Every recipe for GPUs, alone and with each variant that goes with it, on one node and on four."""
    found = []
    for name in recipe_names():
        if name.startswith("quickstart"):
            continue
        for variant, cluster in itertools.product(["", *variant_names()], ["", "4x8"]):
            whole = "+".join(part for part in (name, variant, cluster) if part)
            try:
                load_recipe(whole)
            except UserError:
                one_gpu = name == "math_qwen25_1.5b_lora" and "4x8" in whole
                assert "async" in whole or one_gpu, "a variant that does not go with a recipe"
            else:
                found.append(whole)
    return found


NAMES = names()
REFILL = {"dipo.keep_and_refill": True, "train.batch_size": 10240, "train.dynamic_batch_enable": False}


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    monkeypatch.setattr(recipe_files, "read_settings", _read_settings)


_read_settings = functools.cache(recipe_files.read_settings)


def settings(values: dict[str, Any]) -> dict[str, Setting]:
    return {key: Setting(value, "test") for key, value in values.items()}


def both(name: str, **given: Any) -> tuple[Recipe, Recipe]:
    """(the recipe on GPUs, its rehearsal)."""
    shipped = load_recipe(name, settings({**given, "run.device": "gpu"}))
    return shipped, load_recipe(name, settings({**given, **rehearsal(shipped)}))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_else_changes(name):
    shipped, rehearsed = both(name)
    check_rehearsal(shipped, rehearsed)
    ranks = rehearsed.get("actor.num_nodes") * rehearsed.get("actor.num_gpus_per_node")
    assert (ranks, rehearsed.get("vllm.num_engines"), rehearsed.run.nodes) == (2, 2, 2)
    samples = rehearsed.get("rollout.batch_size") * rehearsed.get("rollout.n_samples_per_prompt")
    assert samples == 32
    assert samples // rehearsed.get("train.batch_size") == 2, (
        "several optimizer steps in a batch, as in the recipe"
    )
    room = rehearsed.get("data.max_len") - rehearsed.get("rollout.max_new_tokens")
    assert room >= 64
    # Without dynamic batches a budget has no effect, and a recipe that names one is refused.
    budgets = ("train.max_tokens_per_gpu", "rollout.max_tokens_per_gpu")
    for key in budgets if shipped.get("train.dynamic_batch_enable") else ():
        assert rehearsed.get(key) / rehearsed.get("data.max_len") == pytest.approx(
            shipped.get(key) / shipped.get("data.max_len"), rel=0.02
        )


def test_what_is_device_of_a_rehearsal_is_short():
    """Each entry is a part of a GPU run that no rehearsal reaches."""
    assert len(DEVICE) == 5
    assert not {*DEVICE} & {*SIZES, *REPLACED}


def test_keep_and_refill_keeps_its_room():
    shipped, rehearsed = both("math_qwen3_4b", **REFILL)
    check_rehearsal(shipped, rehearsed)
    assert rehearsed.get("train.batch_size") == 40, "10 groups where 8 are asked for, as 640 of 512"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"ds.packing_samples": False}, r"ds\.packing_samples \(True -> False\)"),
        ({"ds.zero_stage": 2}, "ds.zero_stage"),
        ({"vllm.enable_sleep": False}, "vllm.enable_sleep"),
        ({"ds.adam_offload": True}, "ds.adam_offload"),
        ({"dipo.alpha": 0.5}, "dipo.alpha"),
        ({"watch.when": "during"}, "watch.when"),
        ({"evaluate.samples": 1}, "evaluate.samples"),
        ({"run.step_timeout": 60}, "run.step_timeout"),
    ],
)
def test_a_setting_that_is_changed_or_dropped_is_an_error(changes, word):
    shipped, _ = both("math_qwen3_4b")
    other = load_recipe("math_qwen3_4b", settings({**rehearsal(shipped), **changes}))
    with pytest.raises(UserError, match=word):
        check_rehearsal(shipped, other)


def test_a_switch_of_the_recipe_that_the_rehearsal_lacks_is_an_error():
    shipped, rehearsed = both("tools_qwen25_3b")
    more = replace(shipped, openrlhf={**shipped.openrlhf, "ds.overlap_comm": True})
    with pytest.raises(UserError, match=r"ds\.overlap_comm \(True -> False\)"):
        check_rehearsal(more, rehearsed)
