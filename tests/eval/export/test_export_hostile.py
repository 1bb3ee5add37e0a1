"""The export of files that nobody should trust, or that lack something: the rest is written, and what is not is named."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.export.formats import FORMATS
from dipo_eval.export.source import Evaluated, Identity, find_evaluated
from dipo_openrlhf.cli import app

_STORED = runpy.run_path(str(Path(__file__).parents[1] / "stored_results.py"))
SCHEMAS = Path(__file__).parents[1] / "every_eval_ever"


def check(record: Any, schema: str) -> None:
    jsonschema.validate(record, json.loads((SCHEMAS / f"{schema}.schema.json").read_text()))


def stored(results: Path, run: str, checkpoint: str, suite: str = "mine", **more: Any) -> Path:
    """One result of two items; `rows` are changes to its rows, `without` fields that its accuracy lacks."""
    changes, without = more.pop("rows", {}), more.pop("without", ())
    rows = [{**_STORED["row"](item), **changes} for item in ("a", "b")]
    result = _STORED["result_of"](rows, run, checkpoint, suite, **more)
    for name in without:
        del result["metrics"]["accuracy"][name]
    folder = results / run / checkpoint / suite
    _STORED["put"](folder, _STORED["lines"](rows), result)
    return folder


def command(results: Path, out: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["export", str(results), "--out", str(out), *options])


def test_the_command_prints_no_name_raw(tmp_path: Path) -> None:
    run = "run\x1b[2J\nhub: 9 files\u202e"
    stored(tmp_path / "results", run, "step\r\udcff")
    broken = stored(tmp_path / "results", run, "bro\x07ken")
    (broken / "results.json").write_text("{")
    done = command(tmp_path / "results", tmp_path / "out")
    assert done.exit_code == 0, done.output
    lines = (done.stdout + done.stderr).split("\n")
    assert [line.partition(":")[0] for line in lines] == [
        "lm-eval", "every-eval-ever", "hub", "model-index", "left out", "",
    ]  # fmt: skip
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert r"run\u001b[2J\nhub" in lines[0]
    assert r"bro\u0007ken" in lines[4]


@pytest.mark.parametrize("missing", ["stderr", "interval"])
def test_a_figure_that_is_not_known_is_left_out_alone(tmp_path: Path, missing: str) -> None:
    stored(tmp_path / "results", "run", "step", "gsm8k", without=[missing])
    stored(tmp_path / "results", "run", "step", "other")
    done = command(tmp_path / "results", tmp_path / "out", "--model-id", "org/name")
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "out" / "lm-eval").rglob("results_*.json")
    whole = json.loads(path.read_text())
    assert (whole["results"]["gsm8k"]["accuracy_stderr,dipo"] == "N/A") is (missing == "stderr")
    assert isinstance(whole["results"]["other"]["accuracy_stderr,dipo"], float)
    for path in (tmp_path / "out" / "every-eval-ever").rglob("*.json"):
        record = json.loads(path.read_text())
        check(record, "eval")
        (one,) = (
            one for one in record["evaluation_results"] if one["metric_config"]["metric_id"] == "accuracy"
        )
        uncertainty = one["score_details"]["uncertainty"]
        found = {
            "stderr": "standard_error" in uncertainty,
            "interval": "method" in uncertainty["confidence_interval"],
        }
        is_whole = record["evaluation_id"].startswith("other")
        assert found == {
            "stderr": is_whole or missing != "stderr",
            "interval": is_whole or missing != "interval",
        }
    card = ModelCard.load(tmp_path / "out" / "model-index" / "run" / "step" / "README.md")
    arguments = {one.dataset_name: one.metric_args for one in card.data.eval_results or []}
    assert set(arguments["other"]) - set(arguments["gsm8k"]) == {missing}
    (evaluated,) = find_evaluated(tmp_path / "results", None, None)
    ((part, hub),) = (
        (one, one.suite.data.hub)
        for one in evaluated.suites
        if one.suite and one.suite.data and one.suite.data.hub
    )
    part = replace(part, result={**part.result, "n_items": hub.rows})
    (written,) = FORMATS["hub"](replace(evaluated, suites=(part,)), Identity(), tmp_path / "hub")
    assert "interval " in written.read_text()
    assert "None" not in written.read_text()


def test_tokens_that_no_server_counted_are_not_known(tmp_path: Path) -> None:
    stored(tmp_path / "results", "run", "step", rows={"prompt_tokens": None})
    assert command(tmp_path / "results", tmp_path / "out").exit_code == 0
    (path,) = (tmp_path / "out" / "every-eval-ever").rglob("*.jsonl")
    for line in path.read_text().splitlines():
        check(json.loads(line), "instance_level_eval")
        assert json.loads(line)["token_usage"] is None


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "created": ({"created": "yesterday"}, "created 'yesterday': must be a date and time"),
    "temperature": ({"settings": {"temperature": "warm"}}, "settings.temperature 'warm': must be a number"),
    "stop": ({"settings": {"stop": 7}}, "settings.stop 7: must be a list"),
    "prompt": ({"rows": {"prompt": ["x"]}}, "row 1: prompt ['x']: must be a string"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNFIT)
def test_a_result_that_cannot_be_exported_is_named_and_the_others_are_written(
    tmp_path: Path, kind: str
) -> None:
    changes, words = UNFIT[kind]
    bad = stored(tmp_path / "results", "run", "step", "bad", **changes)
    stored(tmp_path / "results", "run", "step", "good")
    stored(tmp_path / "results", "run", "step2", "good")
    done = command(tmp_path / "results", tmp_path / "out")
    assert isinstance(done.exception, UserError)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"left out: {bad}")
    assert words in line
    for checkpoint in ("step", "step2"):
        assert list((tmp_path / "out" / "lm-eval" / "run" / checkpoint).rglob("samples_good_*.jsonl"))
        assert (tmp_path / "out" / "model-index" / "run" / checkpoint / "README.md").is_file()
    assert not list((tmp_path / "out").rglob("*bad*"))


def test_a_suite_whose_name_leaves_the_folder_is_not_exported(tmp_path: Path) -> None:
    folder = stored(tmp_path / "results", "run", "step", "good")
    result = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**result, "suite": "/../../../x"}))
    with pytest.raises(UserError, match=r"suite '/\.\./\.\./\.\./x': must be the name of a folder"):
        find_evaluated(tmp_path / "results", None, None)


def test_what_only_one_format_cannot_hold_is_named_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = stored(tmp_path / "results", "run", "step", "bad")
    stored(tmp_path / "results", "run", "step", "good")

    def write(evaluated: Evaluated, identity: Identity, folder: Path) -> list[Path]:
        names = [one.name for one in evaluated.suites]
        return [folder / str({"good": names}[name]) for name in names]

    monkeypatch.setitem(FORMATS, "model-index", write)
    done = command(tmp_path / "results", tmp_path / "out")
    assert isinstance(done.exception, UserError)
    (line,) = done.stderr.splitlines()
    assert line == f"left out: {bad / 'results.json'}: cannot be written as model-index (KeyError: 'bad')"
    assert "model-index: 1 files in" in done.stdout
    assert "lm-eval: 3 files in" in done.stdout
