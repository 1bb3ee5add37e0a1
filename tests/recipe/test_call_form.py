"""`run.call_form`: the names are the graders' own, a wrong one is one line, and every worker of a run gets it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading.calls.chosen_form import ANY, AUTO, CALL_FORMS
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.schema import RunSection
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.rewards.call_form import CALL_FORM
from dipo_openrlhf.run.plan import plan_run


def load(tmp_path: Path, *arguments: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "run: {device: cpu}\nactor: {model_name_or_path: some/model}\ndata: {prompt_dataset: some/data}\n"
        "rollout: {batch_size: 8, n_samples_per_prompt: 4}\ntrain: {batch_size: 32}\nvllm: {num_engines: 1}\n"
    )
    return load_recipe(str(path), parse_overrides(list(arguments)))


def test_the_names_are_those_that_the_graders_know() -> None:
    assert get_args(get_type_hints(RunSection)["call_form"]) == (AUTO, ANY, *CALL_FORMS)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_every_worker_gets_it(tmp_path: Path, device: str) -> None:
    plain, named = (
        load(tmp_path, "--run.device", device, *more) for more in ([], ["--run.call_form", "hermes"])
    )
    assert plan_run(plain).environment[CALL_FORM] == "auto"
    assert plan_run(named).environment[CALL_FORM] == "hermes"
    assert plain.hash != named.hash  # it decides rewards


def test_a_wrong_name_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        load(tmp_path, "--run.call_form", "hermez")
    assert str(raised.value).startswith("--run.call_form: run.call_form: 'hermez'")
    assert "'hermes'" in str(raised.value)
    assert "\n" not in str(raised.value)
