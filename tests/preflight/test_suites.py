"""What the watcher would refuse in its first second is refused before the training."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.preflight.suites import check_suites
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides

RECIPE = """\
run: {device: cpu}
actor: {model_name_or_path: a/b}
data: {prompt_dataset: a/b, max_len: 128}
rollout: {batch_size: 4, n_samples_per_prompt: 4, max_new_tokens: 64}
train: {batch_size: 16}
evaluate: {suites: [arithmetic-control]}
"""
SAMPLED = ["--evaluate.samples", "8", "--evaluate.temperature", "1"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("DIPO_CACHE_DIR", str(tmp_path / "cache"))  # the home folder may hold an unpacked copy
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DIPO_DATA_DIR", raising=False)


def check(folder: Path, *words: str, here: bool = True) -> None:
    (folder / "mine.yaml").write_text(RECIPE)
    check_suites(load_recipe(str(folder / "mine.yaml"), parse_overrides(list(words))), here)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--watch.best", "gsm8k"], "watch.best: 'gsm8k': is none of evaluate.suites, arithmetic-control"),
        (["--watch.best", "arithmetic-control:acc"], "the metrics of arithmetic-control are accuracy"),
        (
            ["--watch.best", "arithmetic-control:pass@3", *SAMPLED],
            "are accuracy, pass@2, pass@4, pass@8, maj@8",
        ),
        (["--evaluate.samples", "8"], "evaluate.samples: 8: at evaluate.temperature 0 all would be alike"),
    ],
)
def test_it_is_told_in_a_dry_run_too(tmp_path, words, message):
    for here in (True, False):
        with pytest.raises(UserError) as caught:
            check(tmp_path, *words, here=here)
        assert message in str(caught.value)


def test_sound_ones_pass(tmp_path):
    check(tmp_path)
    check(tmp_path, "--watch.best", "arithmetic-control:pass@4", *SAMPLED)
    check(tmp_path, "--watch.enabled", "false", "--evaluate.suites", "aime24")


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("aime24", "evaluate.suites: aime24: aime24.jsonl is not here (HF_HUB_OFFLINE is set"),
        ("humaneval+", "evaluate.suites: humaneval+: HumanEvalPlus"),
    ],
)
def test_data_that_are_not_here_are_told_by_a_start_alone(tmp_path, suite, message):
    check(tmp_path, "--evaluate.suites", suite, here=False)
    with pytest.raises(UserError) as caught:
        check(tmp_path, "--evaluate.suites", suite)
    assert message in str(caught.value)
    assert str(caught.value).endswith("or leave the suite out")
