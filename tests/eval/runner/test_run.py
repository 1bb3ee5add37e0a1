"""evaluate(): real models in real engines; all recomputable, nothing done twice, nothing half accepted."""

from __future__ import annotations

import importlib.util
import os
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.cli import overall_lines
from dipo_eval.engines.base import Prompt, Request, Sampling
from dipo_eval.engines.device import set_engine_env
from dipo_eval.engines.vllm import VllmEngine
from dipo_eval.errors import UserError
from dipo_eval.grading.calls import bfcl
from dipo_eval.results.store import read_result, read_samples
from dipo_eval.runner import provenance
from dipo_eval.runner import subject as subject_module
from dipo_eval.runner.metrics import counts_from_samples, metrics_from_samples
from dipo_eval.runner.run import evaluate
from dipo_eval.runner.task import SuiteResult, item_seed
from dipo_eval.subject.checkpoints import Checkpoint, find_checkpoints, weights_hash
from dipo_eval.suites.bfcl.items import CATEGORIES
from dipo_eval.suites.bfcl.overall import overall_scores

generate_all = runpy.run_path(str(Path(__file__).parents[1] / "tiny_model.py"))["generate_all"]

ROW_KEYS = {
    "item_id", "sample", "prompt_hash", "prompt", "response", "gold", "status", "reason", "extracted",
    "prompt_tokens", "response_tokens", "truncated", "finish_reason",
}  # fmt: skip
RESULT_KEYS = {
    "schema", "run", "checkpoint", "step", "suite", "model", "settings", "n_items", "n_samples_per_item",
    "metrics", "counts", "hashes", "versions", "seconds", "created",
}  # fmt: skip


def ask(token_ids: list[int], n: int, max_tokens: int, seed: int, **more: Any) -> Request:
    return Request(Prompt("", token_ids, ""), n, max_tokens, seed, **more)


def run_hf(model: Path, tmp_path: Path, data: Path, **more: Any) -> list[SuiteResult]:
    arguments: dict[str, Any] = {
        "results_dir": tmp_path / "results",
        "run": "r",
        "engine": "hf",
        "max_new_tokens": 8,
        "data_dir": data,
        "progress": False,
        **more,
    }
    suites = arguments.pop("suites", ["gsm8k"])
    return evaluate([Checkpoint(model, model.name, 2)], suites, **arguments)


def test_everything_is_stored_and_recomputes(models: Path, tmp_path: Path, data: Path) -> None:
    model = models / "global_step2_hf"
    results = run_hf(model, tmp_path, data, suites=["arithmetic-control", "gsm8k"], limit=4, top_p=0.9)
    assert [r.result["suite"] for r in results] == ["arithmetic-control", "gsm8k"]
    assert [r.folder for r in results] == [
        tmp_path / "results" / "r" / model.name / r.result["suite"] for r in results
    ]
    for result in results:
        assert result.origin == "generated"
        assert read_result(result.folder) == result.result
        assert set(result.result) == RESULT_KEYS
        rows = read_samples(result.folder)
        assert all(set(row) >= ROW_KEYS for row in rows)
        assert metrics_from_samples(rows) == result.result["metrics"]
        assert counts_from_samples(rows) == result.result["counts"]
        assert len(rows) == result.result["n_items"] == 4
        assert result.result["model"]["weights_hash"] == weights_hash(model)
        assert result.result["settings"]["prompt_form"] == "chat"
    row = read_samples(results[0].folder)[0]
    assert row["prompt"].startswith("<|im_start|>user\n")
    assert row["prompt"].endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert row["kind"]


@pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")
def test_bfcl_adds_its_overall_scores_and_what_they_lack(models: Path, tmp_path: Path, data: Path) -> None:
    (result,) = run_hf(models / "global_step2_hf", tmp_path, data, suites=["bfcl"], limit=17)
    found, rows = result.result, read_samples(result.folder)
    assert set(found) == RESULT_KEYS | {"overall"}
    assert {row["kind"] for row in rows} == set(CATEGORIES)
    # Saying nothing is right for irrelevance, but not where the model was never asked.
    never_asked = [row for row in rows if row["finish_reason"] == "prompt_too_long"]
    assert "irrelevance" in {row["kind"] for row in never_asked}
    assert {row["status"] for row in never_asked} == {"wrong"}
    accuracies = {kind: found["metrics"][f"accuracy/{kind}"]["value"] for kind in CATEGORIES}
    assert found["overall"] == overall_scores(accuracies)
    assert found["metrics"] == metrics_from_samples(rows)
    assert [line.partition(";")[0] for line in overall_lines([result])] == [
        f"global_step2_hf, BFCL v3 overall: {100 * found['overall']['BFCL v3']['value']:.1f}%",
        "global_step2_hf, BFCL v4 overall: none, without agentic",
    ]


def test_a_prompt_that_fills_the_context_is_counted_as_truncated(
    models: Path, tmp_path: Path, data: Path
) -> None:
    (result,) = run_hf(models / "global_step2_hf", tmp_path, data)
    rows = {row["item_id"]: row for row in read_samples(result.folder)}
    assert rows["q3"]["prompt_tokens"] > 512
    assert (rows["q3"]["finish_reason"], rows["q3"]["response"], rows["q3"]["response_tokens"]) == (
        "prompt_too_long", "", 0,
    )  # fmt: skip
    assert (rows["q3"]["truncated"], rows["q3"]["status"]) == (True, "wrong")
    assert rows["q3"]["reason"] == "the prompt fills the context"
    assert rows["q0"]["response_tokens"] > 0
    assert result.result["n_items"] == 5


def test_nothing_is_done_twice(
    models: Path, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models / "global_step2_hf"
    (first,) = run_hf(model, tmp_path, data)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("no engine may be loaded")

    with monkeypatch.context() as patch:
        patch.setattr(subject_module, "open_engine", refuse)
        (second,) = run_hf(model, tmp_path, data)
        assert (second.origin, second.result) == ("found", first.result)
        # A changed grader means new verdicts on the old responses.
        patch.setattr(provenance, "code_hash", lambda suite: "changed")
        (third,) = run_hf(model, tmp_path, data)
        assert third.origin == "regraded"
        assert third.result["hashes"]["suite_hash"] != first.result["hashes"]["suite_hash"]
        assert third.result["hashes"]["samples_sha256"] == first.result["hashes"]["samples_sha256"]
        assert third.result["seconds"]["generate"] == first.result["seconds"]["generate"]
    (forced,) = run_hf(model, tmp_path, data, force=True)
    assert forced.origin == "generated"
    assert forced.result["hashes"] == first.result["hashes"]  # greedy: the same responses again


def test_a_partial_or_tampered_result_is_made_again(models: Path, tmp_path: Path, data: Path) -> None:
    model = models / "global_step2_hf"
    (first,) = run_hf(model, tmp_path, data)
    samples = first.folder / "samples.jsonl"
    samples.write_text(samples.read_text().replace('"wrong"', '"correct"', 1))
    (second,) = run_hf(model, tmp_path, data)
    assert second.origin == "generated"
    (first.folder / "results.json").unlink()
    (third,) = run_hf(model, tmp_path, data)
    assert third.origin == "generated"
    assert third.result["hashes"] == first.result["hashes"]


def test_other_weights_replace_and_other_settings_are_refused(
    models: Path, tmp_path: Path, data: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(models / "global_step2_hf", model)
    (first,) = run_hf(model, tmp_path, data)
    with pytest.raises(UserError, match="max_new_tokens"):
        run_hf(model, tmp_path, data, max_new_tokens=9)
    assert read_result(first.folder) == first.result
    shutil.copytree(models / "global_step10_hf", model, dirs_exist_ok=True)
    (second,) = run_hf(model, tmp_path, data)
    assert second.origin == "generated"
    assert second.result["model"] != first.result["model"]


def test_several_samples_are_seeded_by_item(models: Path, tmp_path: Path, data: Path) -> None:
    options: dict[str, Any] = {"samples": 3, "temperature": 1.0, "suites": ["arithmetic-control"], "limit": 3}
    (a,) = run_hf(models / "global_step2_hf", tmp_path, data, **options)
    (b,) = run_hf(models / "global_step2_hf", tmp_path, data, **options, run="again")
    rows = read_samples(a.folder)
    assert rows == read_samples(b.folder)
    assert [row["sample"] for row in rows] == [0, 1, 2] * 3
    assert len({row["response"] for row in rows}) > 3
    assert {"accuracy", "pass@2", "pass@3", "maj@3"} <= set(a.result["metrics"])
    assert a.result["metrics"]["accuracy"]["k"] == 3


def test_bad_data_is_refused_before_the_model_is_touched(tmp_path: Path, data: Path) -> None:
    with (data / "gsm8k_test.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(UserError, match=r"gsm8k_test\.jsonl:6"):
        run_hf(tmp_path / "no_such_model", tmp_path, data)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"samples": 2}, "at temperature 0"),
        ({"samples": 0}, "at least 1"),
        ({"max_new_tokens": 0}, "at least 1"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"engine": "sglang"}, "choose from vllm, hf, openai"),
        ({"engine": "openai"}, "name the server with --base-url"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "name the server with --base-url"),
        ({"thinking": True}, "no thinking mode to switch"),
        ({"stop": ["\n", ""]}, "a stop string is empty"),
        ({"run": "../up"}, "run name"),
        ({"suites": ["gsm8"]}, "did you mean"),
        ({"limit": 0}, "limit=0"),
        ({"max_model_len": 10_000}, "more than the 512"),
    ],
)
def test_options_that_cannot_be_are_refused(
    models: Path, tmp_path: Path, data: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run_hf(models / "global_step2_hf", tmp_path, data, **more)
    assert "\n" not in str(caught.value)


def test_models_that_cannot_be_loaded_are_explained(models: Path, tmp_path: Path, data: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        run_hf(tmp_path / "missing", tmp_path, data)
    broken = tmp_path / "broken"
    shutil.copytree(models / "global_step2_hf", broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot load this model") as caught:
        run_hf(broken, tmp_path, data)
    assert "\n" not in str(caught.value)
    weights.unlink()
    with pytest.raises(UserError, match="weights are missing"):
        run_hf(broken, tmp_path, data)
    with pytest.raises(UserError, match="no checkpoint"):
        evaluate([], ["gsm8k"], results_dir=tmp_path, run="r", data_dir=data)


def test_a_batch_answers_as_each_prompt_alone(models: Path) -> None:
    """Left padding in the transformers engine must not change a greedy response."""
    from dipo_eval.engines.transformers import HfEngine

    engine = HfEngine(models / "global_step2_hf", dtype="float32")
    requests = [ask(list(range(5, 5 + n)), 1, 12 if n < 9 else 6, 0) for n in (3, 11, 7, 1, 20)]
    together = generate_all(engine, requests, Sampling())
    alone = [generate_all(engine, [request], Sampling())[0] for request in requests]
    assert together == alone
    pairs = zip(together, requests, strict=True)
    assert all(generations[0].n_tokens <= request.max_tokens for generations, request in pairs)
    sampled = Sampling(temperature=1.0, top_p=0.95)
    drawn = [replace(request, n=3) for request in requests]
    together = generate_all(engine, drawn, sampled)
    assert generate_all(engine, drawn[2:], sampled) == together[2:]
    assert len({one.text for one in together[0]}) == 3
    engine.close()
    engine.close()


def test_the_users_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    set_engine_env(tmp_path / "not_local")
    assert "HF_HUB_OFFLINE" not in os.environ
    set_engine_env(tmp_path)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "7"


@pytest.mark.end_to_end
def test_vllm_evaluates_two_checkpoints_in_one_process(models: Path, tmp_path: Path, data: Path) -> None:
    """Real vLLM: the same greedy responses as transformers, each checkpoint its own, and seeded sampling."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    checkpoints = find_checkpoints(str(models))
    shared: dict[str, Any] = {
        "run": "r", "max_new_tokens": 8, "max_model_len": 256, "data_dir": data, "limit": 12,
        "progress": False,
    }  # fmt: skip
    by_engine = {
        engine: evaluate(
            checkpoints, ["arithmetic-control"], engine=engine, results_dir=tmp_path / engine, **shared
        )
        for engine in ("vllm", "hf")
    }
    for ours, reference in zip(by_engine["vllm"], by_engine["hf"], strict=True):
        fields = ("response", "response_tokens", "finish_reason", "prompt_hash", "prompt_tokens")
        wanted = [[row[f] for f in fields] for row in read_samples(reference.folder)]
        assert [[row[f] for f in fields] for row in read_samples(ours.folder)] == wanted
    first, second = (read_samples(result.folder) for result in by_engine["vllm"])
    assert [row["response"] for row in first] != [row["response"] for row in second]

    # Seeded by item: neither the other prompts of a batch nor a second call change what is sampled.
    engine = VllmEngine(checkpoints[0].path, max_model_len=64, dtype="float32")
    try:
        requests = [ask([5, 6, 7, 8 + i], 3, 10, item_seed(0, str(i))) for i in range(6)]
        every = generate_all(engine, requests, Sampling(temperature=1.0))
        assert generate_all(engine, requests[4:], Sampling(temperature=1.0)) == every[4:]
        assert all(len({sample.text for sample in samples}) == 3 for samples in every)
        assert generate_all(engine, [], Sampling()) == []
        # More prompt tokens than fit in one step, all of them sampled with seeds of their own.
        many = [ask([5 + i % 9] * 60, 1, 2, i) for i in range(150)]
        assert len(generate_all(engine, many, Sampling(temperature=1.0))) == 150
    finally:
        engine.close()
        engine.close()
