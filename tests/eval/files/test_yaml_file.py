"""A user's YAML: hostile or broken, it costs little and is refused in one line with its place, wherever it is read."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dipo_eval.board.data.runlog import read_run_log
from dipo_eval.errors import UserError
from dipo_eval.files.yaml_file import MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse_value, read_yaml
from dipo_eval.gate.config import read_config
from dipo_eval.suites.user import load_user_suite
from dipo_openrlhf.recipe.files import merged_settings
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides, read_settings, stored_settings

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join(['*' + before] * 10)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
# (content, the line of the mistake, words of the message)
HOSTILE = {
    "alias bomb": (BOMB.encode(), "", "aliases stand for more than"),
    "merge bomb": (MERGES.encode(), "", "aliases stand for more than"),
    "chain of aliases": (
        b"k0: &k0 [1]\n" + b"".join(b"k%d: &k%d [[*k%d]]\n" % (i, i, i - 1) for i in range(1, 99)), "", "levels",
    ),
    "itself": (b"a: 1\nb: &b [*b]\n", ":2", "what it is in"),
    "itself in a mapping": (b"a: &a {b: *a}\n", ":1", "what it is in"),
    "merged with itself": (b"a: &a\n  <<: *a\n", "", "what it is in"),
    "nested": (b"a: " + b"[" * 100_000, ":1", "nested deeper"),
    "nested blocks": (b"- " * 5_000, ":1", "nested deeper"),
    "nested and closed": (b"a: " + b"{a: " * 500 + b"1" + b"}" * 500, ":1", "nested deeper"),
    "nested questions": (b"? " * 5_000, ":1", "nested deeper"),
    "a Python object": (b"a: 1\nb: !!python/object/apply:os.system [ls]\n", ":2", "tag !!python"),
    "a Python name": (b"!!python/name:os.system\n", ":1", "tag !!python"),
    "a tag of one's own": (b"a: !mine 1\n", ":1", "tag !mine"),
    "binary": (b"a: !!binary aGVsbG8=\n", ":1", "tag !!binary"),
    "a set": (b"a: !!set {b, c}\n", ":1", "tag !!set"),
    "not UTF-8": (b"a: 1\nb: caf\xe9\n", ":2", "not UTF-8 (byte 11)"),
    "UTF-16": ("a: 1\n".encode("utf-16"), ":1", "not UTF-8"),
    "a NUL": (b"a: 1\nb: \0\n", ":2", "U+0000"),
    "a control sign": (b"a: \x1b[31m\n", ":1", "U+001B"),
    "a key twice": (b"a: 1\nb: 2\na: 3\n", ":3", "a is set twice (first on line 1)"),
    "a key twice inside": (b"s:\n  a: 1\n  a: 3\n", ":3", "a is set twice (first on line 2)"),
    "a number as a key": (b"a: 1\n5: 2\n", ":2", "key"),
    "a list as a key": (b"[a, b]: 2\n", ":1", "key"),
    "a mapping as a key": (b"{a: b}: 2\n", ":1", "key"),
    "too large": (b"a: " + b"x" * MAX_BYTES, "", "larger than"),
    "too many values": (b"a: [" + b"1," * (MAX_VALUES + 1) + b"]", ":1", "more than"),
    "a number of many digits": (b"a: 1\nb: " + b"9" * 5_000 + b"\n", ":2", "cannot be read"),
    "no date": (b"a: 2026-99-99\n", ":1", "'2026-99-99' cannot be read"),
    "no whole number": (b"a: !!int ''\n", ":1", "cannot be read"),
    "no boolean": (b"a: !!bool maybe\n", ":1", "cannot be read"),
    "no merge": (b"x: [{<<: 5}]\n", ":1", "merging"),
    "two documents": (b"a: 1\n---\nb: 2\n", ":2", "document"),
    "no such alias": (b"a: *nothing\n", ":1", "alias"),
    "a value of no kind": (b"a: =\n", ":1", ""),
    "a tab": (b"a:\n\t- b\n", ":2", "not valid YAML"),
    "not closed": (b"a: [1,\n  'x\n", ":3", "not valid YAML"),
}  # fmt: skip
SECONDS = 10.0
"""Far more than any of these takes (1.5 s), far less than what a bomb would."""


def _recipe(path: Path) -> Any:
    return merged_settings(str(path))


def _run(path: Path) -> Any:
    run = path.with_name("run")
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 1}\n')
    path.rename(run / "recipe.yaml")
    read = read_run_log(run)
    if read.problems:
        raise UserError(read.problems[0].replace("run/recipe.yaml could not be read: recipe.yaml", str(path)))
    return read


READERS: dict[str, Callable[[Path], Any]] = {
    "read_yaml": read_yaml,
    "recipe": _recipe,
    "suite": load_user_suite,
    "gate": read_config,
    "a run's recipe.yaml": stored_settings,
    "the board": _run,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_one_line(tmp_path: Path, name: str, reader: str):
    content, line, words = HOSTILE[name]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(UserError) as caught:
        READERS[reader](path)
    assert time.process_time() - started < SECONDS
    message = str(caught.value)
    assert message.startswith(f"{path}{line}")
    assert words in message
    assert len(message) < 600
    assert message.isprintable()


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_yaml(path)


@pytest.mark.parametrize(
    "value", ["[" * 10_000, "&a [*a]", "!!python/name:os.system", "\0", "9" * 5_000, "'", "a: b: c"]
)
def test_a_hostile_option_is_one_line(value: str):
    """What is no YAML is text, and a number has none."""
    with pytest.raises(UserError) as caught:
        load_recipe("math_qwen3_4b", parse_overrides(["--actor.adam.lr", value]))
    assert str(caught.value).startswith("--actor.adam.lr")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_what_is_fine_stays_so(tmp_path: Path):
    path = tmp_path / "fine.yaml"
    path.write_text(
        "\ufeffbase: &base {lr: 1.0e-6, on: yes, list: [1, '2', null]}\n"
        "more: &more {x: 1}\n"
        "mine:\n  <<: *base\n  lr: 2\n"
        "both: {<<: [*base, *more], x: 3}\n"
        "twice:\n  <<: *base\n  <<: *more\n"
        "day: 2026-01-02\ntext: |\n  a\n  b\nquoted: !!str 5\n"
    )
    base = {"lr": 1e-6, True: True, "list": [1, "2", None]}
    with pytest.raises(UserError, match=":1: a key must be"):
        read_yaml(path)  # `on` is a boolean in YAML 1.1
    path.write_text(path.read_text().replace("on: yes", "flag: yes"))
    base = {"lr": 1e-6, "flag": True, "list": [1, "2", None]}
    found = read_yaml(path)
    assert found == yaml.safe_load(path.read_text())
    assert found["mine"] == {**base, "lr": 2}
    assert found["both"] == {**base, "x": 3}
    assert found["day"] == datetime.date(2026, 1, 2)


def test_recipes_know_true_and_false_alone(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("a: {on: off, off: true}\nb.yes: no\nc: [no, false]\n")
    assert {key: one.value for key, one in read_settings(path).items()} == {
        "a.on": "off", "a.off": True, "b.yes": "no", "c": ["no", False],
    }  # fmt: skip
    assert parse_value("off", "--x") == "off"
    assert parse_value("[1, false]", "--x") == [1, False]


def test_limits_leave_room(tmp_path: Path):
    path = tmp_path / "deep.yaml"
    path.write_text("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert read_yaml(path) is not None
    path.write_text("")
    assert read_yaml(path) is None


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_PLAIN)
def test_what_was_written_is_read_back(value: Any):
    text = yaml.safe_dump(value, allow_unicode=True)
    loaded = yaml.safe_load(text)
    assert _read_text(text) == loaded


@given(st.text(alphabet="&*a: ,-[]{}<?|>!%@`'\"#\n\t\0é9.", max_size=60))
def test_any_text_is_read_or_refused(text: str):
    try:
        refused = ""
        _read_text(text)
    except UserError as error:
        refused = str(error)
    assert not refused or refused.isprintable()


def _read_text(text: str) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_text(text, encoding="utf-8")
        return read_yaml(path)
