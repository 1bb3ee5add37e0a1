"""Ctrl-C, a killed command and a full disk: one clear line, no orphan, nothing lost that was saved."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from stack import EVALUATE, Dipo, run_dipo, wait_until, write_recipe

from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.events import read_events
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]


def errors(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("error:")]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(signal.SIGINT, id="ctrl_c"),
        pytest.param(signal.SIGTERM, id="terminate", marks=pytest.mark.slow),
    ],
)
def test_an_interruption_keeps_what_was_saved(small_model, tmp_path, sent):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=40)
    command = Dipo(["train", str(recipe), *EVALUATE]).start()
    assert command.process is not None
    wait_until(lambda: checkpoints.resumable_steps(run_dir / "ckpt"), command.process)
    command.process.send_signal(sent)
    status, output = command.finish(90)
    assert status == 130, output
    assert "Traceback" not in output
    (line,) = errors(output)
    saved = checkpoints.resumable_steps(run_dir / "ckpt")[-1]
    assert f"interrupted; all processes have ended; step {saved} is saved: continue with --resume" in line
    assert command.left_over_after(10) == []


@pytest.mark.parametrize("moment", ["loading", "starting_the_engine"])
def test_a_killed_command_takes_its_processes_with_it(small_model, tmp_path, moment):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=40)
    command = Dipo(["train", str(recipe), *EVALUATE]).start()
    assert command.process is not None
    loading = "loading the model and the rollout engine"
    wait_until(lambda: any(event["stage"] == loading for event in read_events(run_dir)), command.process)
    if moment == "starting_the_engine":  # its worker and its core wait for each other
        wait_until(lambda: _titled(command, "VLLM::EngineCore"), command.process)
    assert command.left_over()
    command.process.kill()
    command.process.wait(10)
    assert command.left_over_after(90) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_loses_nothing_that_was_saved(small_model, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_room_for_one(small_model)}", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.strip()}")
    try:
        recipe, _ = write_recipe(tmp_path, small_model, steps=8, ckpt=disk / "ckpt")
        command = Dipo(["train", str(recipe)]).start()
        status, output = command.finish()
        assert status == 2, output
        (line,) = errors(output)
        assert "the disk is full" in line
        assert "step 2 is saved: continue with --resume" in line
        assert command.left_over_after(10) == []
        assert checkpoints.point_latest_at_newest_complete(disk / "ckpt") == 2
        assert (disk / "ckpt" / "_actor" / "latest").read_text() == "global_step2"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def _room_for_one(model: Path) -> int:
    """Bytes for one and a half checkpoints: weights, Adam's two moments and master copy, and the export."""
    weights = (model / "model.safetensors").stat().st_size
    return int(1.5 * 5 * weights)


def test_bad_input_is_one_line_and_starts_nothing(small_model, tmp_path):
    recipe, run_dir = write_recipe(tmp_path, small_model)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for arguments, words in (
        (["--actor.model_name_or_path", "./nowhere"], "no such folder"),
        (["--data.prompt_dataset", str(empty)], "the file is empty"),
        (["--data.prompt_dataset", "none.jsonl"], "no such file"),
        (["--actor.adam.lrr", "1"], "the nearest known key is actor.adam.lr"),
    ):
        status, output = run_dipo("train", str(recipe), *arguments, limit=120)
        assert status == 2
        assert words in output
        assert "Traceback" not in output
    assert not run_dir.exists()


UNDECIDED_REWARD = """
def reward_func(queries, prompts, labels, **unused):
    return {"rewards": 0.0, "scores": 0.0, "extra_logs": {"verifier/undecided": 1.0, "verifier/timeout": 1.0}}
"""


@pytest.mark.slow
def test_a_verifier_that_cannot_decide_ends_the_run(small_model, tmp_path):
    recipe, _ = write_recipe(tmp_path, small_model)
    (tmp_path / "reward.py").write_text(UNDECIDED_REWARD)
    command = Dipo(["train", str(recipe), "--reward.remote_url", str(tmp_path / "reward.py")]).start()
    status, output = command.finish()
    assert status == 2
    (line,) = errors(output)
    assert "the verifier could not decide 100.0% of this step's 64 samples (100.0% time limit" in line
    assert "run.max_undecided_rate" in line
    assert command.left_over_after(10) == []


def test_a_prompt_longer_than_the_context_is_named(small_model, tmp_path):
    recipe, _ = write_recipe(tmp_path, small_model)
    command = Dipo(["train", str(recipe), "--data.max_len", "52"]).start()
    status, output = command.finish(180)
    assert status == 2
    (line,) = errors(output)
    assert "prompts.jsonl:1: the prompt has" in line
    assert "data.max_len = 52" in line
    assert command.left_over_after(5) == []


def _titled(command: Dipo, title: str) -> list[psutil.Process]:
    found = []
    for process in command.left_over():
        with contextlib.suppress(psutil.Error):
            if title in " ".join(process.cmdline()):
                found.append(process)
    return found


def _kill_engine(command: Dipo) -> None:
    (engine,) = _titled(command, "ray::SeededEngine")
    engine.kill()


@pytest.mark.slow
def test_an_engine_that_dies_while_it_starts_ends_the_run(small_model, tmp_path):
    """The actor waits for it to join their group, and the driver for the actor; the trainer detects its death."""
    recipe, _ = write_recipe(tmp_path, small_model)
    command = Dipo(["train", str(recipe)]).start()
    assert command.process is not None
    wait_until(lambda: _titled(command, "ray::SeededEngine"), command.process)
    _kill_engine(command)
    status, output = command.finish(120)
    assert status == 2
    (line,) = errors(output)
    assert "died" in line
    assert "Traceback" not in output
    assert command.left_over_after(20) == []


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_dead_engine_ends_the_run_or_restarts_it(small_model, tmp_path, restarts):
    """benchmarks/faults.py does this to every part, at random moments."""
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=8)
    command = Dipo(["train", str(recipe), "--run.max_restarts", str(restarts)]).start()
    assert command.process is not None
    wait_until(lambda: checkpoints.resumable_steps(run_dir / "ckpt"), command.process)
    _kill_engine(command)
    if restarts == 0:
        status, output = command.finish(120)
        assert status == 2
        (line,) = errors(output)
        assert "is saved: continue with --resume" in line
        assert "Traceback" not in output
    else:
        status, output = command.finish()
        assert status == 0, output
        assert "restart 1 of 1 from step" in output
        assert [row["step"] for row in read_metrics(run_dir)] == list(range(1, 9))
    assert command.left_over_after(20) == []
