"""Which results may be compared: every setting must agree, or be named as allowed to differ, and is then shown."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dipo_eval.results.comparable import differences, made_with, refusal
from dipo_openrlhf.cli import app

STORED = runpy.run_path(str(Path(__file__).parents[1] / "stored_results.py"))
SETTINGS, store = STORED["SETTINGS"], STORED["store"]
ROWS = STORED["rows_of"]({f"i{i}": [float(i % 2)] for i in range(600)})
OTHERS: dict[str, Any] = {
    "engine": "hf", "temperature": 1.0, "top_p": 0.9, "max_new_tokens": 65, "max_model_len": 4096, "dtype": "bfloat16",
    "stop": ["\n"], "thinking": True, "prompt_form": "completion", "chat_template_hash": "u", "suite_stop": ["Q:"],
    "base_url": "http://127.0.0.1:1/v1", "a_setting_of_a_later_version": {"x": [1, None]},
}  # fmt: skip


def gate(results: Path, *arguments: str) -> tuple[int, str]:
    command = [
        "gate",
        "--results",
        str(results),
        "--candidate",
        "new",
        "--baseline",
        "old",
        "--margin",
        "0.1",
    ]
    done = CliRunner().invoke(app, [*command, *arguments])
    return done.exit_code, done.output


def as_shown(value: Any) -> str:
    """JSON, with a whole number as one whether it was written 1 or 1.0."""
    return json.dumps(
        int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
    )


def test_every_setting_that_a_result_states_is_here() -> None:
    assert SETTINGS.keys() <= OTHERS.keys() | {"seed", "n_samples", "limit"}


@pytest.mark.parametrize("name", OTHERS)
def test_a_setting_that_differs_is_refused_unless_it_is_named_and_then_it_is_shown(
    tmp_path: Path, name: str
) -> None:
    store(tmp_path, "old", ROWS)
    store(tmp_path, "new", ROWS, settings={name: OTHERS[name]})
    status, output = gate(tmp_path)
    assert status == 2
    theirs = as_shown(SETTINGS[name]) if name in SETTINGS else "not stated"
    words = f"{name} is {as_shown(OTHERS[name])} for the candidate and {theirs} for the baseline"
    (line,) = [line for line in output.splitlines() if line.startswith("not judged: gsm8k: ")]
    advice = "evaluate them alike" if name in SETTINGS else "evaluate both again with this version"
    assert line == (
        f"not judged: gsm8k: {words}: {advice}, or name what may differ under may_differ in the gate's YAML (--config)"
    )
    (tmp_path / "gate.yaml").write_text(json.dumps({"may_differ": [name, "tokenizer_hash"]}))
    files = {kind: tmp_path / f"gate.{kind}" for kind in ("xml", "md", "json")}
    status, output = gate(
        tmp_path, "--config", str(tmp_path / "gate.yaml"), "--junit", str(files["xml"]), "--markdown",
        str(files["md"]), "--json", str(files["json"]),
    )  # fmt: skip
    assert status == 0, output
    assert f"not alike: gsm8k: {words}" in output.splitlines()
    assert words in files["md"].read_text()
    assert words in (ElementTree.fromstring(files["xml"].read_text()).findtext("testcase/system-out") or "")
    (shown,) = json.loads(files["json"].read_text())["suites"][0]["differing"]
    assert (shown["name"], shown["ours"]) == (name, as_shown(OTHERS[name]))


def test_what_only_one_side_states_is_a_difference(tmp_path: Path) -> None:
    old = STORED["result_of"](ROWS, "run", "old", "gsm8k")
    del old["settings"]["thinking"]
    STORED["put"](tmp_path / "run" / "old" / "gsm8k", STORED["lines"](ROWS), old)
    store(tmp_path, "new", ROWS)
    status, output = gate(tmp_path)
    assert status == 2
    assert "thinking is null for the candidate and not stated for the baseline: evaluate both again" in output


@pytest.mark.parametrize(
    ("hashes", "words"),
    [
        ({"items_sha256": "x"}, "they were given other items"),
        ({"suite_hash": "x"}, "they were graded by other versions of the grader"),
        ({"tokenizer": "x"}, 'tokenizer is "x" for the candidate and not stated for the baseline'),
    ],
)
def test_hashes_must_agree(tmp_path: Path, hashes: dict[str, str], words: str) -> None:
    store(tmp_path, "old", ROWS)
    store(tmp_path, "new", ROWS, hashes=hashes)
    status, output = gate(tmp_path)
    assert status == 2
    assert words in output


def test_seed_samples_limit_and_responses_are_free_and_versions_are_shown(tmp_path: Path) -> None:
    rows = STORED["rows_of"]({f"i{i}": [float(i % 2)] * 3 for i in range(600)})
    store(tmp_path, "old", ROWS)
    more = {
        "settings": {"seed": 5, "n_samples": 3, "limit": 600},
        "versions": {"vllm": "0.30.0", "python": "3.11.7"},
    }
    store(tmp_path, "new", rows, **more)
    status, output = gate(tmp_path)
    assert status == 0, output
    assert 'not alike: gsm8k: vllm is "0.30.0" for the candidate and "0.29.0" for the baseline' in output


values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
tables = st.dictionaries(st.sampled_from(["a", "b", "c", "seed", "limit", "n_samples"]), values)


@given(tables, tables)
def test_two_are_comparable_where_all_but_the_free_is_equal(
    ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    free = {"seed", "limit", "n_samples"}
    mine, other = made_with({"settings": ours}), made_with({"settings": theirs})
    found = differences(mine, other)
    assert {one.name for one in found} == {
        name
        for name in (ours.keys() | theirs.keys()) - free
        if (name in ours) != (name in theirs) or as_shown(ours[name]) != as_shown(theirs[name])
    }
    assert (refusal(found) == "") == (mine == other)
    assert refusal(found, [one.name for one in found]) == ""
    assert [one.name for one in differences(other, mine)] == [one.name for one in found]


def test_a_number_is_the_same_however_it_is_written() -> None:
    assert made_with({"settings": {"temperature": 1}}) == made_with({"settings": {"temperature": 1.0}})
    assert made_with({"settings": {"thinking": True}}) != made_with({"settings": {"thinking": 1}})
