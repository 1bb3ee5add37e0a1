"""The page in a real Chromium."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.board.data.runlog import read_run_log
from dipo_eval.board.page.render import write_board

_helpers = runpy.run_path(str(Path(__file__).with_name("browser.py")))
CHROMIUM, Browser = _helpers["CHROMIUM"], _helpers["Browser"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = Browser(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(results_dir: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_board(results_dir, tmp_path_factory.mktemp("page") / "board.html", [read_run_log(run_dir)])


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    browser.open(page)
    return browser


def choose(browser: Any, element_id: str, value: str) -> None:
    """Choose an option, or type into a field, and tell the page of it."""
    browser.js(
        f"(() => {{ const e = document.getElementById({element_id!r}); e.value = {value!r};"
        " e.dispatchEvent(new Event(e.type === 'search' ? 'input' : 'change')); })()"
    )


def option_value(browser: Any, element_id: str, label: str) -> str:
    """The value of the option that reads `label`."""
    options = f"[...document.getElementById({element_id!r}).options]"
    return str(browser.js(f"{options}.find((o) => o.textContent === {label!r}).value"))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_page_loads_alone_without_errors_and_fits_the_width(
    browser: Any, page: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    browser.open(page, width=width, dark=dark)
    requests = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert [url for url in requests if not url.startswith("data:")] == [page.resolve().as_uri()]
    errors = [e for e in browser.events if e.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
    assert errors == []
    assert browser.js("document.documentElement.scrollWidth <= window.innerWidth")
    background = browser.js("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if dark else "rgb(251, 251, 249)")
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_hostile_text_is_shown_and_does_not_run(opened: Any, hostile: str) -> None:
    choose(opened, "s-set", option_value(opened, "s-set", "dipo/step_80"))
    choose(opened, "s-text", "onerror")
    assert opened.js("document.querySelectorAll('#s-list .sample').length") == 1
    opened.js("document.querySelector('#s-list .sample').open = true")
    opened.wait("document.querySelector('.response') !== null")
    shown = opened.js("document.querySelector('.response').textContent")
    assert shown.startswith("</script><script>document.title='run'</script>\n<img src=x onerror=")
    assert "{{ 7 * 7 }} ${7*7}" in shown
    assert "\u27e8U+0000\u27e9\u27e8U+0007\u27e9\u27e8U+001B\u27e9[31m" in shown
    assert "\u27e8U+202E\u27e9" in shown
    assert "\u202e" not in shown
    assert shown.endswith("\U0001f600")
    assert opened.js("document.title") == "DiPO board"
    assert opened.js("document.images.length") == 0
    assert opened.js("document.querySelectorAll('script').length") == opened.js(
        "document.querySelectorAll('script[type=\"application/json\"]').length + 1"
    )


def test_policy_stops_a_script_that_got_in(opened: Any) -> None:
    opened.js(
        "(() => { const s = document.createElement('script'); s.textContent = 'document.title = 1';"
        " document.body.append(s); const i = document.createElement('img'); i.src = 'http://127.0.0.1:9/x.png';"
        " document.body.append(i); })()"
    )
    assert opened.js("document.title") == "DiPO board"
    refused = [e["params"]["entry"]["text"] for e in opened.events if e.get("method") == "Log.entryAdded"]
    assert sum("Content Security Policy" in text for text in refused) >= 1


def test_table_sorts_by_click_and_by_keyboard(opened: Any) -> None:
    header = (
        "[...document.querySelectorAll('#board thead th')].find((h) => h.textContent.startsWith('Accuracy'))"
    )
    column = "[...document.querySelectorAll('#board tbody tr')].map((r) => Number(r.cells[2].dataset.v))"
    opened.js(f"{header}.querySelector('button').click()")
    values = opened.js(column)
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 3
    assert opened.js(f"{header}.getAttribute('aria-sort')") == "descending"
    opened.js(f"{header}.querySelector('button').focus()")
    opened.press("Enter")
    assert opened.js(column) == sorted(values)
    assert opened.js(f"{header}.getAttribute('aria-sort')") == "ascending"
    assert opened.js("document.querySelectorAll('[aria-sort]').length") == 1


def test_another_baseline_changes_the_differences(opened: Any) -> None:
    cell = (
        "[...document.querySelectorAll('#board tbody tr')].find((r) => r.dataset.suite === 'gsm8k'"
        " && r.cells[0].dataset.v === {name!r}).querySelector('.difference').textContent"
    )
    first, last = cell.format(name="dapo/step_0"), cell.format(name="dipo/step_80")
    before = opened.js(last)
    choose(opened, "baseline", option_value(opened, "baseline", "dipo/step_80"))
    assert opened.js(last) == "baseline"
    mirrored = opened.js(first)
    assert before.split()[0] == mirrored.split()[0].translate(str.maketrans("+\u2212", "\u2212+"))


def test_flips_show_both_responses(opened: Any) -> None:
    choose(opened, "s-set", option_value(opened, "s-set", "dipo/step_80"))
    choose(opened, "s-other", option_value(opened, "s-other", "dapo/step_0"))
    choose(opened, "s-status", "gained")
    text = opened.js("document.getElementById('s-count').textContent")
    n_items = int(text.split(" from incorrect to correct")[0].rsplit(" ", 1)[-1])
    assert n_items > 0
    assert text.startswith(f"{n_items} sample")
    opened.js("document.querySelector('#s-list .sample').open = true")
    opened.wait("document.querySelector('#s-list .sample dl') !== null")
    verdicts = opened.js(
        "[...document.querySelectorAll('#s-list dl')].map((l) => l.querySelector('dd').textContent)"
    )
    assert verdicts[0] == "correct"
    assert verdicts[1] in ("wrong", "undecided")


def test_more_samples_are_shown_on_demand(opened: Any) -> None:
    shown = "document.querySelectorAll('#s-list .sample').length"
    assert opened.js(shown) == 25
    counts = [opened.js(f"document.getElementById('s-more').click(), {shown}") for _ in range(2)]
    assert counts == [50, 60]
    assert opened.js("document.getElementById('s-more').hidden")


def test_chart_is_read_with_arrow_keys_and_as_a_table(opened: Any) -> None:
    opened.js("document.querySelector('#accuracy .plot').focus()")
    opened.press("ArrowRight")
    opened.press("ArrowRight")
    tip = opened.js("document.querySelector('#accuracy .tip').textContent")
    assert tip.startswith("training step 40dapo: ")
    assert tip.count("%") == 2 * 3  # value, low and high of each run
    opened.js("document.querySelector('#accuracy .chart > details').open = true")
    # The table is made when the browser fires `toggle`, some time after the attribute is set.
    opened.wait("document.querySelector('#accuracy .chart tbody') !== null")
    assert opened.js("document.querySelector('#accuracy .chart tbody').rows.length") == 3


def test_every_control_has_a_name(opened: Any) -> None:
    unnamed = opened.js(
        "[...document.querySelectorAll('select, input, button, a, [tabindex], [role=img]')].filter((e) =>"
        " !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label'))).map(e => e.outerHTML)"
    )
    assert unnamed == []
    assert opened.js("document.querySelectorAll('h1').length") == 1
    assert opened.js("new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size") == opened.js(
        "document.querySelectorAll('[id]').length"
    )
