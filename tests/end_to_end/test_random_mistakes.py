"""What random mistakes leave that a dry run takes does train, or ends in one line that says where."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from stack import Dipo

sys.path.insert(0, str(Path(__file__).parents[1] / "mistakes"))

from case import Ended, contents, run
from random_mistakes import made, problem

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(3600)]
SEED = int(os.environ.get("DIPO_MISTAKES_SEED", "0"))
DRAWN = 3  # of the cases that would train
# Small and soon over, whatever else was changed; the last of a repeated option counts.
QUICK = [
    "--rollout.batch_size", "16", "--rollout.n_samples_per_prompt", "4", "--train.batch_size", "64",
    "--train.micro_batch_size", "16", "--rollout.micro_batch_size", "16", "--train.num_episodes", "1",
    "--watch.enabled", "false", "--run.start_timeout", "300", "--run.step_timeout", "120",
]  # fmt: skip
HARMLESS = ("dropped", "recipe: ", "extends", "run.", "watch.", "evaluate.", "logger.", "ckpt.", "suites")


@pytest.mark.parametrize("number", range(DRAWN))
def test_what_would_train_trains(tmp_path: Path, small_model: Path, number: int) -> None:
    numbers = random.Random(1000 * SEED + number)
    while True:
        folder = tmp_path / str(seed := numbers.randrange(10**6))
        folder.mkdir()
        case = made(folder, small_model, seed)
        words = ["train", *case.words, *QUICK]
        if not case.told[0].startswith(HARMLESS) and run(folder, [*words, "--dry-run"]).status == 0:
            break
    command = Dipo(words, folder=folder).start()
    status, output = command.finish(900)
    print(f"{seed}: {'; '.join(case.told)}\n{output[-3000:]}")
    assert command.left_over_after(20) == []
    if status:
        errors = "\n".join(line for line in output.splitlines() if line.startswith("error: "))
        assert problem(case, Ended(status, output, errors)) == ""
        return
    before = contents(folder)
    again = run(folder, [*words, "--dry-run"])
    assert contents(folder) == before, "a finished run is left as it is"
    assert again.status == 0
