"""32 secret variables and 47 secret files, and every output of every command: none of them is in any of it."""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from dipo_eval.runner.run import evaluate
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_openrlhf.cli import app

MODEL = {f"model/{name}" for name in ("config.json", "tokenizer.json", "model.safetensors")}  # the fixture's
SUBMIT = {
    "ray": ["tiny.yaml", "--no-follow"],
    "slurm": ["tiny.yaml", "--to", "slurm", "--time", "60"],
    "kuberay": ["big.yaml", "--to", "kuberay", "--image", "i", "--claim", "lab:/shared", "--secret", "dipo-keys"],
    "local": ["tiny.yaml", "--to", "local"],
}  # fmt: skip


def run(*words: str) -> str:
    """A command, as a user sees it: its output, and what an exception would print."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, (result.exit_code, type(result.exception))
    return result.output


def refused(*words: str) -> str:
    """What a command shows of the mistake that ends it, in one line and without the key."""
    result = CliRunner().invoke(app, list(words))
    assert "hunter22" not in result.output + str(result.exception)
    assert "\n" not in str(result.exception)
    return str(result.exception)


def everything_in(folder: Path) -> bytes:
    return b"\n".join(
        str(path).encode() + b"\n" + (path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    )


def dipo(*words: str, cwd: Path, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """(status, output, the arguments of all processes while it ran)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dipo_openrlhf.cli", *words],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    arguments: set[str] = set()
    deadline = time.monotonic() + 240
    while process.poll() is None:
        assert time.monotonic() < deadline
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            arguments |= {" ".join(one.cmdline()) for one in family}
        except psutil.Error:
            pass
        time.sleep(0.05)
    assert process.stdout is not None
    return process.returncode, process.stdout.read().decode(errors="surrogateescape"), "\n".join(arguments)


@pytest.mark.parametrize("target", SUBMIT)
def test_a_dry_run_shows_none(project, hidden_variables, hidden_files, target):
    output = run("submit", *SUBMIT[target], "--dry-run")
    assert "run_or_resume" in output or "entrypoint" in output
    assert hidden_variables.found_in(output) + hidden_files.found_in(output) == []


def test_a_key_longer_than_a_path_is_not_printed(project, hidden_variables):
    """For real, with what Python prints of a failure: a value of over 255 characters was once tried as a path."""
    status, output, arguments = dipo("submit", *SUBMIT["local"], "--dry-run", cwd=project)
    assert (status, hidden_variables.found_in(output), hidden_variables.found_in(arguments)) == (0, [], [])
    assert "Traceback" not in output


def test_ray_gets_none(project, hidden_variables, hidden_files, server):
    output = run("submit", *SUBMIT["ray"], "--address", server.address)
    shown = run("submit", *SUBMIT["ray"], "--address", server.address, "--dry-run")
    packages = [zipfile.ZipFile(io.BytesIO(body)) for body in server.bodies("PUT", "/api/packages/")]
    assert len(packages) == 3
    sent = {name: package.read(name) for package in packages for name in package.namelist()}
    names = {name for name in sent if not name.startswith(("dipo_openrlhf/", "dipo_eval/"))}
    assert names == {"tiny.yaml", "big.yaml", "helper.py", "prompts.jsonl", *MODEL}
    for content in (output, shown, repr(server.requests), b"\n".join(sent.values()), "\n".join(sent)):
        assert hidden_variables.found_in(content) + hidden_files.found_in(content) == []
    listed = re.findall(r"^ +[\d.]+ [KM]?i?B  (.+)$", shown, re.MULTILINE)
    assert set(listed) == names  # what is shown is what is sent
    for name in (*hidden_files.files, *hidden_files.links, "harmless.yaml"):
        top = name.split("/")[0]
        assert f"    {name}: " in shown or f"    {top}/: " in shown, name  # and what stays is listed
    assert "left out, may hold keys: " in output
    assert "left out, a link out of this folder: deep/linked.yaml, folder/, linked.txt\n" in output


def test_slurm_and_bash_get_none(project, hidden_variables, tmp_path, monkeypatch):
    """Stand-ins for sbatch and bash note their arguments and keep what they are given."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sbatch", "bash"):
        (tools / name).write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$0" "$@" > {tools}/{name}.argv\ncat > {tools}/{name}.stdin < /dev/null\n'
            'echo "Submitted batch job 1"\n'
        )
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for target, script in (("slurm", "slurm.sbatch"), ("local", "run.sh")):
        folder = tmp_path / target
        status, output, arguments = dipo("submit", *SUBMIT[target], "--run.dir", str(folder), cwd=project)
        assert (status, (folder / script).is_file()) == (0, True), output
        assert stat.S_IMODE((folder / script).stat().st_mode) & 0o077 == 0
        for content in (output, arguments, everything_in(folder), everything_in(tools)):
            assert hidden_variables.found_in(content) == []


def test_training_writes_none(project, hidden_variables, model, tmp_path, monkeypatch):
    """A training that finds no cluster: all its files, its log and the arguments of its processes."""
    monkeypatch.delenv("BYTES_TOKEN")  # no library takes an environment that is no text
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")
    start = [
        "--actor.model_name_or_path",
        str(model),
        "--data.max_len",
        "64",
        "--rollout.max_new_tokens",
        "8",
    ]
    shown = run("train", "tiny.yaml", "--dry-run", *start)
    folder = tmp_path / "run"
    status, output, arguments = dipo(
        "train",
        "tiny.yaml",
        "--run.dir",
        str(folder),
        "--run.wandb",
        "off",
        "--run.ray",
        "cluster",
        *start,
        cwd=project,
    )
    assert status == 2
    assert "error: " in output
    for name in ("recipe.yaml", "launch.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    assert (folder / "train.log").is_file()
    assert "openrlhf_patch.driver" in arguments
    for content in (shown, output, arguments, everything_in(folder)):
        assert hidden_variables.found_in(content) == []


@pytest.mark.parametrize(
    ("words", "place", "remedy"),
    [
        (["--reward.remote_url", "http://me:hunter22hunter@rm:5000/score"], "--reward.remote_url", "a reward file"),
        (["--reward.remote_url", "https://rm/score?token=hunter22hunter"], "--reward.remote_url", "a reward file"),
        (["--data.prompt_dataset", "s3://AKIA:hunter22/hunter@bucket/x"], "--data.prompt_dataset", "AWS_SECRET"),
        (["--logger.wandb.project", "https://hunter22hunter@host/p"], "--logger.wandb.project", "WANDB_BASE_URL"),
        (["--logger.wandb.key", "hunter22hunter"], "--logger.wandb.key", "WANDB_API_KEY"),
        (["--logger.wandb.key", "hunter22hunter", "x"], "--logger.wandb.key", "WANDB_API_KEY"),
        (["--logger.wandb.api_key", "hunter22hunter"], "--logger.wandb.api_key", "WANDB_API_KEY"),
        (["--my.password", "hunter22hunter"], "--my.password", "DIPO_SECRETS_FILE"),
    ],
)  # fmt: skip
def test_a_recipe_with_a_key_is_refused_everywhere(project, server, words, place, remedy):
    commands = [["train", "tiny.yaml", "--dry-run"]]
    commands += [["submit", *options, "--dry-run"] for options in SUBMIT.values()]
    commands.append(["submit", *SUBMIT["ray"], "--address", server.address])
    for command in commands:
        text = refused(*command, *words)
        assert place in text, (command, text)
        assert remedy in text, (command, text)
    assert server.requests == []


def test_an_address_with_a_password_stays_in_the_environment(project, server, monkeypatch):
    address = server.address.replace("http://", "http://me:hunter22hunter@")
    shown = refused("submit", *SUBMIT["ray"], "--address", address)
    assert "set the address with its password as the environment variable RAY_API_SERVER_ADDRESS" in shown
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
    output = run("submit", *SUBMIT["ray"])
    assert re.search(r"stop it:   dipo submit --stop \S+\n", output)
    assert "hunter22" not in output + run("submit", *SUBMIT["ray"], "--dry-run")
    bodies = b"".join(body for *_, body in server.requests)
    assert b"hunter22" not in bodies
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://me:hunter22hunter@127.0.0.1:9")
    assert "no Ray job server answers at http://***@127.0.0.1:9" in refused("submit", *SUBMIT["ray"])


def test_a_variable_of_a_job_holds_no_password(project, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter22hunter@proxy:3128")
    for target in ("ray", "slurm", "kuberay"):
        shown = refused("submit", *SUBMIT[target], "--env", "HTTPS_PROXY", "--dry-run")
        assert "--env HTTPS_PROXY: its value is an address with a password" in shown


@pytest.fixture
def model(tmp_path):
    save = runpy.run_path(str(Path(__file__).parents[1] / "eval" / "tiny_model.py"))["save_tiny_model"]
    save(tmp_path / "tiny", seed=0)
    return tmp_path / "tiny"


def test_results_and_the_board_hold_none(project, hidden_variables, model, tmp_path):
    results = tmp_path / "results"
    evaluate(
        [Checkpoint(model, "tiny")], ["arithmetic-control"],
        results_dir=results, run="r", engine="hf", limit=2, max_new_tokens=4, progress=False,
    )  # fmt: skip
    # Runs and results of a version that let credentials through.
    (stored,) = results.rglob("results.json")
    content = json.loads(stored.read_text())
    content["settings"]["base_url"] = "https://me:hunter22hunter@host/v1?api_key=hunter22"
    content["settings"]["AWS_ACCESS_KEY"] = "hunter22"
    stored.write_text(json.dumps(content))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text('{"step": 1, "rollout/accuracy": 0.5}\n')
    settings = {
        "reward.remote_url": "http://me:hunter22hunter@rm/x", "logger.wandb.key": "hunter22", "MY_PASSWORD": "hunter22",
        "actor.model_name_or_path": "s3://a:hunter22hunter@b/m", "data.label_key": "answer",
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"name": "r", "settings": settings}))
    page, table, rows = tmp_path / "board.html", tmp_path / "board.md", tmp_path / "board.csv"
    output = run(
        "board", "--results", str(results), "--run-dir", str(folder), "--out", str(page),
        "--markdown", str(table), "--csv", str(rows),
    )  # fmt: skip
    shown = output + page.read_text() + table.read_text() + rows.read_text()
    assert "data.label_key: answer" in shown
    assert "http://***@rm/x" in shown
    assert "hunter22" not in shown
    assert hidden_variables.found_in(shown.encode() + everything_in(results)) == []


def test_the_wandb_config_holds_none(project, hidden_variables, tmp_path, monkeypatch):
    from dipo_openrlhf.openrlhf_patch import trackers

    monkeypatch.delenv("BYTES_TOKEN")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "run"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    subprocess.run(
        ["git", "-C", str(project), "remote", "add", "origin", "https://hunter22hunter:x@host/p"], check=True
    )
    settings = {"reward.remote_url": "http://me:hunter22hunter@rm/x", "logger.wandb.key": "hunter22"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"settings": settings}))
    names = SimpleNamespace(project="p", org=None, group=None, run_name="r")
    tracker = trackers.start_wandb(folder, SimpleNamespace(logger=SimpleNamespace(wandb=names)))
    masked = {"reward.remote_url": "http://***@rm/x", "logger.wandb.key": "***"}
    assert tracker.tracker.run.config["settings"] == masked
    tracker.log_train(1, {"policy_loss": 0.5})
    tracker.close()
    (folder / "recipe.yaml").unlink()
    until = time.monotonic() + 60  # wandb's own process writes on for a while
    while b"policy_loss" not in everything_in(folder) and time.monotonic() < until:
        time.sleep(0.5)
    written = everything_in(folder)
    assert b"policy_loss" in written
    assert b"hunter22" not in written
    assert hidden_variables.found_in(written) == []


def test_a_server_with_a_password_in_its_address_is_refused(tmp_path):
    for address in ("http://me:hunter22hunter@127.0.0.1:9/v1", "http://127.0.0.1:9/v1?key=hunter22hunter"):
        result = CliRunner().invoke(
            app,
            ["eval", "m", "--suites", "arithmetic-control", "--engine", "openai", "--base-url", address,
             "--results", str(tmp_path / "results")],
        )  # fmt: skip
        assert result.exit_code == 2
        assert "--base-url: the address holds a password or a key" in result.output
        assert "OPENAI_API_KEY" in result.output
        assert "hunter22" not in result.output
        assert not (tmp_path / "results").exists()
