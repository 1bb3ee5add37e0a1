"""The watcher beside a training: its command, its life with the training, and as a Ray task."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.subject.marker import training_ended
from dipo_openrlhf.openrlhf_patch.ray_start import start_ray
from dipo_openrlhf.recipe.load import build_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.record.processes import RUN_ID, processes_of
from dipo_openrlhf.run import watcher as watching
from dipo_openrlhf.run.plan import plan_run


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recipe]:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")

    def make(**more: Any) -> Recipe:
        settings = {
            "run.dir": str(tmp_path / "run"), "run.device": "cpu", "run.name": "mine",
            "actor.model_name_or_path": "org/model", "data.prompt_dataset": "prompts.jsonl",
            "rollout.batch_size": 8, "rollout.n_samples_per_prompt": 8, "train.batch_size": 64,
            "evaluate.suites": ["arithmetic-control"], "evaluate.limit": 4, "evaluate.engine": "hf",
            **{key.replace("__", "."): value for key, value in more.items()},
        }  # fmt: skip
        return build_recipe("mine.yaml", {key: Setting(value, "test") for key, value in settings.items()})

    return make


def test_the_command_says_what_the_recipe_says(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    made = recipe(watch__every=3, watch__best="arithmetic-control:pass@1", logger__tensorboard_dir="tb")
    command = " ".join(watching.watch_command(made))
    for part in (
        f"watch {tmp_path}/run/ckpt",
        "--suites arithmetic-control",
        f"--results {tmp_path}/run/results",
        "--run mine",
        "--limit 4",
        "--engine hf",
        "--every 3",
        "--best arithmetic-control:pass@1",
        "--tensorboard tb",
        "--until-done --with-parent",
    ):
        assert part in command
    assert "--wandb" not in command
    assert "--start-model org/model" in command  # a hub name, which the training has in its cache


def test_wandb_only_where_the_training_uses_it(recipe: Callable[..., Recipe]) -> None:
    values = watching.watch_values(recipe(run__wandb="on", logger__wandb__project="p"))
    assert (values["wandb"], values["wandb_group"]) == ("p", "mine")


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({}, 0),
        ({"watch__wait": True}, 3600),
        ({"watch__wait": True, "watch__wait_timeout": 9}, 9),
        ({"watch__wait": True, "watch__enabled": False}, 0),
        ({"watch__wait": True, "watch__when": "after"}, 0),
        ({"watch__wait": True, "evaluate__suites": []}, 0),
    ],
)
def test_training_waits_only_where_the_recipe_says_so(
    recipe: Callable[..., Recipe], more: dict[str, Any], seconds: int
) -> None:
    assert plan_run(recipe(**more)).settings["wait_for_evaluation"] == seconds


def started(folder: Path, seconds: float = 30) -> str:
    """The log of a watcher, once it has one."""
    until = time.monotonic() + seconds
    while not (folder / watching.LOG).exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    return (folder / watching.LOG).read_text()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "run" / "ckpt").mkdir(parents=True)
    return tmp_path / "run"


def test_it_is_waited_for_at_the_end(recipe: Callable[..., Recipe], run_dir: Path, capsys: Any) -> None:
    with watching.watcher_beside(recipe(), run_dir) as finish:
        training_ended(run_dir / "ckpt", "done")
        assert finish() == ""
    assert (run_dir / watching.LOG).read_text().endswith("0 evaluated\n")
    assert "waiting for the evaluation of what is left" in capsys.readouterr().out


def test_it_runs_where_the_folder_of_the_job_is_gone(
    recipe: Callable[..., Recipe], run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray may unpack a job's folder anew under a running job; torch's MKL cannot load anything there."""
    (tmp_path / "gone").mkdir()
    made = recipe()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with watching.watcher_beside(made, run_dir) as finish:
        training_ended(run_dir / "ckpt", "done")
        finish()
    assert (run_dir / watching.LOG).read_text().endswith("0 evaluated\n")


def test_one_that_was_killed_is_started_again_at_the_end(
    recipe: Callable[..., Recipe], run_dir: Path
) -> None:
    watcher = watching.Watcher(recipe(), run_dir)
    watcher.start(as_ray_task=False)
    watcher.processes[0].kill()
    watcher.processes[0].wait(10)
    training_ended(run_dir / "ckpt", "done")
    watcher.finish()
    watcher.end()
    assert (run_dir / watching.LOG).read_text().endswith("0 evaluated\n")


def test_one_that_ended_too_early_is_started_again_at_the_end(
    recipe: Callable[..., Recipe], run_dir: Path
) -> None:
    """Such as by the ENDED.json of another driver in the same folder."""
    training_ended(run_dir / "ckpt", "failed")
    watcher = watching.Watcher(recipe(watch__attempts=1), run_dir)
    watcher.start(as_ray_task=False)
    assert watcher.processes[0].wait(60) == 0
    (run_dir / "ckpt" / "global_step2_hf").mkdir()
    (run_dir / "ckpt" / "global_step2_hf" / "COMPLETE.json").write_text('{"step": 2}')
    problem = watcher.finish()
    watcher.end()
    assert "global_step2: given up after 1 attempts" in (run_dir / watching.LOG).read_text()
    assert problem.startswith(f"evaluation is not complete, see {run_dir / watching.LOG}; continue with: ")


def test_what_was_given_up_meanwhile_is_said_at_the_end(recipe: Callable[..., Recipe], run_dir: Path) -> None:
    """The watcher has ended by itself then, and nothing is left to start another for. Its advice tries again."""
    (run_dir / "ckpt" / "global_step2_hf").mkdir()
    (run_dir / "ckpt" / "global_step2_hf" / "COMPLETE.json").write_text('{"step": 2}')
    training_ended(run_dir / "ckpt", "done")
    made = recipe(watch__attempts=1, evaluate__data_dir="data", evaluate__seed=7)
    with watching.watcher_beside(made, run_dir) as finish:
        time.sleep(0.1)
        problem = finish()
        assert finish() == problem, "also where no watcher runs any more"
    command = shlex.split(problem.partition("continue with: ")[2])
    options = dict(zip(command[3:-1:2], command[4:-1:2], strict=True))
    assert options["--attempts"] == "2"
    assert options["--seed"] == "7", "overrides are not lost"
    assert options["--data-dir"] == str(Path("data").resolve()), "it works from any folder"
    program = [sys.executable, "-m", "dipo_openrlhf.cli"]
    start = command.index("watch")
    done = subprocess.run([*program, *command[start:]], capture_output=True, text=True)
    assert "global_step2: attempt 2 of 2 failed" in done.stdout, done.stderr
    assert done.returncode == 1


def test_it_ends_with_a_training_that_fails(recipe: Callable[..., Recipe], run_dir: Path) -> None:
    watcher = watching.Watcher(recipe(), run_dir)
    watcher.start(as_ray_task=False)
    assert processes_of(watcher.run_id)
    watcher.end()
    assert processes_of(watcher.run_id) == []


def test_it_has_a_deadline(recipe: Callable[..., Recipe], run_dir: Path) -> None:
    with watching.watcher_beside(recipe(watch__finish_timeout=1), run_dir) as finish:
        line = finish()  # nobody says that the training has ended
    assert "was ended" in line
    command = shlex.split(line.partition("continue with: ")[2])
    assert command[command.index("watch") + 1] == str(run_dir / "ckpt")
    assert "--suites" in command
    assert command[-1] == "--once", "with all settings, so that overrides are not lost"


_PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""


def test_it_ends_when_its_parent_is_killed(recipe: Callable[..., Recipe], run_dir: Path) -> None:
    mark = os.urandom(8).hex()
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, *watching.watch_command(recipe())],
        env={**os.environ, RUN_ID: mark},
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    time.sleep(1)
    parent.kill()
    parent.wait(10)
    until = time.monotonic() + 20
    while processes_of(mark):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_as_a_ray_task(recipe: Callable[..., Recipe], run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real Ray: the watcher waits for the training's start, gets its own CPU, and ends with whoever asked for it."""
    import ray

    address = start_ray(num_cpus=1, num_gpus=0, log_to_driver=False).address_info["gcs_address"]
    task = {
        "command": watching.watch_command(recipe()), "run_dir": str(run_dir), "log": str(run_dir / watching.LOG),
        "num_gpus": 0, "num_cpus": 1.0,
    }  # fmt: skip
    (run_dir / "watch.json").write_text(json.dumps(task))
    command = [sys.executable, "-m", "dipo_openrlhf.run.watcher_on_ray", str(run_dir / "watch.json")]
    mark = os.urandom(8).hex()
    environment = {**os.environ, "RAY_ADDRESS": address, RUN_ID: mark}

    def submit() -> subprocess.Popen[bytes]:
        with open(run_dir / "asked", "wb") as output:
            return subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
            )

    try:
        first = submit()
        time.sleep(2)
        assert not (run_dir / watching.LOG).exists()  # the training has not started
        write_event(run_dir, "training")
        started(run_dir)
        assert ray.available_resources().get("CPU", 0) == 0
        training_ended(run_dir / "ckpt", "done")
        assert first.wait(60) == 0, (run_dir / "asked").read_text()
        assert "requested from Ray: 0 GPUs and 1.0 CPUs" in (run_dir / "asked").read_text()
        assert (run_dir / watching.LOG).read_text().endswith("0 evaluated\n")

        (run_dir / "ckpt" / "ENDED.json").unlink()
        (run_dir / watching.LOG).unlink()
        second = submit()
        started(run_dir)
        second.kill()
        second.wait(60)
        until = time.monotonic() + 30
        while processes_of(mark):
            assert time.monotonic() < until, processes_of(mark)
            time.sleep(0.2)
    finally:
        ray.shutdown()


def test_without_a_cluster_it_says_so(recipe: Callable[..., Recipe], run_dir: Path) -> None:
    write_event(run_dir, "failed", error="x")
    (run_dir / "watch.json").write_text(json.dumps({"run_dir": str(run_dir)}))
    command = [sys.executable, "-m", "dipo_openrlhf.run.watcher_on_ray", str(run_dir / "watch.json")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.wait(60) == 3
