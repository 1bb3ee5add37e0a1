"""One small model and one training run for all tests of the real stack."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stack import EVALUATE, WANDB_KEY, Dipo, write_recipe

from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.record.user_cache import cache_dir


@dataclass(frozen=True)
class Trained:
    recipe: Path
    run_dir: Path
    model: Path
    output: str
    left_over: list[psutil.Process]


@pytest.fixture(scope="session")
def small_model() -> Path:
    """The quickstart's own model, of the user's cache; tests/quickstart pretrains.

    Less pretraining would be quicker, but a model that is right once in forty answers can, on another machine's
    arithmetic, give four steps of all-incorrect groups: no gradient, and nothing to test.
    """
    return pretrained_model(cache_dir(), progress=False)


@pytest.fixture(scope="session")
def trained(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Four steps of the real stack, checkpoints after 2 and 4 evaluated meanwhile, with every tracker on."""
    recipe, run_dir = write_recipe(tmp_path_factory.mktemp("trained"), small_model)
    command = Dipo(
        ["train", str(recipe), "--logger.tensorboard_dir", str(run_dir / "tensorboard"), *EVALUATE],
        {"WANDB_MODE": "offline", "WANDB_API_KEY": WANDB_KEY},
    ).start()
    status, output = command.finish()
    assert status == 0, output
    return Trained(recipe, run_dir, small_model, output, command.left_over_after(20))
