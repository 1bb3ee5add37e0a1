"""The page's HTML: what it says, what it escapes, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from dipo_eval.board.cli import board_command
from dipo_eval.board.data.runlog import RunLog, read_run_log
from dipo_eval.board.page.render import write_board
from dipo_eval.errors import UserError


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags_of(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(page)
    return parser.tags


def block(page: str, element_id: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{element_id}">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found.group(1))


@pytest.fixture(scope="module")
def page(results_dir: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = write_board(results_dir, tmp_path_factory.mktemp("out") / "board.html", [read_run_log(run_dir)])
    return out.read_text(encoding="utf-8")


def test_nothing_points_outside(page: str) -> None:
    for tag, attributes in tags_of(page):
        assert tag not in ("iframe", "object", "embed", "img", "base")
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
        assert not any(name.startswith("on") or name == "style" for name in attributes)


def test_policy_allows_exactly_the_pages_own_script_and_style(page: str) -> None:
    policy = next(a["content"] for t, a in tags_of(page) if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (source,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_hostile_response_stays_data(page: str, hostile: str) -> None:
    assert "<script>document.title" not in page
    assert "<img" not in page
    responses = [row["response"] for s in block(page, "sample-data")["sets"] for row in s["rows"]]
    assert hostile in responses


def test_sentences_name_model_data_and_deeds(page: str) -> None:
    assert (
        "SmolLM2-135M-Instruct was trained with DiPO (alpha 0.1) on arithmetic/train.jsonl for 80 steps"
        in page
    )
    assert re.search(
        r"DiPO acted on \d+ of \d+ extreme groups \(\d.*?%\): \d+ of \d+ hard, \d+ of \d+ easy\.", page
    )
    assert "6 checkpoints evaluated on arithmetic-control, gsm8k, last on 2026-05-04 09:30." in page


def test_same_input_gives_the_same_bytes(results_dir: Path, run_dir: Path, tmp_path: Path) -> None:
    runs = [read_run_log(run_dir)]
    first = write_board(results_dir, tmp_path / "a.html", runs).read_bytes()
    assert first == write_board(results_dir, tmp_path / "b.html", runs).read_bytes()


def test_markup_in_names_is_escaped(
    tmp_path: Path, result_writer: Callable[..., Path], row_maker: Callable[..., dict[str, Any]]
) -> None:
    rows = [row_maker(i, "correct" if i % 2 else "wrong") for i in range(6)]
    name = '"><script>alert(1)</script>\ud800'
    folder = result_writer(tmp_path / "r", "run", "c", "suite", rows, step=1)
    stated = json.loads((folder / "results.json").read_text())
    stated |= {"run": name, "suite": name, "checkpoint": name, "settings": {name: name}}
    (folder / "results.json").write_text(json.dumps(stated))
    run = RunLog(
        name, [{"step": 1, "dipo/feasible": False, "dipo/infeasible_reason": name, "dipo/groups_hard": 3}]
    )
    page = write_board(tmp_path / "r", tmp_path / "b.html", [run], title=name).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert sum(tag == "script" and not attributes for tag, attributes in tags_of(page)) == 1


def test_secrets_of_a_recipe_are_masked(tmp_path: Path) -> None:
    recipe = {"logger": {"wandb": {"key": "abc123", "project": "p"}}, "data": {"label_key": "answer"}}
    run = RunLog("r", [{"step": 1, "rollout/accuracy": 0.5}], recipe)
    page = write_board(tmp_path / "none", tmp_path / "b.html", [run]).read_text(encoding="utf-8")
    assert "abc123" not in page
    assert "label_key: answer" in page


def _luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(a: str, b: str) -> float:
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_colours_have_contrast_in_light_and_dark(page: str) -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.S)
    schemes = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", part)) for part in style.split(":root")[1:3]]
    assert len(schemes) == 2
    for colours in schemes:
        for ground in ("paper", "card", "wash"):
            assert min(_contrast(colours[text], colours[ground]) for text in ("ink", "soft", "link")) >= 4.5
        assert _contrast(colours["good"], colours["good-wash"]) >= 4.5
        assert _contrast(colours["bad"], colours["bad-wash"]) >= 4.5
        lines = ("blue", "orange", "green", "red", "purple", "sky", "grey")
        assert min(_contrast(colours[line], colours["card"]) for line in lines) >= 3


def test_torn_files_are_named_and_the_rest_is_shown(
    tmp_path: Path, result_writer: Callable[..., Path], row_maker: Callable[..., dict[str, Any]]
) -> None:
    rows = [row_maker(i, "correct") for i in range(4)]
    good = result_writer(tmp_path, "run", "good", "suite", rows)
    with (good / "samples.jsonl").open("a") as out:
        out.write('{"item_id": "torn')
    (result_writer(tmp_path, "run", "old", "suite", rows) / "results.json").write_text('{"schema": 0}')
    (result_writer(tmp_path, "run", "torn", "suite", rows) / "results.json").write_text("{")
    page = write_board(tmp_path, tmp_path / "b.html").read_text(encoding="utf-8")
    assert "run/old/suite/results.json could not be read and is left out: schema is 0" in page
    assert "run/torn/suite/results.json could not be read" in page
    assert "run/good/suite/results.json: 1 of its sample rows could not be read" in page
    assert "100.0%" in page


def test_number_that_its_samples_do_not_bear_out_is_called_out(
    tmp_path: Path, result_writer: Callable[..., Path], row_maker: Callable[..., dict[str, Any]]
) -> None:
    rows = [row_maker(i, "correct" if i < 3 else "wrong") for i in range(4)]
    result_writer(tmp_path, "run", "c", "suite", rows, metrics={"accuracy": {"value": 0.9}})
    page = write_board(tmp_path, tmp_path / "b.html").read_text(encoding="utf-8")
    assert "it states an accuracy of 90.00%, its stored samples give 75.00%" in page


def test_nothing_to_show_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no results under .*: expected RUN/CHECKPOINT/SUITE") as raised:
        write_board(tmp_path, tmp_path / "b.html")
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=r"holds no metrics\.jsonl"):
        read_run_log(tmp_path)


def test_command_writes_page_markdown_and_csv(results_dir: Path, run_dir: Path, tmp_path: Path) -> None:
    app = Typer()
    app.command()(board_command)
    html, markdown, table = (tmp_path / "new" / name for name in ("b.html", "b.md", "b.csv"))
    arguments = ["--results", str(results_dir), "--out", str(html), "--run-dir", str(run_dir)]
    arguments += ["--markdown", str(markdown), "--csv", str(table), "--baseline", "dipo/step_0"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert "Difference to dipo/step\\_0" in markdown.read_text()
    assert len(table.read_text().splitlines()) == 1 + 2 * 2 * 3
    assert html.stat().st_size < 1_500_000


def test_a_markdown_file_is_not_filled_with_html(results_dir: Path, tmp_path: Path) -> None:
    app = Typer()
    app.command()(board_command)
    outcome = CliRunner().invoke(app, ["--results", str(results_dir), "--out", str(tmp_path / "b.md")])
    assert isinstance(outcome.exception, UserError)
    assert f"the table with --markdown {tmp_path / 'b.md'}" in str(outcome.exception)
    assert not (tmp_path / "b.md").exists()


def test_a_recipe_is_not_filled_with_html(results_dir: Path, tmp_path: Path) -> None:
    app = Typer()
    app.command()(board_command)
    (tmp_path / "mine.yaml").write_text("actor: {}")
    outcome = CliRunner().invoke(app, ["--results", str(results_dir), "--out", str(tmp_path / "mine.yaml")])
    assert isinstance(outcome.exception, UserError)
    assert (tmp_path / "mine.yaml").read_text() == "actor: {}"


def test_unknown_baseline_lists_the_known_ones(results_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint 'nope' in the results: choose one of dapo/step_0"):
        write_board(results_dir, tmp_path / "b.html", baseline="nope")


@pytest.mark.parametrize("option", ["--out", "--markdown", "--csv"])
def test_a_folder_is_no_file_to_write(results_dir: Path, tmp_path: Path, option: str) -> None:
    app = Typer()
    app.command()(board_command)
    words = {"--out": str(tmp_path / "board.html"), option: str(tmp_path)}
    with pytest.raises(UserError, match=f"{option} '.*': is a folder; name a file in it"):
        CliRunner().invoke(
            app, ["--results", str(results_dir), *(word for pair in words.items() for word in pair)],
            catch_exceptions=False,
        )  # fmt: skip
    assert not (tmp_path / "board.html").exists()


def test_a_folder_that_is_not_there_is_an_error_and_no_empty_page(tmp_path: Path) -> None:
    app = Typer()
    app.command()(board_command)
    (tmp_path / "run" / "results").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for arguments, words in (
        (["--results", str(tmp_path / "none")], ["no such folder", "dipo eval"]),
        (
            ["--results", str(tmp_path / "none"), "--run-dir", str(tmp_path / "run")],
            [str(tmp_path / "run" / "results")],
        ),
        (["--results", str(tmp_path / "file")], ["is a file"]),
    ):
        outcome = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "b.html")])
        assert isinstance(outcome.exception, UserError)
        for word in words:
            assert word in str(outcome.exception)
        assert not (tmp_path / "b.html").exists()
