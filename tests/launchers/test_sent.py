"""Every byte that leaves for a job server, sent by Ray's own client to a server that keeps what it gets."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import ray
from typer.testing import CliRunner

from dipo_openrlhf.cli import app

KEY = "feedface" * 5  # what the fixture sets; of no account


class Kept:
    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, bytes]] = []  # method, path, headers, body
        self.address = ""

    def bodies(self, method: str, path: str) -> list[bytes]:
        return [body for verb, where, _, body in self.requests if verb == method and where.startswith(path)]


@pytest.fixture
def server() -> Iterator[Kept]:
    kept = Kept()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kept.requests.append((self.command, self.path, str(self.headers), body))
            status, value = 200, {}
            if self.path == "/api/version":
                value = {"version": "4", "ray_version": ray.__version__, "ray_commit": "x"}
            elif self.command == "GET":
                status = 404  # no package is there yet
            elif self.path == "/api/jobs/":
                value = dict.fromkeys(("job_id", "submission_id"), json.loads(body)["submission_id"])
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        do_GET = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, *unused: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield kept
    http.shutdown()
    http.server_close()
    thread.join(10)


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
    assert {"tiny.yaml", "prompts.jsonl", "dipo_openrlhf/cli.py", "dipo_eval/run.py"} <= names
    assert ".env" not in names


def test_a_mistake_sends_nothing(project, server):
    for words in (["--dipo.alpha", "-1"], ["--run.dir", "here"], ["--env", "WANDB_API_KEY"]):
        result = CliRunner().invoke(app, ["submit", "tiny.yaml", "--address", server.address, *words])
        assert result.exit_code != 0
        assert KEY not in result.output + str(result.exception)
    assert server.requests == []
