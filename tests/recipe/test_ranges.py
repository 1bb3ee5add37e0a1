"""Every number and every word of a recipe: in its range it is taken, out of it or of another type it is one line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.load import known_keys, load_recipe
from dipo_openrlhf.recipe.openrlhf_args import checked_value, openrlhf_actions
from dipo_openrlhf.recipe.ranges import RANGES, WORDS, Range
from dipo_openrlhf.recipe.schema import EvaluateSection, RunSection, WatchSection
from dipo_openrlhf.recipe.yaml_lines import Setting, parse_overrides

ACTIONS = openrlhf_actions()
NUMBERS = [key for key, action in ACTIONS.items() if action.type in (int, float)]
CHOSEN = [key for key, action in ACTIONS.items() if action.choices]
SECTIONS = {"run": RunSection, "evaluate": EvaluateSection, "watch": WatchSection}


def listed(key: str, value: Any) -> Any:
    nargs = ACTIONS[key].nargs
    return [value] * nargs if isinstance(nargs, int) else [value] if nargs else value


def refused(key: str, value: Any) -> str:
    with pytest.raises(UserError) as caught:
        checked_value(key, Setting(value, "mine.yaml:3"), cpu=False)
    message = str(caught.value)
    assert message.startswith(f"mine.yaml:3: {key}: ")
    assert "\n" not in message
    return message


def test_every_number_has_a_range_and_every_range_is_of_a_number():
    assert set(RANGES) == set(NUMBERS)
    assert all(key in ACTIONS and not ACTIONS[key].choices for key in WORDS)


def test_openrlhfs_defaults_are_in_range():
    for key in NUMBERS:
        default = ACTIONS[key].default
        for value in default if isinstance(default, list | tuple) else [default]:
            assert value is None or RANGES[key].holds(value), key


def edges(allowed: Range, whole: bool) -> Iterator[tuple[float, bool]]:
    """Values at, below and above the ends of a range, and whether each is in it."""
    step = 1 if whole else 1e-6
    for end, is_out, outward in ((allowed.low, allowed.above, -1), (allowed.high, allowed.below, 1)):
        if not math.isinf(end):
            number = int(end) if whole else end
            yield number, not is_out
            yield number + outward * step, number + outward * step == allowed.also
            yield number - outward * step, True
    if allowed.also is not None:
        yield allowed.also, True
    for number in (math.nan, math.inf, -math.inf):
        yield number, allowed.infinite and allowed.low <= number <= allowed.high


@pytest.mark.parametrize("key", NUMBERS)
def test_at_and_beyond_the_ends_of_its_range(key):
    whole = ACTIONS[key].type is int
    for value, is_in in edges(RANGES[key], whole):
        if is_in:
            checked_value(key, Setting(listed(key, value), "mine.yaml:3"), cpu=False)
        else:
            refused(key, listed(key, value))


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", ["many", True, {"a": 1}, "1 000"])
def test_a_number_of_another_type(key, value):
    refused(key, listed(key, value))


@pytest.mark.parametrize("key", [*CHOSEN, *WORDS])
def test_a_word_that_is_none_of_the_choices(key):
    assert "must be one of" in refused(key, "neither")
    for word in [*(ACTIONS[key].choices or []), *WORDS.get(key, ())]:
        assert checked_value(key, Setting(word, "mine.yaml:3"), cpu=False) == word


@pytest.mark.parametrize("key", [key for key, action in ACTIONS.items() if action.nargs == 0])
def test_a_switch_is_true_or_false(key):
    assert "is not true or false" in refused(key, "yes")


MINIMAL = """\
run: {device: cpu}
actor: {model_name_or_path: some/model}
data: {prompt_dataset: some/data}
rollout: {batch_size: 8, n_samples_per_prompt: 4}
train: {batch_size: 32}
"""


def load(tmp_path: Path, *words: str):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    return load_recipe(str(path), parse_overrides(list(words)))


OWN = [key for key in known_keys() if key.partition(".")[0] in (*SECTIONS, "dipo")]


@pytest.mark.parametrize("key", OWN)
@pytest.mark.parametrize("value", ["-7", "nan", "[1, 2]", "{a: 1}", "neither"])
def test_our_own_keys_take_it_or_name_themselves_in_one_line(key, value, tmp_path):
    message = f"--{key}: taken"
    try:
        load(tmp_path, f"--{key}", value)
    except UserError as error:
        message = str(error)
    assert message.startswith(f"--{key}: ")
    assert "\n" not in message
    assert "Input should" not in message


@pytest.mark.parametrize("text", ["@x", "%x", "[a", "*", "007", "2024-01-01", "&x", "a: b", "1e3", "true"])
def test_a_name_is_what_was_typed(text, tmp_path):
    assert load(tmp_path, "--run.name", text).name == text
    assert load(tmp_path, "--logger.wandb.group", text).get("logger.wandb.group") == text


def test_suites_are_written_as_for_dipo_eval(tmp_path):
    assert load(tmp_path, "--evaluate.suites", "gsm8k,math500").evaluate.suites == ["gsm8k", "math500"]
    assert load(tmp_path, "--evaluate.suites", "[gsm8k]").evaluate.suites == ["gsm8k"]
    with pytest.raises(UserError, match=r"evaluate.suites: 5: must be a list, such as \[gsm8k, math500\]"):
        load(tmp_path, "--evaluate.suites", "5")


def test_the_recipe_comes_first():
    with pytest.raises(
        UserError, match=r"unexpected argument 'r.yaml': the recipe comes first, then overrides"
    ):
        parse_overrides(["r.yaml", "--run.name", "x"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--actor.eps_clip", "0.1"], "actor.eps_clip: 0.1: does nothing: .* actor.eps_clip_low_high"),
        (["--data.input_template", "Q: {}"], "data.input_template: 'Q: {}': does nothing with the chat template"),
        (["--train.dynamic_batch_enable", "true", "--ds.packing_samples", "true", "--train.micro_batch_size", "4"],
         "train.micro_batch_size: 4: does nothing with train.dynamic_batch_enable: set train.max_tokens_per_gpu"),
        (["--train.max_tokens_per_gpu", "99"], "train.max_tokens_per_gpu: 99: does nothing without"),
        (["--critic.adam.lr", "1e-5"], "critic.adam.lr: 1e-05: does nothing: .* train no critic"),
        (["--actor.muon.lr", "0.01"], "actor.muon.lr: 0.01: does nothing without actor.optim: muon"),
        (["--reward.overlong_penalty_factor", "2"], "does nothing without reward.overlong_buffer_len"),
        (["--train.async_queue_size", "2"], "does nothing without train.async_enable"),
        (["--actor.lr_scheduler", "linear", "--actor.min_lr_ratio", "0.2"], "does nothing with this"),
        (["--train.agent_func_path", "tool_agent", "--reward.remote_url", "math"],
         "--reward.remote_url: .*does nothing beside train.agent_func_path"),
    ],
)  # fmt: skip
def test_a_key_without_effect_is_refused(words, message, tmp_path):
    with pytest.raises(UserError, match=message):
        load(tmp_path, *words)


def test_a_key_at_its_default_is_no_mistake(tmp_path):
    load(tmp_path, "--actor.eps_clip", "0.2", "--train.max_tokens_per_gpu", "16192")


def test_the_command_line_may_switch_off_what_a_file_sets(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL.replace("batch_size: 32", "batch_size: 32, micro_batch_size: 4"))
    words = ["--train.dynamic_batch_enable", "true", "--ds.packing_samples", "true"]
    words += ["--ds.attn_implementation", "flash_attention_2"]
    load_recipe(str(path), parse_overrides(words))
    with pytest.raises(UserError, match=r"--train\.micro_batch_size: .* does nothing"):
        load_recipe(str(path), parse_overrides([*words, "--train.micro_batch_size", "2"]))


@pytest.mark.parametrize(("slip", "option"), [("--dryrun", "--dry-run"), ("--resum", "--resume")])
def test_a_mistyped_option_of_the_command_is_told_from_a_key(slip, option):
    with pytest.raises(UserError, match=f"{slip}: unknown key .*; did you mean {option}\\?"):
        load_recipe("quickstart", parse_overrides([slip]))
