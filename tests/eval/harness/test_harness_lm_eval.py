"""lm-eval beside our grader: the same prompts, the same generations, the same scores as lm-eval run by itself."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.grading import check_gold, grade_math
from dipo_eval.harness.lm_eval import HARNESS, TASKS, task_name
from dipo_eval.harness.report import official_path, official_scores
from dipo_eval.results.store import read_samples, write_suite
from dipo_eval.runner.run import evaluate
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.suites import all_suites
from dipo_eval.suites.math_file import grade_item
from dipo_eval.workers.pool import WorkerPool
from dipo_openrlhf.cli import app

save_tiny_model = runpy.run_path(str(Path(__file__).parents[1] / "tiny_model.py"))["save_tiny_model"]

MATH_SUITES = sorted(name for name, suite in all_suites().items() if suite.grade is grade_item)
FILES = ("gsm8k_test", "math500", "aime24", "aime25", "amc23", "olympiadbench", "minerva")
BATCH = 32
TOKENS = 4


def write_data(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_every_math_suite_is_a_task_with_the_same_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tricky = ["What is {{question}}?", " 2 \u2028 + 2\n", r"\boxed{} $x$ {% if %}", "é\t1"]
    for name in (*FILES, "gsm8k_train"):
        rows: list[dict[str, Any]] = [
            {"id": f"q{i}", "question": text, "answer": "4", "solution": f"{text}\n#### 4"}
            for i, text in enumerate(tricky * (2 if name == "gsm8k_train" else 1))
        ]
        if name == "olympiadbench":
            rows = [{**row, "answer": ["$4$", "5"]} for row in rows]
        write_data(tmp_path, name, rows)
    monkeypatch.setenv("DIPO_DATA_DIR", str(tmp_path))
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    assert {task_name(name) for name in MATH_SUITES} <= set(manager.all_subtasks)
    for name in MATH_SUITES:
        task = manager.load(task_name(name))["tasks"][task_name(name)]
        docs, items = list(task.test_docs()), all_suites()[name].load(None, None, 0)
        assert [doc["id"] for doc in docs] == [item.id for item in items]
        task.set_fewshot_seed(1234)
        for doc, item in zip(docs, items, strict=True):
            shots = 5 if name == "gsm8k-5shot" else 0
            template = None if all_suites()[name].plain else _as_is
            context = task.fewshot_context(
                doc, num_fewshot=shots, apply_chat_template=template is not None, chat_template=template
            )
            assert context == (item.messages if template else item.messages[0]["content"])


def test_the_5_shot_form_is_lm_evals_own_gsm8k(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompts of the real data, and every key of lm-eval's task but where its data are."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    folder = os.environ.get("DIPO_DATA_DIR") or str(Path(__file__).resolve().parents[4] / "shared" / "data")
    if not (Path(folder) / "gsm8k_train.jsonl").is_file():
        pytest.skip("the folder of real data is not here")
    monkeypatch.setenv("DIPO_DATA_DIR", folder)
    (name,) = (name for name in MATH_SUITES if all_suites()[name].plain)
    task = TaskManager(include_path=str(TASKS), include_defaults=False).load(task_name(name))["tasks"]
    (task,) = task.values()
    task.set_fewshot_seed(1234)
    docs, items = list(task.test_docs()), all_suites()[name].load(None, None, 0)
    assert len(docs) == len(items) == 1319
    for doc, item in zip(docs[:200], items, strict=False):
        assert task.fewshot_context(doc, num_fewshot=5) == item.messages[0]["content"]
        assert item.messages[0]["content"].count("Question:") == 6
    assert all_suites()[name].load(None, 3, 0)[0].messages[0]["content"] in {
        item.messages[0]["content"] for item in items
    }
    path = Path(lm_eval.__file__).parent / "tasks" / "gsm8k" / "gsm8k.yaml"
    theirs, ours = yaml.safe_load(path.read_text()), task.dump_config()
    for key in ("doc_to_text", "num_fewshot", "fewshot_split", "metric_list", "repeats"):
        assert theirs[key] == ours[key], key
    assert theirs["generation_kwargs"].items() <= ours["generation_kwargs"].items()
    assert [one["filter"] for one in theirs["filter_list"]] == [one["filter"] for one in ours["filter_list"]]
    assert tuple(theirs["generation_kwargs"]["until"]) == all_suites()[name].stop


def _as_is(messages: list[dict[str, str]], add_generation_prompt: bool) -> list[dict[str, str]]:
    assert add_generation_prompt
    return messages


@pytest.mark.slow
def test_lm_eval_by_itself_agrees_with_its_score_through_us(tmp_path: Path) -> None:
    """Golds are made of the model's own responses, so that there are right and wrong ones to agree on."""
    model, data = save_tiny_model(tmp_path / "model", seed=5), tmp_path / "data"
    golds: dict[str, Callable[[str], str]] = {"gsm8k": _last_number, "math500": _whole_text}
    files = {"gsm8k": "gsm8k_test", "math500": "math500"}
    rows = [{"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": "7"} for i in range(20)]
    for suite in golds:
        write_data(data, files[suite], rows)
    for suite, found in _evaluated(model, data, tmp_path / "first").items():
        responses = [row["response"] for row in read_samples(found.folder)]
        made = [
            {**row, "answer": golds[suite](text) if i % 2 else "7777"}
            for i, (row, text) in enumerate(zip(rows, responses, strict=True))
        ]
        write_data(data, files[suite], made)

    by_itself = _lm_eval(model, data, tmp_path / "lm_eval", [task_name(suite) for suite in golds])
    for suite, found in _evaluated(model, data, tmp_path / "second").items():
        official = official_scores(found.folder, found.result, HARNESS)
        ours = {row["item_id"]: row for row in read_samples(found.folder)}
        theirs = by_itself["samples"][task_name(suite)]
        scores = {one["item_id"]: one["scores"] for one in official["per_sample"]}
        assert len(theirs) == len(ours) * len(official["metrics"]) == 20 * len(official["metrics"])
        for row in theirs:
            mine = ours[row["doc"]["id"]]
            assert row["arguments"]["gen_args_0"]["arg_0"] == mine["prompt"]
            assert row["resps"] == [[mine["response"]]]
            assert row["exact_match"] == scores[row["doc"]["id"]][f"exact_match,{row['filter']}"]
        for name, metric in official["metrics"].items():
            assert metric["value"] == by_itself["results"][task_name(suite)][name]
        assert 0 < max(metric["value"] for metric in official["metrics"].values()) < 1


@pytest.mark.slow
def test_lm_eval_by_itself_agrees_in_the_5_shot_form(tmp_path: Path) -> None:
    model, data = save_tiny_model(tmp_path / "model", seed=5), tmp_path / "data"
    rows = [
        {"id": f"q{i}", "question": f"{i} + {i}?", "answer": "7", "solution": f"It is {2 * i}.\n#### {2 * i}"}
        for i in range(20)
    ]
    write_data(data, "gsm8k_test", rows)
    write_data(data, "gsm8k_train", rows)
    found = _evaluated(model, data, tmp_path / "results", ["gsm8k-5shot"])["gsm8k-5shot"]
    assert found.result["settings"]["prompt_form"] == "completion"
    assert found.result["settings"]["suite_stop"] == ["Question:", "</s>", "<|im_end|>"]
    ours = {row["item_id"]: row for row in read_samples(found.folder)}
    name = task_name("gsm8k-5shot")
    theirs = _lm_eval(model, data, tmp_path / "lm_eval", [name], chat=False)["samples"][name]
    assert len(theirs) == 2 * len(ours) == 40
    for row in theirs:
        assert row["arguments"]["gen_args_0"]["arg_0"] == ours[row["doc"]["id"]]["prompt"]
        assert row["resps"] == [[ours[row["doc"]["id"]]["response"]]]


def _evaluated(
    model: Path, data: Path, results: Path, suites: Sequence[str] = ("gsm8k", "math500")
) -> dict[str, Any]:
    found = evaluate(
        [Checkpoint(model, "m", 1)], suites, results_dir=results, run="r", engine="hf",
        max_new_tokens=TOKENS, data_dir=data, progress=False,
    )  # fmt: skip
    return {one.result["suite"]: one for one in found}


def _last_number(text: str) -> str:
    numbers = re.findall(r"-?[0-9.,]{2,}|-?[0-9]+", text)
    return numbers[-1] if numbers else "7"


def _whole_text(text: str) -> str:
    text = text.strip()
    try:
        check_gold(text)
    except UserError:
        return "7"
    return "7" if set(text) & set("\\{}$") else text


def _lm_eval(model: Path, data: Path, out: Path, tasks: list[str], *, chat: bool = True) -> dict[str, Any]:
    """lm-eval's own command, with no more of ours than the folder of tasks, and without a network."""
    command = [
        str(Path(sys.executable).with_name("lm_eval")), "run", "--model", "hf",
        "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu",
        "--include_path", str(TASKS), "--tasks", ",".join(tasks), *(["--apply_chat_template"] if chat else []),
        "--batch_size", str(BATCH), "--gen_kwargs", f"max_gen_toks={TOKENS}",
        "--log_samples", "--output_path", str(out),
    ]  # fmt: skip
    environment = {
        **os.environ,
        "DIPO_DATA_DIR": str(data),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    samples = {}
    for task in tasks:
        (path,) = out.glob(f"*/samples_{task}_*.jsonl")
        samples[task] = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    (path,) = out.glob("*/results_*.json")
    return {"samples": samples, "results": json.loads(path.read_text(encoding="utf-8"))["results"]}


KNOWN_DEFECTS = {
    "gsm8k": [
        (r"\boxed{18}. This took 2 steps.", "18", "2"),
        (r"So \boxed{18 m^2}", "18", "2"),
        (r"\boxed{18.00}", "18", "18.00"),
    ],
    "aime24": [
        (r"\boxed{033}", "33", ""),
        (r"\boxed{1,024}", "1024", ""),
        (r"\boxed{204.0}", "204", ""),
        (r"\boxed{\text{204}}", "204", ""),
        (r"\boxed{m+n=204}", "204", ""),
        ("The answer is 204", "204", ""),
    ],
    "math500": [(r"\boxed{\frac{9}{7}}", r"\frac{9}{7}", ""), (r"It is $\boxed{5}$.", "5", "")],
    "olympiadbench": [(r"\boxed{3, 2}", ["2", "3"], "")],
}


def write_graded(folder: Path, suite: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A results folder of hand-written responses with our verdicts."""
    rows = []
    for number, (response, gold) in enumerate(pairs):
        verdict = grade_math(response, gold)
        rows.append({
            "item_id": f"q{number}", "sample": 0, "prompt": "", "response": response, "gold": gold,
            "status": verdict.status, "reason": verdict.reason,
        })  # fmt: skip
    return write_suite(folder, rows, {"suite": suite})


@pytest.mark.parametrize("suite", KNOWN_DEFECTS)
def test_known_defects_are_listed_disagreements(tmp_path: Path, suite: str) -> None:
    cases = KNOWN_DEFECTS[suite]
    result = write_graded(tmp_path, suite, [(response, gold) for response, gold, _ in cases])
    official = official_scores(tmp_path, result, HARNESS)
    name = list(official["metrics"])[-1]  # gsm8k: flexible-extract
    listed = [row for row in official["disagreements"] if row["metric"] == name]
    assert [(row["item_id"], row["ours"], row["theirs"]) for row in listed] == [
        (f"q{number}", "correct", 0.0) for number in range(len(cases))
    ]
    assert [row["their_reason"] for row in listed] == [read for _, _, read in cases]
    assert official["metrics"][name] == {
        "value": 0.0, "n": len(cases), "ours": 1.0, "disagreements": len(cases),
    }  # fmt: skip


def test_a_response_that_hangs_or_breaks_lm_eval_is_undecided_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No response is known that does either, so the limit is one that nothing keeps for the first response."""
    limits = iter([0.0, 60.0])
    real = WorkerPool.ask

    def ask(self: Any, task: Any, limit_s: float) -> dict[str, Any]:
        return real(self, task, next(limits, 60.0))

    monkeypatch.setattr(WorkerPool, "ask", ask)
    result = write_graded(tmp_path, "aime24", [(r"\boxed{5}", "5"), (r"\boxed{5}", "5")])
    official = official_scores(tmp_path, result, HARNESS)
    assert official["undecided"] == 1
    assert official["metrics"]["exact_match,none"] == {
        "value": 0.5, "n": 2, "ours": 1.0, "disagreements": 1,
    }  # fmt: skip
    assert official["per_sample"][0] == {
        "item_id": "q0", "sample": 0, "scores": {"exact_match,none": 0.0}, "undecided": "time limit",
    }  # fmt: skip
    assert [(row["theirs"], row["their_reason"]) for row in official["disagreements"]] == [
        (None, "time limit")
    ]


def test_the_command_prints_both_and_scores_the_same_samples_once(
    tmp_path: Path, models: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        "eval", str(models / "global_step2_hf"), "--suites", "gsm8k", "--engine", "hf", "--max-new-tokens", "8",
        "--limit", "3", "--data-dir", str(data), "--results", str(tmp_path / "r"), "--with", "lm-eval",
    ]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert ["lm-eval", "0.4.13", "exact_match,flexible-extract"] in [line[2:5] for line in lines]
    (path,) = (tmp_path / "r").rglob("official_lm_eval.json")
    assert path == official_path(path.parent, "lm-eval")
    before = path.read_bytes()

    def refuse(*args: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(WorkerPool, "ask", refuse)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0, again.output
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("lm_eval", "--with lm_eval: unknown harness; choose from bfcl-eval, evalplus, lm-eval"),
        ("bfcl-eval", "--with bfcl-eval: scores none of the suites gsm8k; leave it out"),
    ],
)
def test_a_harness_that_cannot_score_is_refused_before_anything_is_loaded(named: str, message: str) -> None:
    done = CliRunner().invoke(app, ["eval", "no-such-model", "--suites", "gsm8k", "--with", named])
    assert done.exit_code == 2
    assert done.output.strip() == f"dipo eval: {message}"


def test_the_tasks_are_named_where_the_suites_are_listed() -> None:
    done = CliRunner().invoke(app, ["eval", "--list"])
    assert f"lm_eval --include_path {TASKS}" in done.output
