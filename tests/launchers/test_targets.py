"""A launcher is one file: found by being there, listed in the help and in errors, and run to its end."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.launchers import targets
from dipo_openrlhf.launchers.launcher import Options
from dipo_openrlhf.launchers.request import make_request

ADDED = '''\
"""A batch system that keeps what it is given in a file."""

from pathlib import Path

from dipo_eval.secrets.refusing import refuse_secrets
from dipo_openrlhf.launchers.launcher import Launcher, Options
from dipo_openrlhf.launchers.request import Request, job_variables
from dipo_openrlhf.recipe.placement import needs_of


def submit(request: Request, options: Options) -> int:
    needs = needs_of(request.recipe, options.gpus_per_node)
    job = f"{needs.nodes}x{needs.gpus_per_node} {job_variables(options.env, None)} {' '.join(request.command)}"
    refuse_secrets("the job", job, request.secrets)
    if options.dry_run:
        print(job)
    else:
        Path("queue.txt").write_text(job)
    return 0


LAUNCHER = Launcher(submit, ("env", "gpus_per_node"))
'''
COMMAND = "python -m dipo_openrlhf.cli train tiny.yaml --run.ray cluster"


@pytest.fixture
def added(tmp_path, monkeypatch):
    """A folder with batch.py, beside the targets of this package."""
    folder = tmp_path / "added"
    folder.mkdir()
    (folder / "batch.py").write_text(ADDED)
    assert len(ADDED.splitlines()) < 40
    monkeypatch.setattr(targets, "__path__", [*targets.__path__, str(folder)])
    yield folder
    sys.modules.pop(f"{targets.__name__}.batch", None)


def submit(*words: str) -> str:
    result = CliRunner().invoke(app, ["submit", "tiny.yaml", "--to", "batch", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_added_file_is_a_launcher(project, added, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert submit("--gpus-per-node", "1", "--env", "WANDB_MODE", "--dry-run") == (
        f"2x1 {{'WANDB_MODE': 'offline'}} {COMMAND}\n"
    )
    assert not Path("queue.txt").exists()
    assert submit() == ""
    assert Path("queue.txt").read_text() == f"1x2 {{}} {COMMAND}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--time", "60"], "--time: does not go with --to batch, but with slurm"),
        (["--env", "WANDB_API_KEY"], "--env WANDB_API_KEY: "),
        (["--run.dir", "here"], "run.dir: 'here': must be an absolute path"),
        (["--to", "bacth"], "did you mean batch\\? one of batch, kuberay, local, ray, slurm"),
        (
            ["--to", "ray", "--gpus-per-node", "4"],
            "does not go with --to ray, but with batch, kuberay, slurm",
        ),
    ],
)
def test_its_mistakes_are_refused_as_those_of_any_other(project, added, words, message):
    with pytest.raises(UserError, match=message):
        submit(*words)


def test_the_help_lists_it(added):
    code = (
        f"from dipo_openrlhf.launchers import targets; targets.__path__.append({str(added)!r})\n"
        "import sys; sys.argv = ['dipo', 'submit', '--help']\n"
        "from dipo_openrlhf.cli import main; main()"
    )
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "One of batch, kuberay, local, ray, slurm." in result.stdout, result.stderr


def test_every_target_takes_options_that_exist():
    known = {field.name for field in dataclasses.fields(Options)}
    for name in targets.names():
        launcher = targets.find(name)
        assert set(launcher.options) | set(launcher.hints) <= known


def test_a_broken_file_is_named_and_harms_no_other(project, added):
    (added / "_helper.py").write_text("")
    (added / "broken.py").write_text("raise RuntimeError('no network')")
    assert "_helper" not in targets.names()
    with pytest.raises(UserError, match=r"broken.py: is no launcher: RuntimeError: no network"):
        targets.find("broken")
    result = CliRunner().invoke(app, ["submit", "tiny.yaml", "--to", "local", "--time", "1"])
    assert "--time: does not go with --to local, but with slurm" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--run.dir", "~/runs/x"],
            "run.dir: '~/runs/x': must be an absolute path on storage that every node sees",
        ),
        (["--run.dir", "runs/x"], "run.dir: 'runs/x': must be an absolute path"),
        (["--ckpt.path", "ckpt"], "ckpt.path: 'ckpt': must be an absolute path"),
        (["--ckpt.path", "~/ckpt"], "ckpt.path: '~/ckpt': must be an absolute path"),
        (["--train.agent_func_path", "agent.py"], "train.agent_func_path: 'agent.py': no such file"),
        (["--reward.remote_url", "mine.py"], "reward.remote_url: 'mine.py': no such file"),
        (["--reward.remote_url", "maths"], "reward.remote_url: 'maths': did you mean math?"),
        (
            ["--data.prompt_dataset", "prompts.jsonl,none.jsonl"],
            "data.prompt_dataset: 'none.jsonl': no such file",
        ),
    ],
)
def test_what_the_nodes_would_not_find_is_refused(project, words, message):
    with pytest.raises(UserError) as caught:
        make_request("tiny.yaml", words)
    assert message in str(caught.value)


def test_the_tool_agent_is_sent_by_its_name(project):
    """As a reward of this project is: it is no file beside the recipe."""
    words = ["--train.agent_func_path", "tool_agent", "--data.apply_chat_template", "false"]
    assert "tool_agent" in make_request("tiny.yaml", words).command


def test_the_help_names_the_targets_of_each_option():
    """The panel of an option is the targets that take it."""
    parameters = {one.name: one for one in get_command(app).commands["submit"].params}
    for field in dataclasses.fields(Options):
        if field.name in ("dry_run", "resume"):
            continue
        taking = {name for name in targets.usable() if field.name in targets.find(name).options}
        panel = parameters[field.name].rich_help_panel.removeprefix("With --to ")
        assert set(re.split(", | or ", panel)) == taking, field.name
