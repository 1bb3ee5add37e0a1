"""All of the preflight on a recipe, as `dipo train` and `dipo train --dry-run` call it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.preflight.check import check_dry, check_start
from dipo_openrlhf.preflight.golds import check_golds
from dipo_openrlhf.recipe.defaults import REWARDS
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.rehearse import tasks
from dipo_openrlhf.rehearse.model import make_model

RECIPE = """\
run: {device: cpu, dir: %s/run}
actor: {model_name_or_path: %s/model, num_gpus_per_node: 1}
data: {prompt_dataset: %s/prompts.jsonl, max_len: 128}
rollout: {batch_size: 4, n_samples_per_prompt: 4, max_new_tokens: 64}
train: {batch_size: 16}
ckpt: {save_steps: 2}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model(folder, "Qwen/Qwen3-4B-Base", tasks.problems("math", 4))
    return folder


@pytest.fixture
def folder(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIPO_CACHE_DIR", str(tmp_path / "cache"))
    shutil.copytree(made, tmp_path / "model")
    write(tmp_path, [{"input": "3 + 7 = ?", "label": "10"}] * 4)
    (tmp_path / "mine.yaml").write_text(RECIPE % ((tmp_path,) * 3))
    return tmp_path


def write(folder: Path, rows: list[dict]) -> None:
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def check(folder: Path, *words: str, dry: bool = False) -> list[str]:
    said: list[str] = []
    recipe = load_recipe(str(folder / "mine.yaml"), parse_overrides(list(words)))
    (check_dry if dry else check_start)(recipe, said.append)
    return said


@pytest.mark.parametrize("dry", [True, False])
def test_a_sound_recipe_passes_and_nothing_is_made(folder, dry):
    assert check(folder, dry=dry) == []
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reward.remote_url", "maths"], "reward.remote_url: 'maths': did you mean math?"),
        (["--data.max_len", "4096"], "data.max_len: 4096: is more than the 512 positions"),
        (["--evaluate.suites", "gsm9k"], "evaluate.suites: unknown suite 'gsm9k': did you mean 'gsm8k'?"),
        (
            ["--evaluate.suites", "gsm8k", "--evaluate.data_dir", "/nowhere"],
            "evaluate.data_dir: '/nowhere': no such",
        ),
        (["--data.prompt_split", "test"], "data.prompt_split: 'test': a file has the split train alone"),
        (["--eval.dataset", "none.jsonl"], "eval.dataset: 'none.jsonl': no such file"),
        (["--run.dir", "/proc/none"], "run.dir '/proc/none': nothing can be written there"),
        (["--ckpt.path", "/proc/none"], "ckpt.path '/proc/none': nothing can be written there"),
        (
            ["--logger.tensorboard_dir", "/proc/none"],
            "logger.tensorboard_dir '/proc/none': nothing can be written",
        ),
        (["--train.agent_func_path", "none.py"], "train.agent_func_path: 'none.py': no such file"),
        (
            ["--train.agent_func_path", "tool_agent", "--data.apply_chat_template", "false"],
            "prompts.jsonl:1: 'label' (data.label_key): a label of the tool agent is a JSON object",
        ),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_mistakes_are_one_line_in_a_dry_run_too(folder, words, message, dry):
    with pytest.raises(UserError) as caught:
        check(folder, *words, dry=dry)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / "run").exists()


def test_no_model_is_written_over(folder):
    model = folder / "model"
    for key in ("run.dir", "ckpt.path", "ckpt.output_dir"):
        with pytest.raises(
            UserError, match=rf"--{key}: {key}: .* is the folder of actor\.model_name_or_path"
        ):
            check(folder, f"--{key}", str(model), dry=True)
    shutil.copytree(model, folder / "other")
    with pytest.raises(UserError, match=r"ckpt\.output_dir: .*/other': holds a model already"):
        check(folder, "--ckpt.output_dir", str(folder / "other"), dry=True)


def test_a_link_to_nothing_is_no_place(folder):
    (folder / "run").symlink_to("/nowhere/at/all")
    with pytest.raises(UserError, match=r"run\.dir .*/run is a link to nothing"):
        check(folder, dry=True)


def test_few_prompts_are_a_warning(folder):
    write(folder, [{"input": "3 + 7 = ?", "label": "10"}] * 3)
    assert check(folder) == [
        "warning: 3 prompts are fewer than rollout.batch_size, 4: each episode is one smaller step"
    ]


def test_the_rows_of_eval_dataset_are_checked(folder):
    (folder / "eval.jsonl").write_text('{"question": "1 + 1?", "label": "2"}\n')
    with pytest.raises(UserError, match=r"eval\.dataset: .*eval\.jsonl:1: no key 'input'"):
        check(folder, "--eval.dataset", str(folder / "eval.jsonl"))


def test_a_dry_run_names_what_is_not_here(folder):
    (said,) = check(folder, "--actor.model_name_or_path", "Qwen/Qwen3-4B-Base", dry=True)
    assert said == "not on this machine, and not checked: actor.model_name_or_path: 'Qwen/Qwen3-4B-Base'"
    (said,) = check(folder, "--data.prompt_dataset", "none.jsonl", dry=True)
    assert "not checked: data.prompt_dataset: 'none.jsonl'" in said
    with pytest.raises(UserError, match=r"'none\.jsonl': no such file"):
        check(folder, "--data.prompt_dataset", "none.jsonl")


def test_a_dry_run_reads_the_rows_without_the_model(folder):
    write(folder, [{"input": "3 + 7 = ?", "answer": "10"}])
    with pytest.raises(UserError, match=r"prompts\.jsonl:1: no key 'label'"):
        check(folder, "--actor.model_name_or_path", "Qwen/Qwen3-4B-Base", dry=True)


def test_what_was_checked_is_known_by_content(folder, monkeypatch):
    check(folder)
    monkeypatch.setattr(
        "dipo_openrlhf.preflight.check.check_prompts", lambda *given: pytest.fail("read again")
    )
    check(folder)
    shutil.copy(folder / "prompts.jsonl", folder / "copy.jsonl")
    check(folder, "--data.prompt_dataset", str(folder / "copy.jsonl"))
    with pytest.raises(pytest.fail.Exception, match="read again"):
        check(folder, "--rollout.max_new_tokens", "32")


GSM8K = {"input": "x", "label": "We have 72.\n#### 72"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (GSM8K, "is a whole solution, of GSM8K by its form"),
        ({"input": "x", "label": {"gold": "5"}}, "{'gold': '5'} is no answer"),
        ({"input": "x", "label": "..."}, "holds no answer"),
        ({"input": "x", "label": True}, "holds no gold answer"),
    ],
)
def test_labels_that_no_answer_meets(row, words):
    rows = [(f"d.jsonl:{n}", row) for n in range(1, 5)]
    with pytest.raises(UserError) as caught:
        check_golds(rows, str(REWARDS / "math.py"), "label")
    assert str(caught.value).startswith("d.jsonl:1: 'label' (data.label_key): ")
    assert words in str(caught.value)
    assert "4 of 4 labels" in str(caught.value)
    assert check_golds(rows, "/my/reward.py", "label") == "", "what another reward makes of it, nobody knows"


def test_a_few_of_them_are_a_warning():
    rows = [(f"d.jsonl:{n}", GSM8K if n == 3 else {"input": "x", "label": "7"}) for n in range(1, 11)]
    warning = check_golds(rows, str(REWARDS / "math.py"), "label")
    assert warning.startswith("d.jsonl:3: ")
    assert "1 of 10 labels" in warning


def test_the_labels_of_function_calls():
    sound = tasks.problems("function_call", 1)[0].label
    assert check_golds([("d.jsonl:1", {"label": sound})], str(REWARDS / "function_call.py"), "label") == ""
    with pytest.raises(UserError, match="is not an object with a list `gold`"):
        check_golds([("d.jsonl:1", {"label": "7"})], str(REWARDS / "function_call.py"), "label")


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (["--ckpt.save_steps", "-1"], "warning: no ckpt.save_steps: no checkpoint is kept"),
        (
            ["--ckpt.save_hf", "false"],
            "warning: ckpt.save_hf is false: a checkpoint can be resumed from and not",
        ),
        (
            ["--ckpt.save_hf", "false", "--ckpt.disable_ds", "true"],
            "warning: ckpt.save_hf is false and ckpt.disa",
        ),
        (["--ckpt.disable_ds", "true"], "warning: ckpt.disable_ds: a checkpoint holds the export alone"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_a_recipe_that_keeps_nothing_to_resume_from_says_so(folder, words, warning, dry):
    (said,) = check(folder, *words, dry=dry)
    assert said.startswith(warning)


def test_the_folder_of_ray(folder, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(folder / ("long" * 20)))
    with pytest.raises(UserError, match=r"is too long for the sockets that Ray makes in it: set RAY_TMPDIR"):
        check(folder)
    monkeypatch.setenv("RAY_TMPDIR", "/proc/none")
    with pytest.raises(
        UserError, match=r"Ray's folder '/proc/none/ray': nothing can be written .*; set RAY_TMPDIR"
    ):
        check(folder)
    check(folder, "--run.ray", "cluster")


def test_a_folder_of_data(folder):
    data = folder / "data"
    data.mkdir()
    words = ["--data.prompt_dataset", str(data)]
    with pytest.raises(UserError, match=r"/data': the folder is no data set \(.*\): name the file in it"):
        check(folder, *words)
    shutil.copy(folder / "prompts.jsonl", data)
    assert check(folder, *words) == []


def test_a_template_that_drops_the_prompt(folder):
    write(folder, [{"input": f"{n} + 7 = ?", "label": str(n + 7)} for n in range(4)])
    (folder / "model" / "chat_template.jinja").write_text("Hello")
    with pytest.raises(UserError, match=r"prompts\.jsonl:2: the model's chat template makes the same prompt"):
        check(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.label_key", ""], "data.label_key: '': the reward math compares answers with labels"),
        (
            ["--data.prompt_probs", "None"],
            "data.prompt_probs: 'None': must be a share of the prompts for each",
        ),
        (["--data.input_key", ""], "data.input_key is missing"),
        (["--data.prompt_dataset", ""], "data.prompt_dataset is missing"),
        (["--run.dir", "~nobody-here/x"], "run.dir: '~nobody-here/x': there is no such user here"),
        (["--ckpt.path", "y" * 300], "a name in it is longer than 255 bytes"),
        (["--logger.tensorboard_dir", "a\0b"], "holds a NUL character"),
        (["--=3"], "unexpected argument '--=3'"),
    ],
)
def test_what_random_mistakes_found(folder, words, message):
    with pytest.raises(UserError) as caught:
        check(folder, *words, dry=True)
    assert message in str(caught.value)


def test_an_empty_place_is_the_default(folder):
    recipe = load_recipe(str(folder / "mine.yaml"), parse_overrides(["--ckpt.path=", "--ckpt.output_dir="]))
    assert recipe.get("ckpt.path") == str(folder / "run" / "ckpt")
    assert recipe.get("ckpt.output_dir") == str(folder / "run" / "final")


def test_a_section_whose_lines_are_all_comments(folder):
    text = (folder / "mine.yaml").read_text()
    (folder / "mine.yaml").write_text(text + "algo:\nds: {}\n")
    assert check(folder, dry=True) == []
    (folder / "mine.yaml").write_text(text + "alg: {}\n")
    with pytest.raises(UserError, match="unknown key alg"):
        check(folder, dry=True)
