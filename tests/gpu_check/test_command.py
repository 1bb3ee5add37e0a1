"""`dipo check-gpu`: mistakes are refused before anything starts; its report is a table and JSON, and its status."""

from __future__ import annotations

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.gpu_check import check
from dipo_openrlhf.gpu_check.compare import compare
from dipo_openrlhf.gpu_check.processes import PartResult
from dipo_openrlhf.gpu_check.report import REPORT, Report, print_report, write_report


def check_gpu(*arguments: str):
    return CliRunner().invoke(app, ["check-gpu", *arguments], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train-batch", "24"], "--train-batch 24: must divide --prompts x --samples = 64"),
        (["--train-batch", "4"], "be a multiple of --samples 8"),
        (["--model", "nowhere"], "--model 'nowhere': has no config.json"),
        (["--run.device", "gpu", "--gpus", "2"], "--gpus 2: torch sees 0 GPUs here"),
        (["stray"], "unexpected argument 'stray'"),
        (["--modell", "x"], "--modell: unknown key modell"),
        (["--actor.adam.lrr", "1"], "--actor.adam.lrr: unknown key .* nearest known key is actor.adam.lr"),
        (["--run.device", "tpu"], "--run.device 'tpu': choose auto, cpu or gpu"),
        (["--rollout.temperature", "0"], "--rollout.temperature: .* must be above 0"),
    ],
)
def test_mistakes_are_refused(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        check_gpu(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_and_the_default_is_a_free_one(tmp_path, monkeypatch):
    (tmp_path / "runs" / "check-gpu").mkdir(parents=True)
    (tmp_path / "runs" / "check-gpu" / "report.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--out runs/check-gpu: is not empty"):
        check_gpu("--out", "runs/check-gpu")
    seen = []
    monkeypatch.setattr(check, "run_check", lambda settings, console: seen.append(settings) or _report(True))
    assert check_gpu("--samples", "4", "--dipo.alpha", "0.2").exit_code == 0
    (settings,) = seen
    assert settings.root == tmp_path / "runs" / "check-gpu-2"
    assert (settings.samples, settings.gpus, settings.cpu) == (4, 2, True)
    assert settings.overrides == {"dipo.alpha": 0.2}
    assert settings.measured == "", "speeds of simulated GPUs must not become the estimate's"


def test_two_checks_at_once_have_a_folder_each(tmp_path, monkeypatch):
    """The first has made its folder and written nothing yet when the second looks for one."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(check, "run_check", lambda settings, console: seen.append(settings) or _report(True))
    for _ in range(2):
        assert check_gpu().exit_code == 0
    assert [settings.root.name for settings in seen] == ["check-gpu", "check-gpu-2"]
    (tmp_path / "mine").mkdir()
    assert check_gpu("--out", "mine").exit_code == 0
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out .*/file/check: cannot be made"):
        check_gpu("--out", "file/check")


def test_a_failed_check_is_status_1(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "run_check", lambda settings, console: _report(False))
    assert check_gpu("--out", str(tmp_path / "new")).exit_code == 1


def _report(passed):
    return Report(passed, {"gpu": None, "gpus": 2}, {}, [], [])


def test_the_report_of_a_check_that_is_right(made):
    compare(made.settings)
    report = Report.of(
        made.settings, [PartResult("train", "killed", 61.0), PartResult("resume", "done", 59.0)]
    )
    write_report(made.settings, report)
    assert report.passed
    stored = json.loads((made.settings.root / REPORT).read_text())
    assert stored["passed"] is True
    assert {row["result"] for row in stored["rows"]} == {"pass", "not measured here"}
    assert stored["rows"][0]["figures"]["control"] == 0.4
    output = printed(made, report)
    assert "weights reach vLLM" in output
    assert "not measured here" in output
    assert "check passed on simulated GPUs, on CPU in 2.0 minutes" in output


def test_the_report_of_a_check_that_is_not(made):
    made.edit_metrics(made.run_dir, 2, vllm_kl=0.5)
    compare(made.settings)
    report = Report.of(made.settings, [])
    assert not report.passed
    output = printed(made, report)
    assert "FAIL" in output
    assert "weights reach vLLM: step 2: the engines sample with other weights than are trained" in output
    assert "check FAILED" in output


def test_a_part_that_failed_fails_the_check(made):
    compare(made.settings)
    report = Report.of(
        made.settings, [PartResult("control", "late", 600.0, "took longer than 600 s (control.log)")]
    )
    assert not report.passed
    assert "part control: took longer than 600 s (control.log)" in printed(made, report)


def test_why_a_part_failed_does_not_act_on_the_terminal(made):
    why = "ValueError: \x1b]0;owned\x07\x1b[2J\u202e"
    report = Report.of(made.settings, [PartResult("control", "failed", 1.0, why)])
    shown = "part control: ValueError: \\u001b]0;owned\\u0007\\u001b[2J\\u202e"
    assert shown in printed(made, report)


def test_without_a_comparison_nothing_has_passed(made):
    assert not Report.of(made.settings, [PartResult("train", "done", 1.0)]).passed


def printed(made, report):
    console = Console(width=160, force_terminal=False, record=True)
    print_report(console, made.settings, report)
    return console.export_text()
