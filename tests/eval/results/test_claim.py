"""Two evaluations into one folder, a result that is replaced, a folder with a bad file, and one that is read-only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_eval.files import lease as leases
from dipo_eval.results.claim import FOLDER, claimed, fingerprint
from dipo_eval.results.store import read_result
from dipo_eval.runner.run import evaluate
from dipo_eval.runner.task import SuiteResult
from dipo_eval.subject.checkpoints import Checkpoint

HOLD = """
import sys, time
from pathlib import Path
from dipo_eval.results.claim import claimed
with claimed(Path(sys.argv[1]), Path(sys.argv[2]), "", {"seed": 7, "temperature": 0.5}):
    print("held", flush=True)
    time.sleep(120)
"""


def run_hf(model: Path, results: Path, data: Path, **more: Any) -> tuple[list[SuiteResult], list[str]]:
    logged: list[str] = []
    options: dict[str, Any] = {"engine": "hf", "max_new_tokens": 8, "limit": 3, "data_dir": data, **more}
    suites = options.pop("suites", ["gsm8k"])
    found = evaluate(
        [Checkpoint(model, "m", 2)],
        suites,
        results_dir=results,
        run="r",
        progress=False,
        log=logged.append,
        **options,
    )
    return found, logged


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a process that holds the claim on r/m/gsm8k."""
    started: list[subprocess.Popen[str]] = []

    def hold() -> subprocess.Popen[str]:
        results = tmp_path / "results"
        command = [sys.executable, "-c", HOLD, str(results), str(results / "r" / "m" / "gsm8k")]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield hold
    for process in started:
        process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def test_a_folder_that_another_evaluates_is_left_to_it_and_taken_over_once_it_is_dead(
    models: Path, tmp_path: Path, data: Path, holder: Callable[[], subprocess.Popen[str]]
) -> None:
    model, results = models / "global_step2_hf", tmp_path / "results"
    other = holder()
    with pytest.raises(UserError) as caught:
        run_hf(model, results, data)
    assert f"process {other.pid} (seed 7, temperature 0.5)" in str(caught.value)
    assert "use another --run" in str(caught.value)
    assert "\n" not in str(caught.value)
    other.send_signal(signal.SIGKILL)
    other.wait(30)
    started = time.monotonic()
    (found,), logged = run_hf(model, results, data)
    assert (found.origin, logged) == ("generated", [])
    assert time.monotonic() - started < 30  # at once, not after a minute of watching


def test_of_two_evaluations_at_once_one_is_stored_and_the_other_says_so(
    models: Path, tmp_path: Path, data: Path
) -> None:
    """For real, with other seeds: before there was a claim both ended with status 0, and the last one stayed."""
    command = [
        sys.executable, "-m", "dipo_openrlhf.cli", "eval", str(models / "global_step2_hf"), "--suites", "gsm8k",
        "--results", str(tmp_path / "results"), "--run", "r", "--engine", "hf", "--data-dir", str(data),
        "--temperature", "1", "--samples", "4", "--max-new-tokens", "48",
    ]  # fmt: skip
    both = [
        subprocess.Popen(
            [*command, "--seed", seed], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for seed in ("1", "2")
    ]
    ended = [(process.communicate(timeout=300), process.returncode) for process in both]
    assert sorted(status for _, status in ended) == [0, 2], ended
    (stored,) = (tmp_path / "results" / "r").glob("*/gsm8k")
    result = read_result(stored)
    assert result is not None
    assert result["settings"]["seed"] == 1 + [status for _, status in ended].index(0)
    ((_, message), _) = next(one for one in ended if one[1] == 2)
    assert len(message.strip().splitlines()) == 1
    assert str(stored) in message


def test_an_owner_elsewhere_is_watched_and_taken_over_when_it_beats_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "r" / "m" / "s"
    path = tmp_path / FOLDER / "r" / "m" / "s.0"
    path.parent.mkdir(parents=True)
    content = {
        "host": "elsewhere",
        "pid": 7,
        "process": "boot/pid:[1]/7/9",
        "state": "held",
        "note": "seed 3",
    }
    path.write_text(json.dumps({**content, "beat": 0}))
    logged: list[str] = []
    with claimed(tmp_path, folder, "", {}, logged.append, stale_after=1.5):
        assert leases.tail(path.with_suffix("")).number == 1
    assert logged == [f"{folder}: claimed by elsewhere, process 7; checking for 2 s whether it is alive"]

    path = path.with_suffix(".2")
    path.write_text(json.dumps({**content, "beat": 0}))
    beating = threading.Timer(0.6, lambda: path.write_text(json.dumps({**content, "beat": 1})))
    beating.start()
    with (
        pytest.raises(UserError, match=r"by elsewhere, process 7 \(seed 3\)"),
        claimed(tmp_path, folder, "", {}, logged.append, stale_after=60),
    ):
        raise AssertionError("it lives")
    beating.join()


def test_a_claim_that_was_deleted_is_nobody_elses(tmp_path: Path) -> None:
    folder = tmp_path / "r" / "c" / "s"
    with claimed(tmp_path, folder, "", {}) as claim:
        claim.lost.set()
        with pytest.raises(UserError, match="considered this one dead"):
            claim.check()
        shutil.rmtree(tmp_path / FOLDER)
        claim.check()


def test_what_was_stored_meanwhile_stays(models: Path, tmp_path: Path, data: Path) -> None:
    """Also where the claims were deleted with the cache."""
    (first,), _ = run_hf(models / "global_step2_hf", tmp_path, data)
    with (
        pytest.raises(UserError, match="another evaluation has written it meanwhile, and its result stays"),
        claimed(tmp_path, first.folder, "", {}),
    ):
        raise AssertionError("it was written before the claim")
    with claimed(tmp_path, first.folder, fingerprint(first.folder), {}) as claim:
        claim.check()
        shutil.rmtree(tmp_path / ".cache")
        (first.folder / "results.json").write_text("{}")
        with pytest.raises(UserError, match="its result stays"):
            claim.check()


def test_a_result_that_is_replaced_is_said_and_other_settings_are_refused(
    models: Path, tmp_path: Path, data: Path
) -> None:
    model = Path(shutil.copytree(models / "global_step2_hf", tmp_path / "model"))
    (first,), logged = run_hf(model, tmp_path, data)
    assert logged == []
    with pytest.raises(UserError, match=r"other settings \(seed\); use another --run, or --force"):
        run_hf(model, tmp_path, data, seed=1)
    assert read_result(first.folder) == first.result
    (again,), logged = run_hf(model, tmp_path, data)
    assert (again.origin, logged) == ("found", [])
    shutil.copytree(models / "global_step10_hf", model, dirs_exist_ok=True)
    (other,), logged = run_hf(model, tmp_path, data)
    assert (other.origin, logged) == (
        "generated", [f"{first.folder}: its result is replaced, since it is of another model (weights_hash)"]
    )  # fmt: skip
    rows = (data / "gsm8k_test.jsonl").read_text().replace('"8"', '"9"')
    (data / "gsm8k_test.jsonl").write_text(rows)
    _, logged = run_hf(model, tmp_path, data, limit=5, force=True)
    assert logged == []


@pytest.mark.parametrize("text", ["{", '{"schema": 1}', "[]", '{"schema": 1, "metrics": NaN}'])
def test_one_bad_result_harms_no_other(models: Path, tmp_path: Path, data: Path, text: str) -> None:
    bad = tmp_path / "r" / "other" / "gsm8k"
    bad.mkdir(parents=True)
    (bad / "results.json").write_text(text)
    (bad / "samples.jsonl").write_text("")
    (found,), logged = run_hf(models / "global_step2_hf", tmp_path, data)
    assert (found.origin, logged) == ("generated", [])


def test_a_read_only_folder_with_everything_in_it_is_reported(models: Path, data: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        model = Path(shutil.copytree(models / "global_step2_hf", Path(place) / "model"))
        questions = Path(shutil.copytree(data, Path(place) / "data"))
        results = Path(place) / "results"
        (first,), _ = run_hf(model, results, questions)
        shutil.rmtree(results / ".cache")
        for path in (Path(place), *Path(place).rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)  # root writes where it likes
        try:
            (again,), logged = run_hf(model, results, questions)
            assert (again.origin, again.result, logged) == ("found", first.result, [])
            with pytest.raises(
                UserError, match=r"arithmetic-control: this has to be evaluated, and .* cannot be written"
            ):
                run_hf(model, results, questions, suites=["arithmetic-control"])
        finally:
            if root:
                os.seteuid(0)
            for path in (Path(place), *Path(place).rglob("*")):
                path.chmod(0o755)
