"""A recipe is validated before anything starts, and a mistake is one line that names key, value and place."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.recipe.files import BUILT_IN
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.openrlhf_args import openrlhf_actions, openrlhf_parser
from dipo_openrlhf.recipe.yaml_lines import Setting, parse_overrides, read_settings

MINIMAL = """\
run: {device: cpu}
actor:
  model_name_or_path: some/model
data: {prompt_dataset: some/data}
rollout: {batch_size: 8, n_samples_per_prompt: 4}
train: {batch_size: 32}
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def load(tmp_path: Path, text: str = MINIMAL, *arguments: str):
    return load_recipe(write(tmp_path, text), parse_overrides(list(arguments)))


def test_parser_is_openrlhfs_own():
    actions = openrlhf_actions()
    assert len(actions) > 140
    assert actions["rollout.n_samples_per_prompt"].default == 1
    assert actions["algo.kl.init_coef"].default == 0.01
    assert actions["actor.policy_loss_type"].choices == ["ppo", "gspo"]


def test_argv_is_accepted_by_openrlhfs_parser(tmp_path):
    recipe = load(tmp_path, MINIMAL, "--actor.adam.betas", "0.9", "0.98", "--ds.param_dtype", "bf16")
    parsed = vars(openrlhf_parser().parse_args(recipe.argv()))
    assert parsed["actor.adam.betas"] == [0.9, 0.98]
    assert parsed["actor.eps_clip_low_high"] == [0.2, 0.28]
    assert parsed["algo.kl.init_coef"] == 0
    assert parsed["algo.advantage.estimator"] == "group_norm"
    assert parsed["vllm.enforce_eager"] is True
    assert parsed["reward.remote_url"].endswith("rewards/math.py")


def test_scientific_notation_and_flags(tmp_path):
    recipe = load(tmp_path, MINIMAL + "actor.adam.lr: 1e-6\nactor.muon.no_nesterov: false\n")
    assert recipe.openrlhf["actor.adam.lr"] == 1e-6
    assert "--actor.muon.no_nesterov" not in recipe.argv()


def test_command_line_wins_over_recipe_over_base(tmp_path):
    write(tmp_path, MINIMAL + "train.seed: 1\nrollout.temperature: 0.7\n")
    child = tmp_path / "child.yaml"
    child.write_text("extends: recipe\ntrain: {seed: 2, max_epochs: 3}\n", encoding="utf-8")
    recipe = load_recipe(str(child), parse_overrides(["--train.max_epochs", "4"]))
    assert recipe.get("train.seed") == 2
    assert recipe.get("rollout.temperature") == 0.7
    assert recipe.get("train.max_epochs") == 4
    assert recipe.where["train.seed"].endswith("child.yaml:2")


def test_hash_depends_on_training_alone(tmp_path):
    base = load(tmp_path)
    assert load(tmp_path, MINIMAL, "--run.save_rollouts", "false").hash == base.hash
    assert load(tmp_path, MINIMAL, "--dipo.alpha", "0.2").hash != base.hash
    assert load(tmp_path, MINIMAL, "--train.seed", "7").hash != base.hash


def test_the_install_folder_is_not_part_of_the_hash(tmp_path):
    ours = "lib/dipo_openrlhf/rewards/math.py"
    here, there = (load(tmp_path, MINIMAL, "--reward.remote_url", f"/{root}/{ours}") for root in ("a", "b/c"))
    assert here.hash == there.hash
    assert load(tmp_path, MINIMAL, "--reward.remote_url", "/a/mine/math.py").hash != here.hash


MISTAKES = [
    # text added, words that the one line must contain
    (
        "rollout.n_sample_per_prompt: 8",
        ["recipe.yaml:7", "n_sample_per_prompt", "rollout.n_samples_per_prompt"],
    ),
    ("actr.adam.lr: 1", ["actr.adam.lr", "actor.adam.lr"]),
    ("dipo: {alpah: 0.1}", ["alpah", "alpha"]),
    ("dipo: {alpha: -1}", ["alpha", "-1"]),
    ("dipo: {group_space: median}", ["group_space", "median", "mean"]),
    ("run.device: auto", ["recipe.yaml:1", "run.device", "set twice"]),
    ("run.devise: cpu", ["run.devise", "run.device"]),
    ("evaluate: {suite: [gsm8k]}", ["evaluate.suite", "evaluate.suites"]),
    ("evaluate: {limit: 0}", ["evaluate.limit", "0"]),
    ("actor.adam.lr: fast", ["actor.adam.lr", "'fast'", "a number"]),
    ("train.max_epochs: 1.5", ["train.max_epochs", "1.5", "whole number"]),
    ("train.seed: true", ["train.seed", "True"]),
    ("ckpt.save_hf: 1", ["ckpt.save_hf", "true or false"]),
    ("actor.adam.betas: [0.9]", ["actor.adam.betas", "2 values"]),
    ("rollout.temperature: [1, 2]", ["rollout.temperature", "one value"]),
    ("actor.policy_loss_type: grpo", ["actor.policy_loss_type", "ppo, gspo"]),
    ("algo.dynamic_filtering_enable: true", ["algo.dynamic_filtering_enable", "must be false with dipo"]),
    ("algo.kl.init_coef: 0.01", ["algo.kl.init_coef", "0.01", "must be 0 with dipo"]),
    ("algo.advantage.estimator: gae", ["algo.advantage.estimator", "gae", "group_norm"]),
    ("algo.advantage.estimator: dr_grpo", ["algo.advantage.estimator", "dipo.estimator"]),
    (
        "train.async_enable: true\nalgo.advantage.is_correction_level: off",
        ["recipe.yaml:", "algo.advantage.is_correction_level", "token or seq with train.async_enable"],
    ),
    ("train.async_enable: true\ntrain.async_queue_size: 0", ["train.async_queue_size", "0", "at least 1"]),
    ("train.partial_rollout_enable: true", ["train.partial_rollout_enable", "train.async_enable: true"]),
    (
        "rollout.vllm_generate_batch_size: 16",
        ["rollout.vllm_generate_batch_size", "16", "train.async_enable: true"],
    ),
    ("rollout.vllm_generate_batch_size: 4", ["rollout.vllm_generate_batch_size", "at least", "8"]),
    (
        "train.async_enable: true\nrollout.vllm_generate_batch_size: 16\ndipo.method: dapo",
        ["rollout.vllm_generate_batch_size", "dapo", "refill_cap"],
    ),
    ("ds.load_in_4bit: true", ["ds.load_in_4bit", "engines"]),
    ("train.enable_ema: true", ["train.enable_ema", "moving average"]),
    ("vllm.sync_backend: nccl", ["vllm.sync_backend", "gloo"]),
    ("vllm.num_engines: 0", ["vllm.num_engines"]),
    ("logger.wandb.key: secret", ["WANDB_API_KEY"]),
    ("train.micro_batch_size: 5", ["train.batch_size", "multiple"]),
    (
        "dipo: {normalizer: per_stream}\nactor.loss_agg_mode: seq-mean-token-mean",
        ["normalizer", "token-mean"],
    ),
    ("dipo: {normalizer: per_stream, keep_and_refill: true}", ["normalizer", "keep_and_refill"]),
    ("dipo.keep_and_refill: true", ["dipo.keep_and_refill", "train.batch_size must be above 32", "40"]),
    ("dipo: {keep_and_refill: 1}", ["keep_and_refill", "true or false"]),
    ("dipo: {refill_cap: 0}", ["refill_cap", "0"]),
    ("dipo: {method: grpo, keep_and_refill: true}", ["keep_and_refill", "grpo"]),
    ("dipo.method: dapo\nalgo.dynamic_filtering_enable: true", ["dynamic_filtering_enable", "refill_cap"]),
    ("dipo.method: cde\nreward.overlong_buffer_len: 8", ["reward.overlong_buffer_len", "cde"]),
    ("dipo.method: rl_zvp\nreward.clip_range: [-1, 1]", ["reward.clip_range", "rl_zvp"]),
    ("dipo.method: grpo\nalgo.kl.init_coef: 0.01", ["algo.kl.init_coef", "algo.kl.use_loss"]),
    ("dipo.method: dr_gppo", ["method", "dr_grpo"]),
    ("run.max_undecided_rate: 2", ["run.max_undecided_rate", "2"]),
    ("run.wandb: always", ["run.wandb", "always"]),
    ("actor.muon.nesterov: false", ["actor.muon.no_nesterov: true"]),
    ("extends: nowhere", ["nowhere"]),
    ("x: [", ["recipe.yaml:", "YAML"]),
]


@pytest.mark.parametrize(("added", "words"), MISTAKES, ids=[added.split(":")[0] for added, _ in MISTAKES])
def test_a_mistake_is_one_line(tmp_path, added, words):
    with pytest.raises(UserError) as caught:
        load(tmp_path, MINIMAL + added + "\n")
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("method", methods.names())
def test_a_methods_file_decides_openrlhfs_arguments(tmp_path, method):
    recipe = load(tmp_path, MINIMAL, "--dipo.method", method)
    parsed = vars(openrlhf_parser().parse_args(recipe_argv(recipe)))
    expected = methods.get(method)
    assert parsed["algo.advantage.estimator"] == expected.estimator
    assert parsed["actor.eps_clip_low_high"] == [expected.clip_low, expected.clip_high]
    modes = {"token_mean": "token-mean", "response_mean": "seq-mean-token-mean", "constant": "token-mean"}
    assert parsed["actor.loss_agg_mode"] == modes[expected.reduction]
    assert parsed["algo.dynamic_filtering_enable"] is False  # refill.py samples dynamically, not OpenRLHF


def recipe_argv(recipe) -> list[str]:
    """fp32 is added to the parser's choices at launch (openrlhf_patch/driver.py)."""
    return ["bf16" if token == "fp32" else token for token in recipe.argv()]


def test_secret_is_not_repeated(tmp_path):
    with pytest.raises(UserError) as caught:
        load(tmp_path, MINIMAL, "--logger.wandb.key", "abc123secret")
    assert "abc123secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--rollout.n_samples_per_prompt", "1", "--train.batch_size", "8"],
            ["n_samples_per_prompt", "at least 2"],
        ),
        (["--train.batch_size", "24"], ["train.batch_size", "must divide", "32"]),
        (["--rollout.max_new_tokens", "5000"], ["rollout.max_new_tokens", "no room"]),
        (["--reward.overlong_buffer_len", "9999"], ["reward.overlong_buffer_len"]),
        (["--dipo.method", "ppo2"], ["method"]),
        (["--dipo.alpha", "0.1", "--dipo.alhpa", "1"], ["--dipo.alhpa: dipo.alhpa = 1: no such key"]),
        (
            ["--dipo.normalizer", "per_stream", "--rollout.batch_size", "16"],
            ["dipo.normalizer", "per_stream", "one optimizer step", "64, not 32"],
        ),
        (["--dipo.method", "dr_grpo", "--rollout.batch_size", "16"], ["dr_grpo", "64, not 32"]),
        (
            ["--dipo.keep_and_refill", "true", "--train.batch_size", "40", "--actor.entropy_coef", "0.1"],
            ["actor.entropy_coef", "keep_and_refill"],
        ),
        (
            ["--train.batch_size", "16", "--rollout.n_samples_per_prompt", "6"],
            ["train.batch_size", "multiple of rollout.n_samples_per_prompt = 6", "whole groups"],
        ),
        (["actor.adam.lr", "1"], ["unexpected argument"]),
    ],
)
def test_impossible_combinations(tmp_path, arguments, words):
    with pytest.raises(UserError) as caught:
        load(tmp_path, MINIMAL, *arguments)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("missing", ["actor", "data"])
def test_missing_model_or_data(tmp_path, missing):
    keep = {"actor": "data: {prompt_dataset: x}", "data": "actor: {model_name_or_path: x}"}[missing]
    with pytest.raises(UserError, match=f"{missing}.*is missing"):
        load(tmp_path, f"run: {{device: cpu}}\n{keep}\nrollout.n_samples_per_prompt: 4\n")


def test_unknown_recipe_suggests_a_name():
    with pytest.raises(UserError, match="did you mean quickstart"):
        load_recipe("quickstrat")


@pytest.mark.parametrize("name", ["quickstart", "quickstart_smollm2", "quickstart_tools"])
def test_a_quickstart_recipe_loads(name):
    """`dipo quickstart` fills in these two; all others are in test_shipped_recipes.py."""
    given = {
        "actor.model_name_or_path": Setting("org/model", "test"),
        "data.prompt_dataset": Setting("org/data", "test"),
        "run.device": Setting("cpu", "test"),
    }
    recipe = load_recipe(str(BUILT_IN / f"{name}.yaml"), given)
    openrlhf_parser().parse_args(recipe_argv(recipe))


def test_circle_of_extends(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b\n")
    (tmp_path / "b.yaml").write_text("extends: a\n")
    with pytest.raises(UserError, match="circle"):
        load_recipe(str(tmp_path / "a.yaml"))


def test_off_is_a_string_and_false_a_boolean(tmp_path):
    text = MINIMAL + "algo.advantage.is_correction_level: off\nckpt.save_hf: false\nrun.wandb: off\n"
    recipe = load(tmp_path, text)
    assert recipe.get("algo.advantage.is_correction_level") == "off"
    assert recipe.get("ckpt.save_hf") is False
    assert recipe.run.wandb == "off"
    assert load(tmp_path, MINIMAL, "--run.wandb", "on").run.wandb == "on"


def test_asynchronous_training_turns_the_correction_on(tmp_path):
    """Perplexities are the rollout's then, and OpenRLHF requests its engine's log-probabilities with it alone."""
    key = "algo.advantage.is_correction_level"
    recipe = load(tmp_path, MINIMAL + "train.async_enable: true\n")
    assert recipe.get(key) == "token"
    assert recipe.where[key] == "default with train.async_enable"
    assert load(tmp_path, MINIMAL).get(key) == "off"
    assert load(tmp_path, MINIMAL + "train.async_enable: true\n", f"--{key}", "seq").get(key) == "seq"


def test_the_engine_cannot_sleep_while_it_samples_beside_the_training(tmp_path):
    text = MINIMAL + "train.async_enable: true\ntrain.colocate_all: true\nvllm.enable_sleep: true\n"
    with pytest.raises(UserError, match=r"vllm\.enable_sleep: True: must be false with train\.async_enable"):
        load(tmp_path, text, "--run.device", "gpu", "--vllm.num_engines", "1")


def test_overrides_parse():
    settings = parse_overrides(["--a.b", "1", "2", "--c=x", "--flag", "--d.e", "-0.5"])
    assert {key: setting.value for key, setting in settings.items()} == {
        "a.b": [1, 2],
        "c": "x",
        "flag": True,
        "d.e": -0.5,
    }


def test_settings_remember_their_line(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("a:\n  b: 1\n  c: {d: 2}\ne.f: [3, 4]\n")
    settings = read_settings(path)
    assert settings["a.b"] == Setting(1, f"{path}:2")
    assert settings["a.c.d"].where.endswith(":3")
    assert settings["e.f"].value == [3, 4]


def test_a_run_joins_a_cluster_only_on_request(tmp_path):
    from dipo_openrlhf.run.plan import plan_run

    alone, joined = load(tmp_path), load(tmp_path, MINIMAL, "--run.ray", "cluster")
    assert (plan_run(alone).cluster, plan_run(joined).cluster) == (False, True)
    assert joined.hash == alone.hash
    with pytest.raises(UserError, match=r"run\.ray: 'clustr'"):
        load(tmp_path, MINIMAL, "--run.ray", "clustr")


def test_the_users_own_folder_is_spelled_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = load(tmp_path, MINIMAL, "--run.dir", "~/runs/x")
    assert recipe.run_dir == tmp_path / "runs" / "x"
    assert recipe.get("ckpt.path") == str(tmp_path / "runs" / "x" / "ckpt")
