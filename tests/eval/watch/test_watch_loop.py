"""The watcher on real checkpoints in real child processes: once each, none lost, one broken one blocks nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dipo_eval.files.lease import LeaseObserver, acquire, tail
from dipo_eval.results.store import read_result
from dipo_eval.subject.marker import BEST, EVALUATED, LEASE, read_json, training_ended
from dipo_eval.watch.best import BestRule
from dipo_eval.watch.loop import WatchOptions, watch
from dipo_eval.watch.plan import EvalOptions, make_plan
from dipo_openrlhf.record.processes import processes_of

SUITE = "arithmetic-control"
MARK = "DIPO_WATCH_TEST"
Add = Callable[..., Path]
Make = Callable[..., WatchOptions]


def result_file(options: WatchOptions, name: str) -> Path:
    return options.plan.results_dir / "r" / name / SUITE / "results.json"


def test_each_once_and_a_broken_one_blocks_nothing(
    add_checkpoint: Add, options: Make, exports: list[Path]
) -> None:
    first = add_checkpoint(1)
    broken = add_checkpoint(2, broken=True)
    lines: list[str] = []
    made = options(start_model=str(exports[1]))
    summary = watch(made, lines.append)
    assert summary.evaluated == ["global_step0", "global_step1"]
    assert summary.given_up == ["global_step2"]
    assert [line.partition(":")[0] for line in lines] == [
        "global_step0", "global_step1", "global_step2", "global_step2", "global_step2",
    ]  # fmt: skip
    assert "attempt 1 of 2 failed" in lines[2]
    assert "given up after 2 attempts" in lines[-1]
    record = json.loads((made.plan.results_dir / "r" / "global_step2" / "watch.json").read_text())
    assert record["attempts"] == 2
    assert "cannot load this model" in record["errors"][0]
    assert "against global_step0" in lines[1]
    for folder, outcome in ((first, "evaluated"), (broken, "given up")):
        content = read_json(folder / EVALUATED)
        assert content is not None
        assert content["outcome"] == outcome
        assert tail(folder / LEASE).released
    assert (first / BEST).exists()  # the starting model is no checkpoint
    assert read_result(result_file(made, "global_step1").parent) is not None

    before = result_file(made, "global_step1").stat().st_mtime_ns
    started = time.monotonic()
    again = watch(made, lines.append)
    assert again.evaluated == summary.evaluated
    assert again.given_up == ["global_step2"]
    assert time.monotonic() - started < 3
    assert result_file(made, "global_step1").stat().st_mtime_ns == before


def test_what_an_evaluation_says_does_not_act_on_the_terminal(add_checkpoint: Add, options: Make) -> None:
    folder = add_checkpoint(1, broken=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "\x1b]0;owned\x07\x1b[2J"}))
    lines: list[str] = []
    watch(options(), lines.append)
    assert any("attempt 1 of 2 failed" in line and "\\u001b" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_a_deadline_ends_an_evaluation(add_checkpoint: Add, options: Make) -> None:
    add_checkpoint(1)
    lines: list[str] = []
    summary = watch(options(deadline=0.3, attempts=1), lines.append)
    assert summary.given_up == ["global_step1"]
    assert "no progress for 0 s" in lines[0]


def test_it_ends_when_the_training_has_ended(ckpt: Path, options: Make) -> None:
    found: list[object] = []
    made = options(once=False, until_done=True)
    watcher = threading.Thread(target=lambda: found.append(watch(made, print)))
    watcher.start()
    time.sleep(0.4)
    assert watcher.is_alive()
    training_ended(ckpt, "failed")
    watcher.join(10)
    assert len(found) == 1


def test_it_ends_when_nothing_is_new(options: Make) -> None:
    lines: list[str] = []
    watch(options(once=False, idle_timeout=0.2), lines.append)
    assert lines == ["nothing new for 0 s: ending"]


def test_a_checkpoint_that_is_held_is_waited_for(add_checkpoint: Add, options: Make) -> None:
    """Another watcher's lease; it evaluates nothing, so that this one does once it is released."""
    folder = add_checkpoint(1)
    lease = acquire(folder / LEASE, LeaseObserver())
    assert lease is not None
    lines: list[str] = []
    done: list[object] = []
    watcher = threading.Thread(
        target=lambda: done.append(watch(options(attempts=1, deadline=0.2), lines.append))
    )
    watcher.start()
    time.sleep(0.5)
    assert lines == [f"global_step1: being evaluated by {tail(folder / LEASE).holder}"]
    lease.release()
    watcher.join(20)
    assert done
    assert len(lines) == 3


def command(options: WatchOptions, mark: str, *more: str) -> subprocess.Popen[str]:
    """`dipo watch` as a process of its own, with the options of `options`."""
    arguments = [str(options.ckpt_path), "--suites", SUITE, "--results", str(options.plan.results_dir)]
    arguments += ["--run", "r", "--engine", "hf", "--limit", "2", "--max-new-tokens", "4", "--once", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "dipo_openrlhf.cli", "watch", *arguments],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130), (signal.SIGINT, 130)]
)
def test_an_ended_watcher_leaves_no_process_and_no_lock(
    add_checkpoint: Add, options: Make, sent: signal.Signals, status: int
) -> None:
    folder = add_checkpoint(1)
    made = options()
    mark = f"{sent}:{time.monotonic_ns()}"
    watcher = command(made, mark)
    wait_for(lambda: len(processes_of(mark, MARK)) == 2)  # its child runs
    watcher.send_signal(sent)
    output, _ = watcher.communicate(timeout=30)
    assert watcher.returncode == status
    wait_for(lambda: not processes_of(mark, MARK), 10)
    assert not result_file(made, "global_step1").exists()
    if sent != signal.SIGKILL:
        assert output == "error: interrupted; the lease is released and what was evaluated is kept\n"
        assert tail(folder / LEASE).released
    # Whoever comes next has it at once.
    assert acquire(folder / LEASE, LeaseObserver()) is not None


def test_two_watchers_share_the_work(add_checkpoint: Add, options: Make) -> None:
    for step in (1, 2):
        add_checkpoint(step, step % 2)
    made = options()
    watchers = [command(made, f"two:{number}") for number in range(2)]
    outputs = [watcher.communicate(timeout=120)[0] for watcher in watchers]
    assert [watcher.returncode for watcher in watchers] == [0, 0], outputs
    for step in (1, 2):
        assert read_result(result_file(made, f"global_step{step}").parent) is not None
        # Leased once for its evaluation; who came later found the result without one, or right behind it.
        assert tail(made.ckpt_path / f"global_step{step}_hf" / LEASE).released
        assert json.loads((result_file(made, f"global_step{step}").parent.parent / "watch.json").read_text())[
            "done"
        ]


@pytest.mark.slow
def test_weights_that_changed_are_evaluated_again(add_checkpoint: Add, options: Make) -> None:
    """A resumed training writes a step anew: the old result is not taken for it."""
    folder = add_checkpoint(1, 0)
    made = options()
    watch(made, print)
    old = json.loads(result_file(made, "global_step1").read_text())
    shutil.rmtree(folder)
    add_checkpoint(1, 1)
    assert watch(made, print).evaluated == ["global_step1"]
    new = json.loads(result_file(made, "global_step1").read_text())
    assert new["model"]["weights_hash"] != old["model"]["weights_hash"]


def in_place(path: Path, data: bytes) -> None:
    """Without cutting the file first: a process that has it mapped would be killed by the kernel (SIGBUS)."""
    with path.open("r+b") as file:
        file.write(data)


def test_files_that_change_under_an_evaluation_mean_another_try(
    add_checkpoint: Add, options: Make, tmp_path: Path
) -> None:
    """A child of which the weights are overwritten in place once it answers, and put back for its second attempt."""
    weights = add_checkpoint(1) / "model.safetensors"
    whole = weights.read_bytes()
    plan = make_plan(
        [SUITE], tmp_path / "results", "r", EvalOptions(engine="hf", limit=96, max_new_tokens=64)
    )
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if "attempt 1 of 2 failed" in line:
            in_place(weights, whole)

    def overwrite() -> None:
        wait_for(lambda: list((tmp_path / "results").glob(".cache/*/*.zst")), 120)
        in_place(weights, whole[:-1] + bytes([whole[-1] ^ 1]))

    thread = threading.Thread(target=overwrite)
    thread.start()
    summary = watch(replace(options(), plan=plan), say)
    thread.join(130)
    assert "its files changed while it was being evaluated, so that nothing was stored" in lines[0]
    assert summary.evaluated == ["global_step1"]
    assert read_json(weights.parent / EVALUATED) == {"outcome": "evaluated", "suites": plan.suites}


def test_a_changed_tokenizer_is_not_taken_for_evaluated(add_checkpoint: Add, options: Make) -> None:
    folder = add_checkpoint(1)
    made = options()
    assert watch(made, print).evaluated == ["global_step1"]
    before = read_result(result_file(made, "global_step1").parent)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": [5, 6]}))
    assert watch(made, print).evaluated == ["global_step1"]
    after = read_result(result_file(made, "global_step1").parent)
    assert before is not None
    assert after is not None
    assert after["settings"]["end_tokens"] != before["settings"]["end_tokens"]


def test_a_users_own_suite_is_evaluated(ckpt, add_checkpoint, tmp_path):
    """By its path, which the evaluation's process needs too."""
    (tmp_path / "mine.jsonl").write_text('{"question": "1 + 1 = ?", "answer": "2"}\n')
    text = "name: mine\nfile: mine.jsonl\nfields: {question: question, answer: answer}\ngrader: math\n"
    (tmp_path / "mine.yaml").write_text(text + "license: Apache-2.0\nsource: this test\n")
    add_checkpoint(1)
    evaluation = EvalOptions(engine="hf", limit=2, max_new_tokens=4)
    plan = make_plan([str(tmp_path / "mine.yaml")], tmp_path / "results", "r", evaluation)
    assert plan.suites.keys() == {"mine"}
    watch(
        WatchOptions(ckpt, plan, BestRule("mine"), once=True, poll=0.05, stale_after=5.0, deadline=120.0),
        print,
    )
    assert (tmp_path / "results" / "r" / "global_step1" / "mine" / "results.json").is_file()
