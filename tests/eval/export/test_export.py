"""A real evaluation in other people's formats, each read by its own reader or checked against its own schema."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.export.formats import FORMATS
from dipo_eval.export.source import Evaluated, Identity, find_evaluated
from dipo_eval.results.store import iter_results, read_samples, write_suite
from dipo_eval.runner.metrics import counts_from_samples, metrics_from_samples
from dipo_eval.runner.run import evaluate
from dipo_eval.subject.checkpoints import find_checkpoints
from dipo_openrlhf.cli import app

# Schema 0.3.0 of every-eval-ever 0.3.0 on PyPI, MIT (the licence is beside it).
NOBODY = Identity()
SCHEMAS = Path(__file__).parents[1] / "every_eval_ever"


@pytest.fixture(scope="module")
def results(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two suites of a tiny model, two samples an item; gsm8k's are packed, and some of its answers made correct."""
    folder = tmp_path_factory.mktemp("export")
    rows = [{"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(4)]
    (folder / "gsm8k_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    checkpoints = find_checkpoints(str(models / "global_step2_hf"))
    shared: dict[str, Any] = {
        "results_dir": folder / "results", "run": "run", "engine": "hf", "samples": 2, "temperature": 1.0,
        "max_new_tokens": 8, "data_dir": folder, "progress": False,
    }  # fmt: skip
    (made,) = evaluate(checkpoints, ["gsm8k"], **shared)
    evaluate(checkpoints, ["arithmetic-control"], limit=3, **shared)
    samples = read_samples(made.folder)
    for row in samples[:3]:
        row.update(
            status="correct",
            reason="equal",
            extracted=row["gold"],
            response=f"so \\boxed{{{row['gold']}}}\ud800",
        )
    samples[4].update(status="undecided", reason="time limit", extracted="9**9")
    remade = {"metrics": metrics_from_samples(samples), "counts": counts_from_samples(samples)}
    write_suite(made.folder, samples, {**made.result, **remade}, compress=True)
    return folder / "results"


def accuracy_of(results: Path, suite: str) -> dict[str, Any]:
    (found,) = [result for _, result in iter_results(results) if result["suite"] == suite]
    return dict(found["metrics"]["accuracy"])


def export(results: Path, name: str, out: Path, identity: Identity = NOBODY) -> list[Path]:
    (evaluated,) = find_evaluated(results, None, None)
    return FORMATS[name](evaluated, identity, out)


@pytest.fixture(scope="module")
def lm_eval_files(results: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return export(results, "lm-eval", tmp_path_factory.mktemp("lm"), Identity("org/name"))


def test_lm_eval_files_hold_the_numbers(results: Path, lm_eval_files: list[Path]) -> None:
    whole = json.loads(lm_eval_files[0].read_text())
    accuracy = accuracy_of(results, "gsm8k")
    assert lm_eval_files[0].parent.name == "org__name"
    assert [path.name.split("_2")[0] for path in lm_eval_files] == [
        "results",
        "samples_arithmetic-control",
        "samples_gsm8k",
    ]
    assert whole["results"]["gsm8k"]["accuracy,dipo"] == accuracy["value"] == 3 / 8
    assert whole["results"]["gsm8k"]["accuracy_stderr,dipo"] == accuracy["stderr"]
    assert whole["n-samples"] == {
        "arithmetic-control": {"effective": 3},
        "gsm8k": {"original": 4, "effective": 4},
    }
    rows = [json.loads(line) for line in lm_eval_files[2].read_text().splitlines()]
    assert [row["accuracy"] for row in rows] == [1.0, 0.5, 0.0, 0.0]
    assert sum(row["accuracy"] for row in rows) / 4 == accuracy["value"]
    assert [len(row["resps"][0]) for row in rows] == [2] * 4
    joined = "".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows)
    assert whole["task_hashes"]["gsm8k"] == hashlib.sha256(joined.encode()).hexdigest()


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed here")
def test_lm_eval_reads_its_files(lm_eval_files: list[Path]) -> None:
    """Its own table, its own file names, and every key of its own result type that we write; in a separate process."""
    script = """if True:
        import json, sys
        from pathlib import Path
        from lm_eval import utils
        from lm_eval.result_schema import EvalResults, SampleResult
        paths = sys.argv[1:]
        whole = json.loads(Path(paths[0]).read_text())
        assert utils.get_results_filenames(paths) == paths[:1]
        assert utils.get_sample_results_filenames(paths) == paths[1:]
        names = [utils.get_file_task_name(Path(path).name) for path in paths[1:]]
        assert names == list(whole["results"]), names
        extra = set(whole) - set(EvalResults.__annotations__)
        assert extra == {"dipo_openrlhf_version"}, extra
        row = json.loads(Path(paths[2]).read_text().splitlines()[0])
        assert set(SampleResult.__annotations__) - set(row) == set()
        print(utils.make_table(whole))
    """
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, lm_eval_files)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "gsm8k" in line]
    assert "|0.375|±" in done.stdout
    assert line.startswith("|gsm8k")


def validator(name: str) -> Any:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


def test_every_eval_ever_is_valid_and_complete(results: Path, tmp_path: Path) -> None:
    paths = export(results, "every-eval-ever", tmp_path, Identity("org/name"))
    records = {
        json.loads(path.read_text())["evaluation_id"].split("/")[0]: path
        for path in paths
        if path.suffix == ".json"
    }
    assert set(records) == {"arithmetic-control", "gsm8k"}
    for path in records.values():
        record = json.loads(path.read_text())
        validator("eval").validate(record)
        detail = record["detailed_evaluation_results"]
        samples = tmp_path / detail["file_path"]
        assert samples == path.with_name(f"{path.stem}_samples.jsonl")
        assert hashlib.sha256(samples.read_bytes()).hexdigest() == detail["checksum"]
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        assert len(rows) == detail["total_rows"]
        for row in rows:
            validator("instance_level_eval").validate(row)
            assert row["evaluation_id"] == record["evaluation_id"]
        by_name = {one["metric_config"]["metric_name"]: one for one in record["evaluation_results"]}
        assert {row["evaluation_result_id"] for row in rows} == {by_name["accuracy"]["evaluation_result_id"]}
        assert (
            sum(row["evaluation"]["score"] for row in rows) / len(rows)
            == by_name["accuracy"]["score_details"]["score"]
        )
    record = json.loads(records["gsm8k"].read_text())
    accuracy, uncertainty = (
        accuracy_of(results, "gsm8k"),
        record["evaluation_results"][0]["score_details"]["uncertainty"],
    )
    assert uncertainty["standard_error"]["value"] == accuracy["stderr"]
    assert (uncertainty["confidence_interval"]["lower"], uncertainty["confidence_interval"]["upper"]) == (
        accuracy["low"],
        accuracy["high"],
    )
    assert uncertainty["confidence_interval"]["confidence_level"] == 0.95
    assert (
        export(results, "every-eval-ever", tmp_path, Identity("org/name")) == paths
    )  # the same again, not beside it


def test_the_schema_would_notice(results: Path, tmp_path: Path) -> None:
    path = next(path for path in export(results, "every-eval-ever", tmp_path) if path.suffix == ".json")
    record = json.loads(path.read_text())
    record["evaluation_results"][0]["score_details"]["score"] = "much"
    with pytest.raises(jsonschema.ValidationError):
        validator("eval").validate(record)


def whole_benchmark(evaluated: Evaluated) -> Evaluated:
    """The same with gsm8k taken for a benchmark of four problems."""
    suites = []
    for one in evaluated.suites:
        if one.suite and one.suite.data and one.suite.data.hub:
            data = replace(one.suite.data, hub=replace(one.suite.data.hub, rows=4))
            one = replace(one, suite=replace(one.suite, data=data))
        suites.append(one)
    return replace(evaluated, suites=tuple(suites))


def test_the_hub_reads_its_file(results: Path, tmp_path: Path) -> None:
    (evaluated,) = find_evaluated(results, None, None)
    identity = Identity("org/name", "https://example.org/results")
    (path,) = FORMATS["hub"](whole_benchmark(evaluated), identity, tmp_path)
    assert path == tmp_path / ".eval_results" / "gsm8k.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("openai/gsm8k", "gsm8k", 37.5)
    assert entry.source_url == "https://example.org/results"
    assert entry.notes is not None
    assert "clustered wilson 95% interval" in entry.notes


def test_a_subset_is_no_result_of_the_benchmark(results: Path, tmp_path: Path) -> None:
    assert export(results, "hub", tmp_path) == []  # four of 1,319 problems
    for folder, result in list(iter_results(results)):
        result["settings"]["limit"] = 4
        copy = tmp_path / "results" / folder.relative_to(results)
        write_suite(copy, read_samples(folder), result)
    (evaluated,) = find_evaluated(tmp_path / "results", None, None)
    assert FORMATS["hub"](whole_benchmark(evaluated), NOBODY, tmp_path) == []


def test_the_model_card_reads_back(results: Path, tmp_path: Path) -> None:
    (path,) = export(results, "model-index", tmp_path, Identity("org/name"))
    card = ModelCard.load(path)
    name, read = model_index_to_eval_results(yaml.safe_load(path.read_text().split("---")[1])["model-index"])
    assert name == card.data.model_name == "org/name"
    assert card.data.eval_results == read
    found = {(one.dataset_name, one.metric_name): one for one in read}
    accuracy, one = accuracy_of(results, "gsm8k"), found["gsm8k", "accuracy"]
    assert (one.metric_value, one.dataset_type) == (accuracy["value"], "openai/gsm8k")
    assert one.metric_args == {key: accuracy[key] for key in one.metric_args}
    assert {"low", "high", "stderr", "n", "k", "interval"} == set(one.metric_args)
    assert ("arithmetic-control", "pass@2") in found


def test_the_command_writes_all_formats(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    done = CliRunner().invoke(app, ["export", str(results), "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["every-eval-ever", "lm-eval", "model-index"]
    assert "hub: has no field for" in done.output
    assert (out / "model-index" / "run" / "global_step2" / "README.md").is_file()
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "csv"], "--format 'csv': choose from lm-eval"),
        (["--run", "none"], "no complete results of none/\\*; there is: run/global_step2"),
    ],
)
def test_wrong_options_are_explained(results: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["export", str(results), "--out", str(tmp_path), *options])
    assert isinstance(done.exception, UserError)
    assert re.search(message, str(done.exception))


def test_samples_that_do_not_fit_their_hash_are_not_exported(results: Path, tmp_path: Path) -> None:
    folder, result = next(iter_results(results))
    copy = tmp_path / folder.relative_to(results)
    write_suite(copy, read_samples(folder), result)
    (copy / "samples.jsonl").write_bytes(b"")
    with pytest.raises(UserError, match="no complete results"):
        find_evaluated(tmp_path, None, None)
