"""Keys as other trainers call them, options without a value, names that are no paths: one line says what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.load import known_keys, load_recipe, shown_recipe
from dipo_openrlhf.recipe.other_names import KEY_OF
from dipo_openrlhf.recipe.yaml_lines import parse_overrides

RECIPE = """\
run: {device: cpu}
actor: {model_name_or_path: a/b}
data: {prompt_dataset: a/b, max_len: 128}
rollout: {batch_size: 4, n_samples_per_prompt: 4, max_new_tokens: 64}
train: {batch_size: 16}
"""


def refused(folder: Path, *words: str) -> str:
    (folder / "mine.yaml").write_text(RECIPE)
    with pytest.raises(UserError) as caught:
        load_recipe(str(folder / "mine.yaml"), parse_overrides(list(words)))
    return str(caught.value)


def test_every_name_leads_to_a_key_and_is_none_itself():
    known = set(known_keys())
    assert set(KEY_OF.values()) <= known
    assert not known & KEY_OF.keys()


@pytest.mark.parametrize(
    ("name", "key"), [("pretrain", "actor.model_name_or_path"), ("learning_rate", "actor.adam.lr")]
)
def test_another_trainers_name(tmp_path, name, key):
    assert refused(tmp_path, f"--{name}", "x").endswith(f"unknown key {name} (value 'x'); here it is {key}")


def test_an_option_without_a_value(tmp_path):
    assert refused(tmp_path, "--train.seed") == "--train.seed: has no value: write --train.seed VALUE"
    assert refused(tmp_path, "--run.dir") == "--run.dir: has no value: write --run.dir VALUE"
    for switch in ("run.save_rollouts", "dipo.psd", "train.async_enable"):
        recipe = load_recipe(str(tmp_path / "mine.yaml"), parse_overrides([f"--{switch}"]))
        assert recipe.where[switch] == f"--{switch}"


@pytest.mark.parametrize(
    ("word", "meant"), [("actor.adam.lr=1e-5", "--actor.adam.lr 1e-5"), ("-train.seed", "--train.seed ...")]
)
def test_an_override_in_the_form_of_others(word, meant):
    with pytest.raises(UserError, match="the recipe comes first, then overrides") as caught:
        parse_overrides([word])
    assert str(caught.value).endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--run.dir", "s3://bucket/run"],
            "run.dir: 's3://bucket/run': is an address: a run reads and writes folders",
        ),
        (["--ckpt.path", "hdfs://x/y"], "ckpt.path: 'hdfs://x/y': is an address"),
        (["--run.dir", "$HOME/run"], "'$HOME/run': an environment variable is not filled in here"),
        (["--data.prompt_dataset", "${DATA}/x.jsonl"], "an environment variable is not filled in here"),
        (
            ["--data.prompt_dataset", "a.jsonl", "b.jsonl"],
            "must be one value, not a list: join them by commas",
        ),
        (
            ["--actor.eps_clip_low_high", "0.2,0.28"],
            "must be 2 values: [A, B], or --actor.eps_clip_low_high A B",
        ),
        (["--actor.adam.lr", "5e6"], "actor.adam.lr: 5000000.0: must be at least 0 and at most 1"),
    ],
)
def test_values_that_mean_something_else(tmp_path, words, message):
    assert message in refused(tmp_path, *words)


def test_a_recipe_file_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    with pytest.raises(UserError, match=r"^'mine\.yml': no such file: did you mean mine\.yaml\?$"):
        load_recipe("mine.yml")


def test_several_files_of_prompts_are_made_absolute_each(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(RECIPE.replace("dataset: a/b", "dataset: '~/a.jsonl, b/c,~/d.jsonl'"))
    for name in ("a.jsonl", "d.jsonl"):
        (tmp_path / name).touch()
    recipe = load_recipe(str(tmp_path / "mine.yaml"))
    assert (
        recipe.get("data.prompt_dataset") == f"{tmp_path.resolve()}/a.jsonl,b/c,{tmp_path.resolve()}/d.jsonl"
    )


def test_a_recipe_without_model_or_prompts_is_shown():
    assert shown_recipe("quickstart").where["actor.model_name_or_path"] == "given with the start"
    assert shown_recipe("math_qwen3_4b").get("actor.model_name_or_path") == "Qwen/Qwen3-4B-Base"
