"""What the README tells a newcomer to type is accepted as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dipo_openrlhf.cli import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    return [
        block
        for document in DOCUMENTS
        for block in re.findall(rf"```{language}\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    ]


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    inline = re.findall(r"`(dipo [^`\n]+)`", "\n".join(path.read_text() for path in DOCUMENTS))
    return sorted({line for line in [*lines, *inline] if line.startswith("dipo ")})


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The README's own recipe, in an empty folder."""
    (text,) = [block for block in blocks("yaml") if "# my_recipe.yaml" in block]
    (tmp_path / "my_recipe.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_documents_hold_commands():
    assert len(commands()) > 6


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("dipo train my_recipe")])
def test_training_commands_translate(recipe, command):
    arguments = [word for word in shlex.split(command)[1:] if word not in ("--resume", "--dry-run")]
    result = CliRunner().invoke(app, [*arguments, "--dry-run"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "--rollout.n_samples_per_prompt 8" in result.output
    assert "--actor.model_name_or_path Qwen/Qwen3-4B-Base" in result.output


@pytest.mark.parametrize("command", [c for c in commands() if not c.startswith("dipo train")])
def test_other_commands_have_these_options(command):
    """Every command and option that is named exists; the end-to-end tests run them on real data."""
    words = [word for word in shlex.split(command)[1:] if re.fullmatch(r"[a-z-]+", word)]
    result = CliRunner().invoke(app, [words[0], "--help"], terminal_width=200)
    assert result.exit_code == 0, command
    for option in words[1:]:
        if option.startswith("--"):
            assert option in result.output, f"{option} of {command}"


@pytest.mark.parametrize("target", ["quickstart", "test", "setup", "gpu", "lint", "test-all"])
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_linked_files_exist():
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name} links {link}"


def test_the_readme_fits_a_newcomer():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_document_is_in_the_table_of_contents():
    contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    documents = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {name for name in documents if f"({name})" not in contents} == set()


def test_messages_of_the_troubleshooting_page_are_those_of_the_code():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "dipo_openrlhf").rglob("*.py"))
    shown = [re.split(r" \(| N s", text)[0] for text in re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)]
    assert len(shown) > 10
    assert [text for text in shown if text not in code] == []
