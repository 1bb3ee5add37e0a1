"""A real server (vLLM's, on CPU) as an engine, and what its replies become."""

from __future__ import annotations

import importlib.util
import json
import os
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

from dipo_eval.checkpoints import Checkpoint
from dipo_eval.cpu_env import VLLM_ON_CPU
from dipo_eval.engine import TOO_LONG, Prompt, Request, Sampling, generate_all
from dipo_eval.errors import UserError
from dipo_eval.hf_engine import HfEngine
from dipo_eval.identity import engine_version, served_identity
from dipo_eval.openai_engine import OpenAIEngine, _text
from dipo_eval.prompts import ModelRenderer
from dipo_eval.results import read_samples
from dipo_eval.run import evaluate

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
    assert ours.result["settings"]["base_url"] == server
    reported = ours.result["settings"]["server"]
    assert (reported["root"], reported["max_model_len"]) == (str(models / "global_step2_hf"), 512)
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
    """A server's list of models, and its version where it has one."""

    pages: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        page = self.pages.get(self.path)
        self.send_response(404 if page is None else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(page or {}).encode())

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def listing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Listing) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/v1"
        http.shutdown()
        thread.join(10)


def test_what_a_server_tells_is_a_part_of_what_answers(listing: str) -> None:
    entry = {
        "id": "tiny",
        "object": "model",
        "created": 1,
        "owned_by": "us",
        "root": "/a",
        "permission": [{"id": 1}],
    }
    Listing.pages = {"/v1/models": {"object": "list", "data": [entry]}, "/version": {"version": "0.29.0"}}
    first = served_identity("tiny", listing, "auto")
    assert first.engine_version == "0.29.0"
    assert first.settings["server"] == {"root": "/a", "owned_by": "us"}
    entry |= {"created": 2, "permission": [{"id": 2}]}
    assert served_identity("tiny", listing, "auto") == first
    entry["root"] = "/b"
    assert served_identity("tiny", listing, "auto").key != first.key
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
    assert _text(message) == (
        "<think>\na thought\n</think>\n\nLet me look."
        '\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
        '\n<tool_call>\n{"name": "g\\"", "arguments": {}}\n</tool_call>'
    )
