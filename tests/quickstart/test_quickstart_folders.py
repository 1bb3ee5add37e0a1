"""Where a quickstart lives: never on top of an earlier one."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.quickstart.prompts import write_quickstart_prompts
from dipo_openrlhf.quickstart.run import check_folder, run_folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def earlier(name: str) -> Path:
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    (folder / "prompts.jsonl").write_text("{}\n")
    return folder.resolve()


def test_the_first_run_and_the_next():
    assert run_folder().name == "quickstart"
    earlier("quickstart")
    assert run_folder().name == "quickstart-2"
    earlier("quickstart-2")
    assert run_folder().name == "quickstart-3"
    assert run_folder(model="smollm2").name == "quickstart_smollm2"


def test_resume_takes_the_newest():
    earlier("quickstart")
    newest = earlier("quickstart-2")
    assert run_folder(resume=True) == newest


def test_a_named_folder_in_use_is_refused_unless_resumed():
    folder = earlier("mine")
    assert run_folder(run_dir=Path("runs/mine")) == folder
    with pytest.raises(UserError, match="--resume"):
        check_folder(folder, resume=False)
    check_folder(folder, resume=True)


def test_a_foreign_folder_is_refused():
    Path("thesis").mkdir()
    Path("thesis/chapter1.tex").write_text("x")
    with pytest.raises(UserError, match="not of a quickstart"):
        check_folder(Path("thesis").resolve(), resume=False)


def test_a_resume_keeps_its_prompts_and_refuses_another_number_of_steps(tmp_path):
    path = tmp_path / "prompts.jsonl"
    write = functools.partial(write_quickstart_prompts, path, batch_size=4, seed=42, gsm8k=None)
    write(steps=3, resume=False)
    before = path.read_bytes()
    assert before.count(b"\n") == 12
    write(steps=3, resume=True)
    with pytest.raises(UserError, match=r"holds the prompts of 3 steps, not of 5: resume with --steps 3"):
        write(steps=5, resume=True)
    assert path.read_bytes() == before
