"""Where a quickstart lives: never on top of an earlier one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.quickstart.run import QuickstartOptions, check_folder, run_folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def earlier(name: str) -> Path:
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    (folder / "prompts.jsonl").write_text("{}\n")
    return folder.resolve()


def test_the_first_run_and_the_next():
    assert run_folder(QuickstartOptions()).name == "quickstart"
    earlier("quickstart")
    assert run_folder(QuickstartOptions()).name == "quickstart-2"
    earlier("quickstart-2")
    assert run_folder(QuickstartOptions()).name == "quickstart-3"
    assert run_folder(QuickstartOptions(model="smollm2")).name == "quickstart_smollm2"


def test_resume_takes_the_newest():
    earlier("quickstart")
    newest = earlier("quickstart-2")
    assert run_folder(QuickstartOptions(resume=True)) == newest


def test_a_named_folder_in_use_is_refused_unless_resumed():
    folder = earlier("mine")
    assert run_folder(QuickstartOptions(run_dir=Path("runs/mine"))) == folder
    with pytest.raises(UserError, match="--resume"):
        check_folder(folder, resume=False)
    check_folder(folder, resume=True)


def test_a_foreign_folder_is_left_alone():
    Path("thesis").mkdir()
    Path("thesis/chapter1.tex").write_text("x")
    with pytest.raises(UserError, match="not of a quickstart"):
        check_folder(Path("thesis").resolve(), resume=False)
