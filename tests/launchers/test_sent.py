"""Every byte that leaves for a job server, sent by Ray's own client to a server that keeps what it gets."""

from __future__ import annotations

import io
import json
import zipfile

from typer.testing import CliRunner

from dipo_openrlhf.cli import app

KEY = "feedface" * 5  # what the fixture sets; of no account


def test_nothing_that_is_sent_or_printed_holds_the_key(project, server):
    (project / ".env").write_text(f"WANDB_API_KEY={KEY}\n")
    arguments = ["submit", "tiny.yaml", "--address", server.address]
    shown = CliRunner().invoke(app, [*arguments, "--dry-run"], catch_exceptions=False).output
    assert server.requests == []  # a dry run sends nothing
    result = CliRunner().invoke(
        app, [*arguments, "--no-follow", "--secrets-file", "/home/me/keys"], catch_exceptions=False
    )
    assert result.exit_code == 0
    (job,) = [json.loads(body) for body in server.bodies("POST", "/api/jobs/")]
    assert f"submitted: {job['submission_id']}" in result.output
    assert job["entrypoint"] == "python -m dipo_openrlhf.cli train tiny.yaml --run.ray cluster"
    assert job["runtime_env"]["env_vars"]["DIPO_SECRETS_FILE"] == "/home/me/keys"
    for text in (shown, result.output, repr(server.requests)):
        assert KEY not in text
    packages = [zipfile.ZipFile(io.BytesIO(body)) for body in server.bodies("PUT", "/api/packages/")]
    assert len(packages) == 3
    names: set[str] = set()
    for package in packages:
        for name in package.namelist():
            assert KEY.encode() not in package.read(name), name
            names.add(name)
    assert {"tiny.yaml", "prompts.jsonl", "dipo_openrlhf/cli.py", "dipo_eval/runner/run.py"} <= names
    assert ".env" not in names


def test_a_mistake_sends_nothing(project, server):
    for words in (["--dipo.alpha", "-1"], ["--run.dir", "here"], ["--env", "WANDB_API_KEY"]):
        result = CliRunner().invoke(app, ["submit", "tiny.yaml", "--address", server.address, *words])
        assert result.exit_code != 0
        assert KEY not in result.output + str(result.exception)
    assert server.requests == []
