"""Mistakes of a user of `dipo gate`: one line names what, where and what to do, and doing that works."""

from __future__ import annotations

import os
import runpy
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from dipo_eval.engines.base import Sampling
from dipo_eval.engines.openai import Served
from dipo_eval.engines.prompts import ServerRenderer
from dipo_eval.errors import UserError
from dipo_eval.gate.config import read_config
from dipo_eval.results.comparable import SETTINGS
from dipo_eval.runner.task import Options, make_header
from dipo_eval.subject.checkpoints import Checkpoint
from dipo_eval.subject.identity import Identity
from dipo_eval.suites import Item, Suite
from dipo_openrlhf.cli import app

_STORED = runpy.run_path(str(Path(__file__).parents[1] / "stored_results.py"))
ROWS = _STORED["rows_of"]({f"i{i:02}": [float(i % 2)] for i in range(400)})


def store(results: Path, checkpoint: str, suite: str = "trains", **more: Any) -> None:
    _STORED["store"](results, checkpoint, ROWS, suite, **more)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """r/run/old and r/run/new, both with the suite trains; they pass. The working folder is r's."""
    monkeypatch.chdir(tmp_path)
    store(Path("r"), "old")
    store(Path("r"), "new")
    return Path("r")


def gate(*arguments: object, results: object = "r", baseline: str = "old") -> tuple[int, str]:
    """Exit status, and what is printed or what the error says."""
    command = ["gate", "--results", results, "--candidate", "new", "--baseline", baseline, *arguments]
    done = CliRunner().invoke(app, [str(word) for word in command])
    if isinstance(done.exception, UserError):
        return 2, str(done.exception)
    return done.exit_code, done.output


def refused(*arguments: object, **more: Any) -> str:
    """The one line of a mistake."""
    status, words = gate(*arguments, **more)
    assert status == 2, words
    assert len(words.splitlines()) == 1, words
    return words


def configured(text: str) -> Path:
    Path("gate.yaml").write_text(text)
    return Path("gate.yaml")


def test_what_is_right_passes(results: Path) -> None:
    status, words = gate("--margin", "0.05")
    assert status == 0, words
    assert "note:" not in words


@pytest.mark.parametrize(
    ("given", "names"),
    [("r/run", ("new", "old")), ("r/run", ("trains", "old")), ("r/run", ("new/trains", "old/trains")),
     ("r/run/new", ("new", "old")), ("r/run/new/trains", ("new", "old")), (".", ("new", "old"))],
)  # fmt: skip
def test_a_folder_of_another_level_is_told_and_the_advice_works(
    results: Path, given: str, names: tuple[str, str]
) -> None:
    command = ["gate", "--results", given, "--candidate", names[0], "--baseline", names[1]]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, UserError)
    assert str(error).startswith(f"{given}: ")
    advised = str(error).rsplit(maxsplit=1)[-1]
    assert str(error).endswith(": use --results r")
    assert gate("--margin", "0.05", results=advised)[0] == 0


def test_the_folder_above_is_told_from_inside(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("r/run")
    advised = refused(results=".").rsplit(maxsplit=1)[-1]
    assert advised == ".."
    assert gate("--margin", "0.05", results=advised)[0] == 0


def test_the_folder_above_is_told_over_a_link(results: Path) -> None:
    Path("link").symlink_to("r/run")
    advised = refused(results="link").rsplit(maxsplit=1)[-1]
    assert Path(advised).samefile("r")


def test_the_baseline_s_folder_is_told_by_its_own_option(results: Path) -> None:
    shutil.copytree("r", "kept")
    assert (
        refused("--baseline-results", "kept/run")
        == "kept/run: is a run's folder: use --baseline-results kept"
    )


def test_no_suite_on_either_side_is_reported(results: Path) -> None:
    for checkpoint in ("new", "old"):
        shutil.rmtree(results / "run" / checkpoint / "trains")
    words = refused()
    assert "r/run/new and r/run/old: no suite in either" in words


def test_suites_that_only_one_side_has_say_what_the_other_has(results: Path) -> None:
    (results / "run" / "old" / "trains").rename(results / "run" / "old" / "gsm8k")
    status, words = gate()
    assert status == 2
    assert (
        "not judged: gsm8k: the candidate run/new has no such suite; it has: trains: evaluate it on gsm8k"
        in words
    )
    assert "not judged: trains: the baseline run/old has no such suite; it has: gsm8k" in words
    assert "gate: not judged (exit status 2)" in words
    assert "infrastructure" not in words


@pytest.mark.parametrize(
    ("name", "near"), [("engin", "engine"), ("max_new_token", "max_new_tokens"), ("reasonin", "reasoning")]
)
def test_an_unknown_setting_that_may_differ_is_refused(results: Path, name: str, near: str) -> None:
    store(results, "new", settings={"reasoning": 1})
    words = refused("--config", configured(f"margin: 0.05\nmay_differ:\n- dtype\n- {name}\n"))
    assert words.startswith(f"gate.yaml:4: may_differ.1: unknown setting {name!r}: did you mean {near!r}?")


def test_a_setting_of_this_version_or_of_either_side_may_differ(results: Path) -> None:
    store(results, "new", settings={"reasoning": 1})
    config = configured("margin: 0.05\nmay_differ: [suite_stop, tokenizer_hash, reasoning]\n")
    status, words = gate("--config", config)
    assert status == 0, words


def test_the_settings_of_this_version_are_those_that_are_written() -> None:
    class Renderer(ServerRenderer):
        form, template_hash = "chat", "t"
        tokenizer: ClassVar[dict[str, Any]] = {"end_tokens": [], "tokenizer_hash": "h"}

    options = Options(Path(), "run", "hf", Sampling(0.0, 1.0), 1, None, 1, None, "auto", 0, False)
    identity = Identity("w", "g", "openai", "1", None, "auto", Served("u", {}, {}))
    items = [Item("i", [], "4", {})]
    suite = Suite("s", "", "", "accuracy", lambda *_: items, never, stop=("x",))
    header = make_header(Checkpoint(Path("m"), "m"), identity, suite, items, Renderer(), options)
    assert header["settings"].keys() == SETTINGS


def never(*_: Any) -> Any:
    raise AssertionError("nothing is graded here")


@pytest.mark.parametrize(
    ("name", "hint"), [("trians", "did you mean 'trains'?"), ("zzz", "choose from trains")]
)
def test_a_suite_that_neither_side_has_is_a_mistake_of_the_yaml(results: Path, name: str, hint: str) -> None:
    words = refused("--config", configured(f"suites:\n  trains: {{}}\n  {name}: {{margin: 0.02}}\n"))
    assert words.startswith(
        f"gate.yaml:3: suites.{name}: neither side has it: unknown suite {name!r}: {hint}"
    )


def test_a_result_is_not_compared_with_itself(results: Path) -> None:
    Path("link").symlink_to("r")
    for arguments in ({"baseline": "new"}, {"baseline": "run/new"}):
        assert "the same result, r/run/new" in refused(**arguments)
    assert "the same result" in refused("--baseline-results", "link", baseline="new")


def test_the_same_weights_in_another_folder_are_allowed_and_noted(results: Path) -> None:
    same = {"path": "m", "weights_hash": "w-old"}
    store(results, "new", model=same)
    status, words = gate("--margin", "0.05")
    assert status == 0, words
    assert "note: candidate and baseline have the same weights" in words.splitlines()
    for checkpoint in ("new", "old"):  # a server shows none
        store(results, checkpoint, model=same | {"weights": "unknown"})
    assert "note:" not in gate("--margin", "0.05")[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("confidence: 0.9\nmargn: 0.1", "2: margn: unknown key 'margn': did you mean 'margin'?"),
        ("suites:\n  a:\n    margni: 0.1", "3: suites.a.margni: unknown key 'margni': did you mean 'margin'?"),
        ("margin: 2", "1: margin: 2: must lie between 0 and 1; 0.01 is one point"),
        ("margin: 1%", "1: margin: '1%': must lie between 0 and 1; 0.01 is one point"),
        ("suites: {a: {margin: x}}", "1: suites.a.margin: 'x': must lie between 0 and 1"),
        ("confidence: 95", "1: confidence: 95: must lie between 0.5 and 1"),
        ("max_undecided: -1", "1: max_undecided: -1: must lie between 0 and 1"),
        ("- 1", " [1]: must hold keys with values, such as margin: 0.01"),
        ("margin", " 'margin': must hold keys with values"),
        ("\nsuites: [a]", "2: suites: ['a']: must give each suite its limits, such as"),
        ("suites:\n  a: 0.02", "2: suites.a: 0.02: must hold the suite's limits, such as {margin: 0.02}"),
        ("suites:\n  a:", "2: suites.a: None: must hold the suite's limits"),
        ("may_differ: engine", "1: may_differ: 'engine': must be a list of settings"),
        ("may_differ:\n- dtype\n- 3", "3: may_differ.1: 3: must be a list of settings"),
        ("may_differ:\n- suite_hash", "2: may_differ.0: other items or another grader"),
        ("suites:\n  ../up: {}", "1: suites: '../up' cannot be the name of a suite"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_yaml_names_line_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        read_config(configured(text))
    assert str(caught.value).startswith(f"gate.yaml:{words}")
    assert "Gate" not in str(caught.value)
    assert "SuiteLimits" not in str(caught.value)


@pytest.mark.parametrize("option", ["--json", "--markdown", "--junit"])
@pytest.mark.parametrize("target", ["r", "file/gate", "closed/gate"])
def test_a_report_that_cannot_be_written_is_told_before_anything_is_judged(
    results: Path, option: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").write_text("")
    Path("closed").mkdir()
    # The tests' user may be root, whom no mode holds back: as on a file system that is mounted to be read only.
    allowed = os.access
    monkeypatch.setattr("os.access", lambda path, *a, **k: str(path) != "closed" and allowed(path, *a, **k))
    monkeypatch.setattr("os.supports_effective_ids", set())
    words = refused("--margin", "0.05", option, target)
    assert words.startswith(f"{option} {target}: ")


@pytest.mark.parametrize("margin", ["1%", "0,01", "nan", "inf", "2", "0", "-0.1", "", "x" * 500])
def test_a_margin_that_is_none_is_one_line(results: Path, margin: str) -> None:
    words = refused(f"--margin={margin}")
    assert words.startswith(f"--margin {margin[:50]}")
    assert words.endswith("must lie between 0 and 1; 0.01 is one point")
