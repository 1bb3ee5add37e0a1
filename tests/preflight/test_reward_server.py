"""A reward that is an address: real servers, good and bad."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.preflight.reward_server import check_servers, unanswered

SAMPLES = [("d.jsonl:1", "1 + 1? 2", "1 + 1? ", "2"), ("d.jsonl:2", "1 + 2? 3", "1 + 2? ", "3")]
GOOD = {"rewards": [1.0], "scores": [1.0], "extra_logs": {"length": [3]}}
ANSWERS = {"/good": GOOD, "/verl": {"score": [1.0]}, "/list": [1.0], "/scale": {"rewards": [7.0]}}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.path in ANSWERS and [*asked] == ["query", "prompts", "labels"]
        self.send_response(200 if known else 500)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWERS.get(self.path)).encode())

    def log_message(self, *given: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def test_a_good_one_passes_through_no_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert unanswered(f"{server}/good, {server}/good") == ""
    check_servers(f"{server}/good,{server}/good", SAMPLES, "score")
    check_servers("math", SAMPLES, "score")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/verl", "for d.jsonl:1 it answered no 'rewards', but 'score': give {"),
        ("/list", "for d.jsonl:1 it answered a list: give {"),
        ("/scale", "it answered 7 as 'rewards', and from 0.5 to 1 is correct"),
        ("/other", "for d.jsonl:1 its answer is none (HTTPError: HTTP Error 500"),
    ],
)
def test_what_it_answers_is_told(server, path, words):
    with pytest.raises(UserError) as caught:
        check_servers(server + path, SAMPLES, "score")
    assert str(caught.value).startswith(f"reward.remote_url: '{server}{path}': ")
    assert words in str(caught.value)


def test_no_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    assert unanswered(address) == (
        f"reward.remote_url: '{address}': no server answers there (Connection refused): start it first"
    )
    assert "its port is no number" in unanswered("http://127.0.0.1:99999/x")
    assert unanswered("mine.py") == unanswered(None) == ""
