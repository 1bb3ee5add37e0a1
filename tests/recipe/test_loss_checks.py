"""The clip range fits the loss, and what does not go with a loss is refused in one line before anything starts."""

from __future__ import annotations

import itertools

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides

RECIPE = """\
run: {device: cpu}
actor.model_name_or_path: some/model
data.prompt_dataset: some/data
rollout: {batch_size: 8, n_samples_per_prompt: 4}
train: {batch_size: 32}
"""
CLIP, MEAN = "actor.eps_clip_low_high", "actor.loss_agg_mode"
GSPO, CISPO = ("--actor.policy_loss_type", "gspo"), ("--actor.policy_loss_type", "cispo")


def load(tmp_path, *arguments: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return load_recipe(str(path), parse_overrides(list(arguments)))


@pytest.mark.parametrize("method", [name for name in methods.names() if not methods.get(name).needs_entropy])
def test_gspo_has_the_clip_range_of_its_paper(tmp_path, method):
    if methods.get(method).reduction == "constant":
        return
    recipe = load(tmp_path, *GSPO, "--dipo.method", method)
    assert (recipe.get(CLIP), recipe.get(MEAN)) == ([3e-4, 4e-4], "seq-mean-token-mean")
    assert recipe.place(CLIP) == "default with actor.policy_loss_type gspo"


def test_the_recipe_s_own_clip_range_holds(tmp_path):
    assert load(tmp_path, *GSPO, f"--{CLIP}", "0.001", "0.002").get(CLIP) == [0.001, 0.002]


@pytest.mark.parametrize("arguments", [(), ("--actor.policy_loss_type", "ppo")])
def test_ppo_has_the_method_s(tmp_path, arguments):
    recipe = load(tmp_path, *arguments, "--dipo.method", "ngrpo")
    assert (recipe.get(CLIP), recipe.get(MEAN)) == ([0.16, 0.24], "token-mean")
    assert recipe.place(CLIP) == "default of dipo.method ngrpo"


def test_cispo_bounds_the_weight_above_alone(tmp_path):
    for more in ((), ("--train.async_enable", "true"), ("--dipo.method", "rl_zvp")):
        recipe = load(tmp_path, *CISPO, *more)
        assert (recipe.get(CLIP), recipe.get(MEAN)) == ([1.0, 4.0], "token-mean")
        assert CISPO in itertools.pairwise(recipe.argv())
    for more, words in (
        (("--actor.dual_clip", "3"), "actor.dual_clip: 3.0: does nothing"),
        (("--dipo.method", "dr_grpo"), "exact with actor.policy_loss_type ppo alone, not with cispo"),
    ):
        with pytest.raises(UserError, match=words):
            load(tmp_path, *CISPO, *more)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--algo.advantage.is_correction_level", "token"), ["is_correction_level: 'token'", "must be off"]),
        (("--algo.advantage.is_correction_level", "seq"), ["is_correction_level: 'seq'", "no threshold"]),
        (("--train.async_enable", "true"), ["actor.policy_loss_type: 'gspo'", "train.async_enable"]),
        ((f"--{MEAN}", "token-mean"), [f"{MEAN}: 'token-mean'", "seq-mean-token-mean"]),
        (("--dipo.method", "rl_zvp"), ["would average the advantages that rl_zvp gives"]),
        (("--dipo.method", "dr_grpo"), ["dipo.method", "not with gspo"]),
    ],
)
def test_what_gspo_ignores_is_one_line(tmp_path, arguments, words):
    with pytest.raises(UserError) as caught:
        load(tmp_path, *GSPO, *arguments)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
