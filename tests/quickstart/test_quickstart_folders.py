"""Where a quickstart lives: never on top of an earlier one."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.quickstart.folder import ARITHMETIC, SMOLLM2, TOOLS, recipe_of, run_folder
from dipo_openrlhf.quickstart.prompts import write_quickstart_prompts, writer_of


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def earlier(name: str) -> Path:
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    (folder / "prompts.jsonl").write_text("{}\n")
    return folder.resolve()


def named(**given) -> Path:
    """The folder of a quickstart that has written nothing."""
    with run_folder(**given) as folder:
        return folder


def test_the_first_run_and_the_next():
    assert named().name == "quickstart"
    earlier("quickstart")
    assert named().name == "quickstart-2"
    earlier("quickstart-2")
    assert named().name == "quickstart-3"
    assert named(recipe=SMOLLM2).name == "quickstart_smollm2"
    assert named(recipe=TOOLS).name == "quickstart_tools"


@pytest.mark.parametrize(
    ("model", "task", "words"),
    [
        ("large", "tools", "--model 'large': choose one of tiny, smollm2"),
        ("tiny", "chess", "--task 'chess': choose one of arithmetic, tools"),
        (
            "smollm2",
            "tools",
            "--task tools: there is none for --model smollm2; it has arithmetic, or leave --model out",
        ),
    ],
)
def test_a_choice_that_there_is_not(model, task, words):
    with pytest.raises(UserError) as caught:
        recipe_of(model, task)
    assert str(caught.value) == words
    done = CliRunner().invoke(app, ["quickstart", "--model", model, "--task", task])
    assert done.exit_code != 0
    assert not Path("runs").exists()


def test_smollm2_needs_the_file_of_its_problems(tmp_path):
    with pytest.raises(UserError, match=r"name the folder of gsm8k_train\.jsonl with --data-dir"):
        writer_of(SMOLLM2, None)
    with pytest.raises(UserError, match="no such file"):
        writer_of(SMOLLM2, tmp_path)


def test_what_is_left_empty_is_taken_away():
    with run_folder() as folder:
        assert folder.is_dir()
    assert not folder.exists()
    with run_folder() as folder:
        (folder / "prompts.jsonl").write_text("{}\n")
    assert folder.is_dir()


AT_ONCE = """
import sys
from dipo_openrlhf.quickstart.folder import run_folder
print("ready", flush=True)
sys.stdin.readline()
with run_folder() as folder:
    print(folder.name, flush=True)
    sys.stdin.readline()
"""


def test_all_that_are_started_at_once_get_a_folder_each():
    started = [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    try:
        assert [one.stdout.readline() for one in started] == ["ready\n"] * 6
        for one in started:
            one.stdin.write("\n")
            one.stdin.flush()
        names = sorted(one.stdout.readline().strip() for one in started)
    finally:
        for one in started:
            one.communicate("\n", timeout=60)
    assert names == ["quickstart", *(f"quickstart-{n}" for n in range(2, 7))]


def test_resume_takes_the_newest():
    earlier("quickstart")
    Path("runs", "quickstart-2").mkdir()
    newest = earlier("quickstart-3")
    assert named(resume=True) == newest


def test_a_named_folder_in_use_is_refused_unless_resumed():
    folder = earlier("mine")
    with pytest.raises(UserError, match="--resume"):
        named(run_dir=Path("runs/mine"))
    assert named(run_dir=Path("runs/mine"), resume=True) == folder


def test_a_foreign_folder_is_refused():
    Path("thesis").mkdir()
    Path("thesis/chapter1.tex").write_text("x")
    with pytest.raises(UserError, match="not of a quickstart"):
        named(run_dir=Path("thesis"))


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("afile", "afile is a file, not a folder; name another place"),
        ("afile/x", "afile is a file, not a folder; name another place"),
        ("/proc/x", "nothing can be written there (No such file or directory); name another place"),
        ("a" * 300, "a name in it is longer than 255 bytes; choose a shorter one"),
    ],
)
def test_a_folder_that_cannot_be_made(place, words):
    Path("afile").write_text("x")
    with pytest.raises(UserError) as caught:
        named(run_dir=Path(place))
    assert str(caught.value).startswith(f"--run-dir '{place[:200]}")
    assert str(caught.value).endswith(words)


def test_runs_is_a_file():
    Path("runs").write_text("x")
    with pytest.raises(UserError, match=r"the folder of runs '.*/runs': .* is a file, not a folder"):
        named()


@pytest.mark.parametrize("recipe", [ARITHMETIC, TOOLS])
def test_a_resume_keeps_its_prompts_and_refuses_another_number_of_steps(tmp_path, recipe):
    path = tmp_path / "prompts.jsonl"
    write = functools.partial(
        write_quickstart_prompts, path, batch_size=4, seed=42, write=writer_of(recipe, None)
    )
    write(steps=3, resume=False)
    before = path.read_bytes()
    assert before.count(b"\n") == 12
    write(steps=3, resume=True)
    with pytest.raises(UserError, match=r"holds the prompts of 3 steps, not of 5: resume with --steps 3"):
        write(steps=5, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("words", [["--dipo.alpha", "abc"], ["--dipo.alpa", "1"], ["--seed", "-5"]])
def test_a_mistake_is_met_before_the_model_is_taught(tmp_path, words):
    done = subprocess.run(
        [sys.executable, "-m", "dipo_openrlhf.cli", "quickstart", *words, "--run-dir", str(tmp_path / "run")],
        env={**os.environ, "DIPO_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "300"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert words[0] in done.stderr
    assert "model and prompts" not in done.stdout
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("cache/arithmetic-*"))
