"""What becomes of a run that was asked to stop, by the supervisor itself, with a small program as its driver."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_eval.subject.marker import how_it_ended
from dipo_openrlhf import cli
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.record.stop_request import STOP
from dipo_openrlhf.run import supervisor

# Its first attempt is drained, or fails; the second ends well.
DRIVER = """
import json, os, signal, sys, time
from pathlib import Path
from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.record.stop_request import StopRequest, ask_to_stop
run = Path(json.loads(Path(sys.argv[1]).read_text())["settings"]["run_dir"])
try:
    if os.environ["KIND"] != "loading":
        write_event(run, "training", total_steps=4)
    if not (run / "once").exists():
        (run / "once").touch()
        if os.environ["KIND"] == "fails":
            sys.exit(1)
        if os.environ["KIND"] == "stuck":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            ask_to_stop(run, StopRequest("maintenance", 0.5))
            time.sleep(60)
        ask_to_stop(run, StopRequest("Ray drains 10.0.0.2", 1.0, may_restart=True))
        time.sleep(60)  # a step that is longer than the notice
    write_event(run, "done")
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    (tmp_path / "small_driver.py").write_text(DRIVER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.5)
    monkeypatch.setattr(supervisor, "check_start", lambda recipe, log: None)  # there is no model
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"input": "1 + 1?", "label": "2"}) + "\n")
    (tmp_path / "recipe.yaml").write_text(
        f"""\
run: {{name: demo, device: cpu, dir: {tmp_path}/run, max_restarts: 1}}
actor: {{model_name_or_path: model}}
data: {{prompt_dataset: {tmp_path}/prompts.jsonl, max_len: 128}}
rollout: {{batch_size: 8, n_samples_per_prompt: 4, max_new_tokens: 32}}
train: {{batch_size: 32}}
ckpt: {{save_steps: 2}}
"""
    )
    return load_recipe(str(tmp_path / "recipe.yaml"), parse_overrides([]))


@pytest.mark.parametrize("kind", ["training", "loading"])
def test_a_drained_run_is_restarted_though_nothing_was_saved(recipe, kind, monkeypatch, capsys):
    monkeypatch.setenv("KIND", kind)
    assert supervisor.train(recipe, driver="small_driver") == recipe.run_dir.resolve()
    assert "restart 1 of 1 from the beginning" in capsys.readouterr().out
    assert not (recipe.run_dir / STOP).exists()


def test_a_stopped_run_is_interrupted_though_its_driver_had_to_be_killed(recipe, monkeypatch):
    """It has recorded nothing; `failed` would be what a watcher and a reader of the folder see."""
    monkeypatch.setenv("KIND", "stuck")
    monkeypatch.setattr(supervisor, "END_SECONDS", 1.0)
    (recipe.run_dir / "ckpt").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        supervisor.train(recipe, driver="small_driver")
    assert how_it_ended(recipe.run_dir / "ckpt") == "interrupted"


def test_a_stop_asked_for_before_the_restart_is_not_lost(recipe, monkeypatch):
    monkeypatch.setenv("KIND", "fails")
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 60.0)

    def ask() -> None:
        while not (recipe.run_dir / "once").exists():
            time.sleep(0.05)
        (recipe.run_dir / STOP).write_text('{"reason": "maintenance"}')

    threading.Thread(target=ask, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        supervisor.train(recipe, driver="small_driver")
    assert time.monotonic() - started < 50


@pytest.mark.parametrize("again", [True, False], ids=["made again", "gone"])
def test_a_restart_finds_the_folder_in_which_the_run_was_started(recipe, tmp_path, monkeypatch, again):
    """Ray makes a job's folder anew; a process that is started in a deleted one cannot load torch."""
    monkeypatch.setenv("KIND", "fails")
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 2.0)
    folder = tmp_path / "job"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def replace() -> None:
        while not (recipe.run_dir / "once").exists():
            time.sleep(0.05)
        folder.rmdir()
        if again:
            folder.mkdir()

    threading.Thread(target=replace, daemon=True).start()
    try:
        if again:
            supervisor.train(recipe, driver="small_driver")
            assert Path.cwd() == folder
        else:
            with pytest.raises(UserError, match="job: the folder in which the run was started is gone"):
                supervisor.train(recipe, driver="small_driver")
    finally:
        os.chdir(tmp_path)


def test_a_training_without_its_evaluation_is_not_a_success(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checkpoint holds no model here, so that no evaluation can succeed: status 1, and a command that goes on."""
    trained = """
import json, sys
from pathlib import Path
from dipo_openrlhf.record.events import write_event
run = Path(json.loads(Path(sys.argv[1]).read_text())["settings"]["run_dir"])
export = run / "ckpt" / "global_step2_hf"
export.mkdir(parents=True)
(export / "COMPLETE.json").write_text('{"step": 2}')
write_event(run, "done")
"""
    (tmp_path / "small_driver.py").write_text(trained)
    train = supervisor.train
    monkeypatch.setattr(
        supervisor, "train", lambda *args, **options: train(*args, **options, driver="small_driver")
    )
    more = ["--evaluate.suites", "[arithmetic-control]", "--evaluate.engine", "hf", "--watch.attempts", "1"]
    monkeypatch.setattr(sys, "argv", ["dipo", "train", str(tmp_path / "recipe.yaml"), *more])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert f"trained: {tmp_path}/run; evaluation is not complete" in shown
    assert f"watch {tmp_path}/run/ckpt --suites arithmetic-control" in shown
