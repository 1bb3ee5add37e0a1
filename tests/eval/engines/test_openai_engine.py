"""A real server (vLLM's, on CPU) as an engine, and what its replies become."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from openai.types.chat import ChatCompletionMessage
from typer.testing import CliRunner

from dipo_eval.engines.base import TOO_LONG, Prompt, Request, Sampling
from dipo_eval.engines.device import VLLM_ON_CPU
from dipo_eval.engines.openai import OpenAIEngine, message_text
from dipo_eval.engines.prompts import ModelRenderer
from dipo_eval.engines.transformers import HfEngine
from dipo_eval.errors import UserError
from dipo_eval.results.store import read_samples
from dipo_eval.runner.run import evaluate
from dipo_eval.runner.task import SuiteResult
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.subject.identity import engine_version, served_identity
from dipo_openrlhf.cli import app

generate_all = runpy.run_path(str(Path(__file__).parents[1] / "tiny_model.py"))["generate_all"]

START_LIMIT_S = 240


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `vllm serve` with a tiny model named "tiny"; its module, since the command asks for the
    package's other name."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "--model": str(models / "global_step2_hf"), "--served-model-name": "tiny", "--host": "127.0.0.1",
        "--port": str(port), "--max-model-len": "512", "--dtype": "float32", "--max-num-batched-tokens": "4096",
    }  # fmt: skip
    flags = ["--enforce-eager", "--no-enable-chunked-prefill"]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags]
    command += [word for pair in options.items() for word in pair]
    environment = {**os.environ, **VLLM_ON_CPU, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}/v1"
        _wait_until_up(f"{url}/models", process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            tail = log.read_text(errors="replace")[-2000:]
            assert process.poll() is None, f"the server ended: {tail}"
            assert time.monotonic() < deadline, f"no server after {START_LIMIT_S} s: {tail}"
            time.sleep(0.5)


@pytest.mark.end_to_end
def test_a_server_answers_as_the_model_itself(server: str, models: Path, tmp_path: Path) -> None:
    shared: dict[str, Any] = {"run": "r", "max_new_tokens": 8, "limit": 12, "progress": False}
    (ours,) = evaluate(
        [Checkpoint(Path("tiny"), "tiny")], ["arithmetic-control"], engine="openai", base_url=server,
        results_dir=tmp_path / "server", **shared,
    )  # fmt: skip
    (own,) = evaluate(
        [Checkpoint(models / "global_step2_hf", "tiny")], ["arithmetic-control"], engine="hf",
        results_dir=tmp_path / "hf", **shared,
    )  # fmt: skip
    fields = ("response_tokens", "finish_reason", "prompt_tokens", "item_id", "gold")
    rows, wanted = read_samples(ours.folder), read_samples(own.folder)
    assert [[row[f] for f in fields] for row in rows] == [[row[f] for f in fields] for row in wanted]
    # vLLM's server drops an incomplete character at the end.
    for row, other in zip(rows, wanted, strict=True):
        assert row["response"].rstrip("\ufffd") == other["response"].rstrip("\ufffd")
    assert ours.result["model"]["weights_hash"].startswith("served-")
    assert ours.result["model"]["weights"] == "unknown: the server does not show them"
    assert ours.result["model"]["base_url"] == server
    assert ours.result["model"]["served"] == {"id": "tiny", "root": str(models / "global_step2_hf")}
    assert ours.result["settings"]["server"] == {"owned_by": "vllm", "max_model_len": 512}
    assert ours.result["versions"]["server"].startswith(ours.result["settings"]["engine_version"])
    assert ours.result["settings"]["engine_version"] == engine_version("vllm")
    assert ours.result["settings"]["prompt_form"] == "the server's chat template"

    with pytest.raises(UserError, match="serves no model 'other'; it has tiny"):
        OpenAIEngine("other", server)

    engine = OpenAIEngine("tiny", server)
    try:
        messages = [{"role": "user", "content": "7 + 5"}]
        sampled = Request(Prompt("", [], "", messages), 3, 10, 7)
        too_long = Request(Prompt("", [], "", [{"role": "user", "content": "1 + " * 400}]), 1, 10, 7)
        first, long = generate_all(engine, [sampled, too_long], Sampling(temperature=1.0))
        plain = Request(Prompt("7 + 5 =", [], "", plain=True), 1, 10, 7)
        ((continued,),) = generate_all(engine, [plain], Sampling())
        assert len({one.text for one in first}) == 3
        assert generate_all(engine, [sampled], Sampling(temperature=1.0)) == [first]  # seeded
        assert [one.finish_reason for one in long] == [TOO_LONG]
        model = models / "global_step2_hf"
        own_plain = replace(plain, prompt=ModelRenderer(model).render_plain("7 + 5 ="))
        own = HfEngine(model, dtype="float32")
        ((own_continued,),) = generate_all(own, [own_plain], Sampling())
        own.close()
        assert continued.text.rstrip("\ufffd") == own_continued.text.rstrip("\ufffd")
        assert continued.prompt_tokens == len(own_plain.prompt.token_ids)
    finally:
        engine.close()


def test_no_server_is_one_line() -> None:
    with pytest.raises(UserError, match="is the server up") as caught:
        OpenAIEngine("tiny", "http://127.0.0.1:9/v1")
    assert "\n" not in str(caught.value)


class Listing(BaseHTTPRequestHandler):
    """A server's list of models, and its version where it has one; it answers 4 to everything."""

    pages: ClassVar[dict[str, Any]] = {}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": "The answer is 4."}
        reply = {
            "id": "1", "object": "chat.completion", "created": 1, "model": "any",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
        }  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    def do_GET(self) -> None:
        page = self.pages.get(self.path)
        self.send_response(404 if page is None else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(page or {}).encode())

    def log_message(self, *words: object) -> None: ...


@contextlib.contextmanager
def listening() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Listing) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/v1"
        http.shutdown()
        thread.join(10)


@pytest.fixture
def listing() -> Iterator[str]:
    with listening() as url:
        yield url


def serving(name: str, root: str, max_model_len: int) -> None:
    entry = {
        "id": name, "object": "model", "created": 1, "owned_by": "vllm", "root": root, "max_model_len": max_model_len,
    }  # fmt: skip
    Listing.pages = {"/v1/models": {"object": "list", "data": [entry]}, "/version": {"version": "0.29.0"}}


def asked(url: str, results: Path, name: str, **more: Any) -> SuiteResult:
    options: dict[str, Any] = {"run": "r", "limit": 8, "max_new_tokens": 8, "progress": False, **more}
    (found,) = evaluate(
        [Checkpoint(Path(name), name)], ["arithmetic-control"], engine="openai", base_url=url, results_dir=results,
        **options,
    )  # fmt: skip
    return found


def test_two_served_checkpoints_pass_the_gate_and_two_contexts_do_not(tmp_path: Path) -> None:
    """Each on a server of its own, at an address of its own, with files of its own."""
    for name, root, length in (("old", "/ckpt/1", 512), ("new", "/ckpt/2", 512), ("short", "/ckpt/2", 256)):
        serving(name, root, length)
        with listening() as url:
            result = asked(url, tmp_path, name).result
        assert result["model"]["base_url"] == url
        assert result["model"]["served"] == {"id": name, "root": root}
        assert result["settings"]["server"] == {"owned_by": "vllm", "max_model_len": length}

    def gate(candidate: str) -> tuple[int, str]:
        command = [
            "gate", "--results", str(tmp_path), "--candidate", f"r/{candidate}", "--baseline", "r/old", "--margin", "0.9",
        ]  # fmt: skip
        done = CliRunner().invoke(app, command)
        return done.exit_code, done.output

    assert gate("new")[0] == 0, gate("new")[1]
    status, output = gate("short")
    assert status == 2
    assert "server is" in output
    assert '"max_model_len": 256' in output


def test_a_server_that_is_down_is_not_needed_where_all_is_there(tmp_path: Path) -> None:
    serving("tiny", "/ckpt/1", 512)
    with listening() as url:
        first = asked(url, tmp_path, "tiny")
    said: list[str] = []
    again = asked(url, tmp_path, "tiny", log=said.append)
    assert (again.origin, again.result) == ("found", first.result)
    (line,) = said
    assert line.startswith(f"{url}: does not answer; tiny has a result of every suite")
    for more, error in (
        ({"force": True}, "is the server up"), ({"run": "other"}, "is the server up"), ({"seed": 1}, "other settings"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=error):
            asked(url, tmp_path, "tiny", **more)
    edited = json.loads((first.folder / "results.json").read_text())
    edited["hashes"]["suite_hash"] = "of an earlier grader"
    (first.folder / "results.json").write_text(json.dumps(edited))
    assert asked(url, tmp_path, "tiny").origin == "regraded"  # no server is needed for that either
    edited["model"]["weights_hash"] = "of another server"
    (first.folder / "results.json").write_text(json.dumps(edited))
    with pytest.raises(UserError, match="is the server up"):
        asked(url, tmp_path, "tiny")


def test_what_a_server_tells_is_a_part_of_what_answers(listing: str) -> None:
    entry = {
        "id": "tiny",
        "object": "model",
        "created": 1,
        "owned_by": "us",
        "root": "/a",
        "permission": [{"id": 1}],
    }
    Listing.pages = {
        "/v1/models": {"object": "list", "data": [entry]},
        "/version": {"version": "0.29.0+cu130"},
    }
    first = served_identity("tiny", listing, "auto")
    assert first.engine_version == "0.29.0"
    assert first.shown == {"server": "0.29.0+cu130"}
    assert first.settings["server"] == {"owned_by": "us"}
    assert (first.model["served"], first.model["base_url"]) == ({"id": "tiny", "root": "/a"}, listing)
    entry |= {"created": 2, "permission": [{"id": 2}]}
    assert served_identity("tiny", listing, "auto") == first
    entry["root"] = "/b"
    other = served_identity("tiny", listing, "auto")
    assert other.key != first.key
    assert other.model != first.model
    assert other.settings == first.settings
    Listing.pages = {}  # neither a list nor a version: a vendor's
    silent = served_identity("tiny", listing, "auto")
    assert (silent.engine_version, silent.settings["server"]) == (None, {})
    Listing.pages = {"/v1/models": {"object": "list", "data": []}}
    with pytest.raises(UserError, match="serves no model 'tiny'; it has none"):
        served_identity("tiny", listing, "auto")


def test_native_calls_and_thoughts_become_text() -> None:
    message = ChatCompletionMessage.model_validate(
        {
            "role": "assistant",
            "content": "Let me look.",
            "reasoning_content": "a thought",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
                {"id": "2", "type": "function", "function": {"name": 'g"', "arguments": ""}},
            ],
        }
    )
    assert message_text(message) == (
        "<think>\na thought\n</think>\n\nLet me look."
        '\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
        '\n<tool_call>\n{"name": "g\\"", "arguments": {}}\n</tool_call>'
    )
