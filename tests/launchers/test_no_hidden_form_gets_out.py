"""What hides a secret from a search for its letters: encodings, names, text around it, and a change after the search."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.launchers import ray_jobs

RAY = ["tiny.yaml", "--no-follow"]


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["submit", *RAY, *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


VALUE = "q7Rk2mZ9" * 4
HUGGING_FACE = "hf_" + "aB3dE5gH7j" * 4
TRAVELS = {
    "UTF-16": ("notes.txt", f"key {VALUE}".encode("utf-16")),
    "UTF-16 without a mark": ("notes.txt", f"key {VALUE}".encode("utf-16-be")),
    "UTF-32": ("notes.txt", f"key {VALUE}".encode("utf-32")),
    "file name": (f"{VALUE}.py", b"x = 1\n"),
    "folder name": (f"run_{VALUE}/tool.py", b"x = 1\n"),
    "token in a name": (f"{HUGGING_FACE}/tool.py", b"x = 1\n"),
    **{
        f"Basic {user}": ("call.py", b"# " + base64.b64encode(f"{user}:{VALUE}{end}".encode()))
        for user, end in (("bob", ""), ("ab", "\n"), ("anna", "  "))
    },
    "hex": ("call.py", f"# {VALUE.encode().hex()}\n".encode()),
    "HEX": ("call.py", f"# {VALUE.encode().hex().upper()}\n".encode()),
    "a NUL": ("tool.py", f"a = 1\0\nb = '{HUGGING_FACE}'\n".encode()),
    "a NUL in it": ("tool.py", f"b = '{HUGGING_FACE[:9]}\0{HUGGING_FACE[9:]}'\n".encode()),
}


@pytest.mark.parametrize("kind", TRAVELS)
def test_a_value_in_another_form_stops_the_upload(project, server, monkeypatch, kind):
    name, content = TRAVELS[kind]
    monkeypatch.setenv("MYAPP_API_KEY", VALUE)
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_bytes(content)
    for words in (["--dry-run"], ["--address", server.address]):
        result = CliRunner().invoke(app, ["submit", *RAY, *words])
        shown = result.output + str(result.exception)
        assert isinstance(result.exception, UserError), shown
        assert "\n" not in str(result.exception)
        assert ("MYAPP_API_KEY" in shown) == (
            HUGGING_FACE not in name + content.decode("latin-1").replace("\0", "")
        )
        assert VALUE not in shown
        assert HUGGING_FACE not in shown
    assert server.requests == []


def test_a_name_that_stays_is_shown_without_the_value(project, server, monkeypatch):
    monkeypatch.setenv("MYAPP_API_KEY", VALUE)
    for name in (f"{VALUE}.bin", f".{VALUE}.py"):
        (project / name).write_text("x")
    output = run("--dry-run") + run("--address", server.address)
    assert "***.bin: not code" in output
    assert "left out, code: .***.py (hidden)" in output
    assert VALUE not in output + repr(server.requests)


def test_a_file_changed_after_its_check_is_checked_again(project, server, monkeypatch):
    """The client is made between the look and the copy; what changes then is in the copy alone."""
    monkeypatch.setenv("MYAPP_API_KEY", VALUE)
    helper, client_of = project / "helper.py", ray_jobs.client_of
    outside = project.parent / "outside.py"
    outside.write_text("x = 1\n")

    def change() -> None:
        helper.unlink()
        outside.write_text("x = 1\n")
        helper.symlink_to(outside)

    for changes, words in (
        (lambda: helper.write_text(f"x = '{VALUE}'\n"), "helper.py holds the value of MYAPP_API_KEY"),
        (lambda: helper.write_text(f"x = 1\ny = '{HUGGING_FACE}'\n"), "helper.py:2: looks like a key"),
        (change, "helper.py: has become a link out of this folder"),
    ):
        helper.write_text("x = 1\n")

        def changed(address: str, changes: Callable[[], object] = changes) -> object:
            client = client_of(address)
            changes()
            return client

        monkeypatch.setattr(ray_jobs, "client_of", changed)
        result = CliRunner().invoke(app, ["submit", *RAY, "--address", server.address])
        assert words in str(result.exception)
        assert VALUE not in result.output + str(result.exception)
    assert server.bodies("PUT", "/api/packages/") + server.bodies("POST", "/api/jobs/") == []


def test_data_and_modules_with_a_word_in_their_names_travel(project, server):
    (project / "ds").mkdir()
    for name, content in (
        ("ds/secret_santa.jsonl", '{"input": "Who gave what?", "label": "Bob"}\n'),
        ("model/token.json", '{"eos": 2}'),
        ("password_gen.py", "def make():\n    return 1\n"),
        (".hidden.py", "x = 1\n"),
    ):
        (project / name).write_text(content)
    words = ["--data.prompt_dataset", "ds", "--address", server.address]
    output = run(*words)
    (first, *_) = sorted(server.bodies("PUT", "/api/packages/"), key=len)
    sent = set(zipfile.ZipFile(io.BytesIO(first)).namelist())
    assert {"ds/secret_santa.jsonl", "model/token.json", "password_gen.py"} < sent
    assert "left out, code: .hidden.py (hidden): what imports it fails\n" in output
    for name, content in (("model/token.json", VALUE), ("password_gen.py", f"password = '{VALUE}'\n")):
        before = (project / name).read_text()
        (project / name).write_text(content)
        result = CliRunner().invoke(app, ["submit", *RAY, *words])
        assert f"{name}:1: looks like a key" in str(result.exception)
        (project / name).write_text(before)
