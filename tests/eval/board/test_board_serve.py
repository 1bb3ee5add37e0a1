"""`dipo board --serve` as a process, and its page in a real Chromium; hostile text in both forms of the page."""

from __future__ import annotations

import hashlib
import html
import json
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.board.page.render import write_board
from dipo_eval.board.serve import Shown, Source, follow, refresh, serve, versions
from dipo_eval.errors import UserError

_helpers = runpy.run_path(str(Path(__file__).with_name("browser.py")))
CHROMIUM, Browser = _helpers["CHROMIUM"], _helpers["Browser"]
LONG = "<b>x</b>" + "y" * 1_000_000 + "</script>end"
COMMAND = [sys.executable, "-m", "dipo_openrlhf.cli", "board"]


def add_official(folder: Path, item: str, reason: str) -> None:
    """One score of lm-eval that is not ours, as `dipo eval --with lm-eval` writes it."""
    digest = hashlib.sha256((folder / "samples.jsonl").read_bytes()).hexdigest()
    row = {
        "item_id": item,
        "sample": 0,
        "metric": "exact_match,strict-match",
        "ours": "correct",
        "theirs": 0.0,
    }
    metric = {"value": 0.25, "n": 60, "ours": 0.5, "disagreements": 1}
    made = {
        "schema": 1, "harness": "lm-eval", "version": "0.4.13", "samples_sha256": digest,
        "metrics": {"exact_match,strict-match": metric}, "disagreements": [{**row, "their_reason": reason}],
    }  # fmt: skip
    (folder / "official_lm_eval.json").write_text(json.dumps(made))


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    result_writer: Callable[..., Path],
    row_maker: Callable[..., dict[str, Any]],
    hostile: str,
) -> Path:
    """Two checkpoints; the later one's first responses are hostile, one is a line of 1 MB."""
    root = tmp_path_factory.mktemp("served")
    for step in (0, 10):
        rows = [row_maker(i, "correct" if (i + step) % 3 else "wrong") for i in range(60)]
        if step:
            rows[0] |= {"response": hostile, "reason": hostile, "extracted": hostile}
            rows[1] |= {"response": LONG, "reason": LONG}
        made = result_writer(root, "dipo", f"step_{step}", "gsm8k", rows, step=step)
    add_official(made, "add-0000", hostile)
    return root


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    command = [*COMMAND, "--results", str(folder), "--serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("board: http://127.0.0.1:"), line
    yield line.split()[1]
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    assert process.wait(15) == 0
    assert time.monotonic() - start < 10
    assert process.stdout.read() == "board: ended\n"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH")
    found = Browser(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


def set_value(browser: Any, element_id: str, value: str) -> None:
    event = "input" if element_id == "s-text" else "change"
    browser.js(
        f"(() => {{ const e = document.getElementById({element_id!r}); e.value = {value!r};"
        f" e.dispatchEvent(new Event({event!r})); }})()"
    )


def open_sample(browser: Any, text: str) -> dict[str, str]:
    """Search for `text`, open the only sample found, return its response and facts as the page shows them."""
    set_value(browser, "s-text", text)
    assert browser.js("document.querySelectorAll('#s-list .sample').length") == 1
    browser.js("document.querySelector('#s-list .sample').open = true")
    browser.wait("document.querySelector('#s-list .response') !== null")
    facts = browser.js(
        "Object.fromEntries([...document.querySelectorAll('#s-list .sides > div:first-child dt')].map((t) =>"
        " [t.textContent, t.nextElementSibling.textContent]))"
    )
    return {**facts, "response": browser.js("document.querySelector('#s-list .response').textContent")}


@pytest.mark.parametrize("served", [False, True])
def test_text_in_responses_is_shown_as_text(
    browser: Any, folder: Path, address: str, tmp_path: Path, served: bool
) -> None:
    browser.open(address if served else write_board(folder, tmp_path / "b.html"))
    shown = open_sample(browser, "onerror")
    for text in (shown["response"], shown["reason"], shown["lm-eval exact_match,strict-match"]):
        assert "</script><script>document.title='run'</script>" in text
        assert "<img src=x onerror=" in text
        assert "\u27e8U+0000\u27e9\u27e8U+0007\u27e9\u27e8U+001B\u27e9[31m" in text
        assert "\u202e" not in text
    shown = open_sample(browser, "yyyyy")
    assert shown["response"].startswith("<b>x</b>yyy")
    assert shown["response"].endswith("yyy</script>end")
    assert 15_000 < len(shown["response"]) < 25_000
    assert browser.js("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.js("document.title") == "DiPO board"
    assert browser.js("document.images.length + document.querySelectorAll('b').length") == 0
    assert [
        e for e in browser.events if e.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")
    ] == []


@pytest.mark.parametrize("served", [False, True])
def test_graders_that_disagree_are_found(
    browser: Any, folder: Path, address: str, tmp_path: Path, served: bool
) -> None:
    browser.open(address if served else write_board(folder, tmp_path / "b.html"))
    set_value(browser, "s-status", "disputed")
    assert browser.js("[...document.querySelectorAll('#s-list .item')].map((e) => e.textContent)") == [
        "add-0000"
    ]
    assert browser.js("document.getElementById('s-count').textContent").endswith(
        "Another harness scores 1 sample differently."
    )
    cells = browser.js("[...document.querySelectorAll('#board .official')].map((e) => e.textContent)")
    assert cells == ["\u2013", "25.0% lm-eval strict-match, 1 differ"]


def test_only_the_served_page_may_ask_its_server(
    browser: Any, folder: Path, address: str, tmp_path: Path
) -> None:
    page = write_board(folder, tmp_path / "b.html").read_text()
    assert "connect-src" not in page
    assert "fetch(" not in page
    served = html.unescape(urllib.request.urlopen(address, timeout=30).read().decode())
    assert "connect-src 'self'" in served
    assert "unsafe" not in served.split("Content-Security-Policy")[1].split(">")[0]
    browser.open(address)
    refused = "fetch('http://127.0.0.1:9/').then(() => 'answered', () => 'refused')"
    assert browser.js(refused, wait=True) == "refused"
    assert any(
        "Content Security Policy" in json.dumps(e)
        for e in browser.events
        if e.get("method") == "Log.entryAdded"
    )


def test_page_refreshes_itself_and_keeps_what_was_set(
    browser: Any,
    folder: Path,
    address: str,
    result_writer: Callable[..., Path],
    row_maker: Callable[..., dict[str, Any]],
) -> None:
    browser.open(address)
    browser.js(
        "[...document.querySelectorAll('#board thead button')].find((b) => b.textContent === 'Accuracy').click()"
    )
    set_value(browser, "s-status", "wrong")
    set_value(browser, "s-text", "What is 2")
    browser.js("document.querySelector('#s-list .sample').open = true")
    opened = browser.js("document.querySelector('#s-list .sample[open] .item').textContent")
    # The search box is focused last; the page is scrolled to where the samples are.
    browser.js(
        "document.getElementById('s-text').focus({ preventScroll: true }), scrollTo(0, 500), window.old = true"
    )
    # A half-written result first: the page says so and stays.
    torn = folder / "dipo" / "step_20" / "gsm8k"
    torn.mkdir(parents=True)
    (torn / "results.json").write_text('{"schema": 1, "run"')
    browser.wait(
        "!window.old && document.querySelector('.problems')?.textContent.includes('could not be read')"
    )
    (torn / "results.json").unlink()
    torn.rmdir()
    rows = [row_maker(i, "correct") for i in range(60)]
    result_writer(folder, "dipo", "step_20", "gsm8k", rows, step=20)
    browser.wait(
        "document.querySelectorAll('#board tbody tr').length === 3 && !document.querySelector('.problems')"
    )
    browser.wait("document.getElementById('s-text')?.value === 'What is 2'")
    assert (
        browser.js("document.querySelector('#board [aria-sort]').getAttribute('aria-sort')") == "descending"
    )
    assert browser.js("document.querySelector('#board tbody tr').cells[2].textContent").startswith("100.0%")
    assert browser.js("document.getElementById('s-status').value") == "wrong"
    assert browser.js("document.activeElement.id") == "s-text"
    assert browser.js("document.querySelector('#s-list .sample[open] .item').textContent") == opened
    browser.wait("Math.abs(scrollY - 500) < 2")


def test_unchanged_page_is_not_sent_again_and_other_names_are_refused(address: str) -> None:
    with urllib.request.urlopen(address, timeout=30) as answer:
        tag = answer.headers["ETag"]
    for headers, status in (({"If-None-Match": tag}, 304), ({"Host": "other.example"}, 400)):
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30)
        assert raised.value.code == status


def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}") as raised:
            serve(Source(tmp_path), "127.0.0.1", port, print)
    assert "\n" not in str(raised.value)


def test_failure_to_make_a_page_leaves_the_last_one(
    tmp_path: Path,
    result_writer: Callable[..., Path],
    row_maker: Callable[..., dict[str, Any]],
    monkeypatch: Any,
) -> None:
    source, shown, logged = Source(tmp_path), Shown(), []
    seen = versions(source)
    refresh(source, shown, seen)
    assert b"nothing to show yet: no results under" in shown.page[1]
    before = shown.page
    result_writer(tmp_path, "r", "c", "s", [row_maker(i, "correct") for i in range(3)])

    def broken(*args: Any) -> None:
        ended.set()
        raise MemoryError("none left")

    ended = threading.Event()
    monkeypatch.setattr("dipo_eval.board.serve.POLL_S", 0.01)
    monkeypatch.setattr("dipo_eval.board.serve.make_page", broken)
    follow(source, shown, seen, ended, logged.append)
    assert logged == ["board: not refreshed (MemoryError: none left)"]
    assert shown.page == before


def test_only_changed_results_are_read_again(results_dir: Path, monkeypatch: Any) -> None:
    from dipo_eval.board.data import load

    cache: load.Cache = {}
    first, _ = load.load_results(results_dir, cache)
    monkeypatch.setattr(load, "scan", None)
    again, _ = load.load_results(results_dir, cache)
    assert [id(result) for result in again] == [id(result) for result in first]
