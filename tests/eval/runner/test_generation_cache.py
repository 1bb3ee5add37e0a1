"""What was generated is never generated again: after a kill, with more items, and under another run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.engines.base import Engine, Generation, OnDone, Prompt, Request, Sampling
from dipo_eval.engines.openai import Served
from dipo_eval.engines.registry import open_engine
from dipo_eval.results.store import read_result, read_samples
from dipo_eval.runner import subject as subject_module
from dipo_eval.runner.generation_cache import FOLDER, GenerationCache, records
from dipo_eval.runner.run import evaluate
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.subject.identity import Identity

WHO = Identity("w", "g", "hf", "1", "cpu", "float32")
GENERATIONS = [Generation("a\nb\u2028", 3, "stop"), Generation("", 0, "length", 7)]


def request(token: int = 5, **more: Any) -> Request:
    return Request(Prompt("t", [token], "h"), 2, 9, 1, **more)


def test_another_process_finds_it_without_a_close(tmp_path: Path) -> None:
    cache = GenerationCache(tmp_path, WHO)
    key = cache.key(request(), Sampling())
    assert cache.get(key) is None
    cache.put(key, GENERATIONS)
    assert GenerationCache(tmp_path, WHO).get(key) == GENERATIONS
    assert GenerationCache(tmp_path, replace(WHO, weights_hash="other")).get(key) is None
    assert GenerationCache(tmp_path, WHO, read=False).get(key) is None
    cache.close()
    cache.close()


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_cut_file_gives_what_is_whole(tmp_path: Path, cut: int) -> None:
    cache = GenerationCache(tmp_path, WHO)
    keys = [cache.key(request(token), Sampling()) for token in range(20)]
    for key in keys:
        cache.put(key, GENERATIONS)
    (path,) = tmp_path.rglob("*.zst")
    path.write_bytes(path.read_bytes()[:-cut])
    found = GenerationCache(tmp_path, WHO)
    kept = [found.get(key) for key in keys]
    assert kept[:15] == [GENERATIONS] * 15
    assert kept[-1] is None
    path.write_bytes(os.urandom(500))
    assert GenerationCache(tmp_path, WHO).get(keys[0]) is None


def test_the_key_holds_all_that_decides_a_response(tmp_path: Path) -> None:
    cache = GenerationCache(tmp_path, WHO)
    warm = Sampling(0.6, 0.95)
    others = [
        request(6), request(stop=("x",)), replace(request(), n=1), replace(request(), max_tokens=8),
        replace(request(), seed=2),
    ]  # fmt: skip
    keys = {cache.key(one, warm) for one in [request(), *others]}
    keys |= {cache.key(request(), Sampling(0.7, 0.95)), cache.key(request(), Sampling(0.6, 1.0))}
    for other in (
        {"weights_hash": "other"}, {"generation_hash": "other"}, {"engine": "vllm"}, {"engine_version": "2"},
        {"device": "cuda"}, {"dtype": "bfloat16"}, {"served": Served("http://a/v1", {}, {})},
        {"served": Served("http://a/v1", {"root": "/a"}, {})},
        {"served": Served("http://a/v1", {}, {"max_model_len": 9})},
    ):  # fmt: skip
        keys.add(GenerationCache(tmp_path, replace(WHO, **other)).key(request(), warm))
    keys.add(GenerationCache(tmp_path, replace(WHO, shown={"gpu": "H100"})).key(request(), warm))
    assert len(keys) == 17
    greedy = {cache.key(replace(request(), seed=seed), Sampling(0.0, p)) for seed in (1, 2) for p in (0.5, 1)}
    assert len(greedy) == 1


class Counting:
    """An engine that notes what it is asked, around a real one."""

    def __init__(self, engine: Engine, asked: list[str]) -> None:
        self._engine, self._asked = engine, asked

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_done: OnDone) -> None:
        self._asked += [one.prompt.text for one in requests]
        self._engine.generate(requests, sampling, on_done)

    def close(self) -> None:
        self._engine.close()


def test_more_items_another_run_and_force(
    models: Path, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        subject_module, "open_engine", lambda *args, **more: Counting(open_engine(*args, **more), asked)
    )

    def evaluate_once(**more: Any) -> list[dict[str, Any]]:
        asked.clear()
        settings: dict[str, Any] = {"run": "r", "limit": 2, **more}
        (result,) = evaluate(
            [Checkpoint(models / "global_step2_hf", "m")], ["gsm8k"], results_dir=tmp_path / "results",
            engine="hf", max_new_tokens=8, data_dir=data, progress=False, **settings,
        )  # fmt: skip
        return read_samples(result.folder)

    first = evaluate_once()  # one of the five problems fills the context and is never asked
    asked_first = len(asked)
    assert asked_first == sum(row["finish_reason"] != "prompt_too_long" for row in first) > 0
    rows = evaluate_once(limit=5, run="complete")
    assert len(asked) == 4 - asked_first
    assert evaluate_once(limit=5, run="again") == rows
    assert asked == []
    assert evaluate_once(limit=5, run="again", force=True) == rows
    assert len(asked) == 4


# Imports once and forks for each line of its input, since imports take most of a short evaluation's time.
SCRIPT = """
import os, sys
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM
from dipo_eval.engines import transformers as hf_engine
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.runner.run import evaluate
model, data = map(Path, sys.argv[1:])
hf_engine.BATCH_SIZE = 2
for line in sys.stdin:
    child = os.fork()
    if not child:
        evaluate([Checkpoint(model, "m")], ["gsm8k", "arithmetic-control"], results_dir=Path(line.strip()), run="r",
                 engine="hf", max_new_tokens=32, limit=40, samples=2, temperature=0.8, data_dir=data, progress=False)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Evaluations:
    """Evaluations that run one after another in processes of their own and can be killed."""

    def __init__(self, model: Path, data: Path) -> None:
        command = [sys.executable, "-c", SCRIPT, str(model), str(data)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **pipes)

    def run(self, results: Path, kill_after: float | None = None, at_work: bool = False) -> int:
        """Exit status of one evaluation: -9 where it was killed, so many seconds after its start or first response."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{results}\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if kill_after is not None:
            deadline = time.monotonic() + 60
            while at_work and not list(results.glob(f"{FOLDER}/*/{child}-*")) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait(30)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("wanted", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_again_and_again_it_ends_as_if_undisturbed(models: Path, tmp_path: Path, wanted: int) -> None:
    """kill -9 at random moments: the same results, no item twice, none missing, and work is not lost."""
    data = tmp_path / "data"
    data.mkdir()
    rows = [{"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(60)]
    (data / "gsm8k_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    undisturbed = tmp_path / "undisturbed"
    evaluations = Evaluations(models / "global_step2_hf", data)
    moments = random.Random(0)
    kills = folders = 0
    try:
        assert evaluations.run(undisturbed) == 0
        started = time.monotonic()
        assert evaluations.run(tmp_path / "timed") == 0
        takes = time.monotonic() - started
        while kills < wanted:
            killed, folders, status = tmp_path / f"killed{folders}", folders + 1, -9
            while status == -9:
                # Half of them at any moment from the start, half once responses come.
                delay = moments.uniform(0, takes / 4 if kills % 2 else takes / 40)
                status = evaluations.run(killed, delay if kills < wanted else None, at_work=kills % 2 == 0)
                kills += status == -9
                for folder in killed.glob("r/m/*"):  # nothing half written is taken for a result
                    assert read_result(folder) is None or len(read_samples(folder)) == 80
            assert status == 0
            assert_alike(killed, undisturbed)
    finally:
        evaluations.close()


def assert_alike(killed: Path, undisturbed: Path) -> None:
    for suite in ("gsm8k", "arithmetic-control"):
        expected, found = (folder / "r" / "m" / suite for folder in (undisturbed, killed))
        assert read_samples(found) == read_samples(expected)
        assert len({(row["item_id"], row["sample"]) for row in read_samples(found)}) == 80
        one, other = read_result(found), read_result(expected)
        assert one is not None
        assert other is not None
        assert without_times(one) == without_times(other)
    files = list(killed.glob(f"{FOLDER}/*/*.zst"))
    kept = [key for path in files for key, _ in records(path)]
    assert len(kept) == len(set(kept)) == 80  # 2 suites of 40 items: each was kept, and once
    assert len(files) > 1  # by several of the processes


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("seconds", "created")}
