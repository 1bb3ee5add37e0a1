"""`dipo watch` on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_eval.watch.options import watch_options

SUITE = "arithmetic-control"


def options(target: Path | str, recipe: dict[str, Any] | None = None, **given: Any) -> Any:
    return watch_options(str(target), {"suites": SUITE, **given}, recipe and (lambda path: recipe))


def test_what_is_given_wins_over_the_recipe_and_that_over_defaults(tmp_path: Path) -> None:
    recipe = {
        "ckpt_path": str(tmp_path / "c"),
        "run": "mine",
        "limit": 7,
        "seed": 5,
        "every": 3,
        "best": SUITE,
    }
    made = options(tmp_path / "r.yaml", recipe, seed=0, results=tmp_path / "out")
    assert made.ckpt_path == tmp_path / "c"
    assert (made.plan.run, made.every, made.attempts) == ("mine", 3, 2)
    assert (made.plan.options.limit, made.plan.options.seed, made.plan.options.engine) == (7, 0, "vllm")
    assert made.plan.results_dir == tmp_path / "out"


def test_a_runs_folder_stands_for_its_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "myrun" / "ckpt").mkdir(parents=True)
    made = options(tmp_path / "myrun")
    assert made.ckpt_path == tmp_path / "myrun" / "ckpt"
    assert made.plan.run == "myrun"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"suites": ""}, "no suite named"),
        ({"suites": "gsm9k"}, "unknown suite 'gsm9k'"),
        ({"order": "random"}, "--order 'random': choose one of oldest, newest"),
        ({"best": "gsm8k"}, "is none of the suites"),
        ({"wandb_id": "x"}, "--wandb-id needs --wandb PROJECT"),
        ({"run": "../x"}, "cannot be a folder"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words.replace("(", r"\(")) as caught:
        options(tmp_path, **given)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        options(tmp_path / "nothing")


def test_a_plain_model_has_no_checkpoints_to_watch(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"is one model, to which no checkpoints are added: .* dipo eval"):
        options(tmp_path)


def test_own_wandb_run_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first, again = (options(tmp_path, wandb="p", results=tmp_path / "out").trackers for _ in range(2))
    other = options(tmp_path, wandb="p", results=tmp_path / "other").trackers
    assert first.wandb_id == again.wandb_id != other.wandb_id
    assert options(tmp_path, wandb="p", wandb_id="given").trackers.wandb_id == "given"


def test_a_watcher_is_light() -> None:
    """It runs beside a training for days: no torch, no engine."""
    code = "import sys, dipo_eval.watch.options as c; c.watch_options(sys.argv[1], {'suites': sys.argv[2]}); "
    code += "print(sorted({'torch', 'transformers', 'vllm', 'wandb'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code, ".", SUITE], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr
