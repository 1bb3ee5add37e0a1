"""A run is continued as the same run, by what its files hold and not by where they lie; anything else is one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_eval.subject.marker import export_folder
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.run.plan import RECIPE, plan_run, write_recipe
from dipo_openrlhf.run.resuming import check_run_dir

TEXT = """\
run: {device: cpu, dir: %s/run}
actor: {model_name_or_path: %s/model, num_gpus_per_node: 1}
data: {prompt_dataset: %s/prompts.jsonl, max_len: 128}
rollout: {batch_size: 8, n_samples_per_prompt: 4, max_new_tokens: 64}
train: {batch_size: 32, micro_batch_size: 8}
reward: {remote_url: %s/reward.py}
"""


def recipe(folder: Path, *words: str) -> Recipe:
    return load_recipe(str(folder / "mine.yaml"), parse_overrides(list(words)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with a complete checkpoint of step 4."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(bytes(100))
    (tmp_path / "prompts.jsonl").write_text('{"input": "1 + 1?", "label": "2"}\n')
    (tmp_path / "reward.py").write_text(
        "def reward_func(queries, prompts, labels): return {'rewards': 1.0}\n"
    )
    (tmp_path / "mine.yaml").write_text(TEXT % ((tmp_path,) * 4))
    one = recipe(tmp_path)
    plan = plan_run(one)
    ckpt = tmp_path / "run" / "ckpt"
    state = checkpoints.state_folder(ckpt, 4)
    state.mkdir(parents=True)
    export_folder(ckpt, 4).mkdir()
    (state / "zero_pp_rank_0_mp_rank_00_optim_states.pt").touch()
    facts = {"recipe_hash": one.hash, "data_sha256": plan.settings["data_sha256"]}
    checkpoints.mark_complete(ckpt, 4, facts)
    write_recipe(one, plan, tmp_path / "run")
    return tmp_path


def resume(folder: Path, *words: str) -> None:
    one = recipe(folder, *words)
    check_run_dir(one, one.run_dir.resolve(), resume=True)


def refused(folder: Path, message: str, *words: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resume(folder, *words)
    assert "\n" not in str(caught.value)


def test_the_same_run_is_continued(folder):
    resume(folder)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("actor.model_name_or_path", "model"),
        ("data.prompt_dataset", "prompts.jsonl"),
        ("reward.remote_url", "reward.py"),
    ],
)
def test_the_same_content_under_another_path_is_the_same(folder, key, name):
    """As in a Ray job, whose folder is another for every upload."""
    other = folder / "unpacked" / name
    other.parent.mkdir()
    shutil.move(folder / name, other)
    resume(folder, f"--{key}", str(other))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "model/model.safetensors",
            bytes(99) + b"1",
            "cannot resume: actor.model_name_or_path: .* has changed since",
        ),
        ("model/config.json", b'{"a": 1}', "cannot resume: actor.model_name_or_path: "),
        (
            "reward.py",
            b"def reward_func(*given): return {'rewards': 0.0}\n",
            "cannot resume: reward.remote_url: ",
        ),
        (
            "prompts.jsonl",
            b'{"input": "1 + 2?", "label": "3"}\n',
            "is not what step 4 was trained on: sha256",
        ),
        ("run/recipe.yaml", b"", "holds no `settings`; restore the file"),
        ("run/recipe.yaml", b"settings: {a: [1", "recipe.yaml:1: not valid YAML"),
        ("run/recipe.yaml", b"settings: 5", "holds no `settings`"),
    ],
)
def test_other_content_is_refused(folder, name, content, message):
    (folder / name).write_bytes(content)
    refused(folder, message)


@pytest.mark.parametrize(
    "words",
    [
        ["--train.micro_batch_size", "4"],
        ["--rollout.micro_batch_size", "2", "--vllm.gpu_memory_utilization", "0.5"],
        ["--actor.gradient_checkpointing_enable", "true"],
        ["--ckpt.save_steps", "7"],
    ],
)
def test_what_costs_memory_and_time_alone_may_change(folder, words):
    resume(folder, *words)


@pytest.mark.parametrize(
    "words", [["--actor.adam.lr", "1e-4"], ["--dipo.alpha", "0.3"], ["--data.max_len", "100"]]
)
def test_what_is_learnt_may_not(folder, words):
    refused(folder, f"cannot resume with a changed recipe: {words[0][2:]}", *words)


def test_without_recipe_yaml_the_checkpoint_tells(folder):
    (folder / "run" / RECIPE).unlink()
    resume(folder)
    refused(
        folder,
        "recipe.yaml is not there, and step 4 in .*ckpt is of another recipe",
        "--actor.adam.lr",
        "1e-4",
    )
    other = ["--run.dir", str(folder / "new"), "--ckpt.path", str(folder / "run" / "ckpt")]
    resume(folder, *other)
    refused(folder, "another recipe", *other, "--dipo.method", "grpo")


def test_a_recipe_yaml_that_is_cut_is_told(folder):
    path = folder / "run" / RECIPE
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:-3]))
    refused(folder, r"recipe\.yaml: is cut or changed: it holds \d+ of \d+ settings; restore the file")
    path.write_text(whole[:40])
    refused(folder, r"recipe\.yaml")


def test_missing_optimizer_files_are_told(folder):
    next((folder / "run" / "ckpt" / "_actor").rglob("*optim_states.pt")).unlink()
    refused(folder, r"global_step4: the optimizer's state \(\*optim_states.pt\) is missing")


def test_the_folder_that_holds_the_checkpoints_is_named(folder):
    words = ["--run.dir", str(folder / "new"), "--ckpt.path", str(folder / "run" / "ckpt")]
    one = recipe(folder, *words)
    with pytest.raises(
        UserError, match=r"run/ckpt: already holds checkpoints up to step 4: .* with --ckpt.path"
    ):
        check_run_dir(one, one.run_dir, resume=False)
    one = recipe(folder)
    with pytest.raises(UserError, match=r"run: already holds checkpoints up to step 4: .* with --run.dir"):
        check_run_dir(one, one.run_dir, resume=False)
