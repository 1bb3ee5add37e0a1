"""A checkpoint says which prompts it was trained on, and a resume on others is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.record.provenance import check_same_prompts, prompts_hash
from dipo_openrlhf.run.plan import plan_run
from dipo_openrlhf.run.supervisor import train

ROW = json.dumps({"input": "What is 1 + 1?", "label": "2"}) + "\n"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text(ROW)
    return path


def checkpoint(ckpt: Path, step: int, **facts: object) -> None:
    """A folder that counts as a whole checkpoint to resume from."""
    (ckpt / "_actor" / f"global_step{step}").mkdir(parents=True)
    (ckpt / f"global_step{step}_hf").mkdir()
    (ckpt / f"global_step{step}_hf" / "COMPLETE.json").write_text(json.dumps({"step": step, **facts}))


def test_the_hash_is_that_of_the_file_alone(prompts, tmp_path):
    digest = hashlib.sha256(ROW.encode()).hexdigest()
    assert prompts_hash(str(prompts)) == digest
    other = tmp_path / "moved.jsonl"
    other.write_text(ROW + ROW)
    assert (
        prompts_hash(f"{prompts}, {other}") == f"{digest},{hashlib.sha256((ROW + ROW).encode()).hexdigest()}"
    )
    assert prompts_hash("some/hub-data-set") == ""


def test_other_prompts_are_refused_naming_both_hashes(prompts, tmp_path):
    before = prompts_hash(str(prompts))
    checkpoint(tmp_path / "ckpt", 3, data_sha256=before)
    check_same_prompts(str(prompts), tmp_path / "ckpt", 3)
    prompts.write_text(ROW + ROW)
    with pytest.raises(UserError) as caught:
        check_same_prompts(str(prompts), tmp_path / "ckpt", 3)
    message = str(caught.value)
    assert before in message
    assert prompts_hash(str(prompts)) in message
    assert "step 3" in message
    assert "\n" not in message


def test_a_checkpoint_of_an_older_version_is_taken(prompts, tmp_path):
    checkpoint(tmp_path / "ckpt", 3)
    check_same_prompts(str(prompts), tmp_path / "ckpt", 3)


def test_a_resume_on_other_prompts_is_refused_before_anything_starts(prompts, tmp_path):
    """Through `train`, with the recipe of the run unchanged: only the file's content differs."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(
        yaml.safe_dump(
            {
                "actor": {"model_name_or_path": str(model)},
                "data": {"prompt_dataset": str(prompts)},
                "rollout": {"n_samples_per_prompt": 8, "batch_size": 128},
                "train": {"batch_size": 1024},
                "run": {"dir": str(tmp_path / "run")},
            }
        )
    )
    recipe = load_recipe(str(recipe_file))
    plan = plan_run(recipe)
    assert plan.settings["data_sha256"] == prompts_hash(str(prompts))
    checkpoint(Path(recipe.get("ckpt.path")), 2, data_sha256=plan.settings["data_sha256"])
    prompts.write_text(ROW + ROW)
    with pytest.raises(UserError, match="is not what step 2 was trained on"):
        train(recipe, resume=True)
    assert not (recipe.run_dir / "launch.json").exists()
