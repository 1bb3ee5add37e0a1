"""docs/submit.md and launchers/: every command runs, in its --dry-run form, and the files are what it writes."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dipo_openrlhf.cli import app

ROOT = Path(__file__).parents[2]
KEY = "feedface" * 5  # what the fixture sets; of no account
COMMANDS = [
    line.split("#")[0].split(">")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "submit.md").read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("dipo ")
]
SENDING = [command for command in COMMANDS if "my_recipe.yaml" in command]


def run(words: list[str]) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert KEY not in result.output
    return result.output


@pytest.mark.parametrize("command", SENDING)
def test_commands_of_the_document(project, command):
    """With the README's own recipe."""
    (text,) = re.findall(r"```yaml\n(# my_recipe.yaml.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (project / "my_recipe.yaml").write_text(text)
    for folder in ("data", "notes"):
        (project / folder).mkdir()
    (project / "notes" / "mine.md").touch()
    (project / "data" / "train.jsonl").write_text((project / "prompts.jsonl").read_text())
    words = [word for word in shlex.split(command)[1:] if word != "--dry-run"]
    assert "run_or_resume" in (output := run([*words, "--dry-run"])) or "entrypoint" in output


def test_the_rest_of_the_commands_are_about_a_job(project):
    rest = [shlex.split(command)[2] for command in COMMANDS if command not in SENDING]
    assert rest == ["--status", "--stop"]
    assert len(SENDING) >= 7
    help_text = CliRunner().invoke(app, ["submit", "--help"], terminal_width=200).output
    for option in ["status", "stop", "logs", "secrets-file", "secret", "env", "exclude", "cpus"]:
        assert f"--{option}" in help_text


FILES = {
    "slurm.sbatch": "--to slurm --time 24:00:00 --secrets-file /home/me/keys",
    "rayjob.yaml": "--to kuberay --image registry/dipo:1 --claim lab:/shared --secret dipo-keys",
    "local.sh": "--to local --run.dir runs/example",
}


@pytest.mark.parametrize("name", FILES)
def test_ready_made_files_are_what_the_command_writes(project, name):
    (project / "recipe.yaml").write_text((ROOT / "launchers" / "recipe.yaml").read_text())
    text = run(["submit", "recipe.yaml", *shlex.split(FILES[name]), "--dry-run"])
    text = text.replace(str(project), "/shared/project").replace(
        sys.executable, "/shared/project/.venv-gpu/bin/python"
    )
    path = ROOT / "launchers" / name
    assert path.read_text() == text, f"write it anew: {text}"
