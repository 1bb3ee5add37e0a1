"""`dipo gate` on files that nobody should trust: 1 is a regression and nothing else; what cannot be read is 2, named."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dipo_openrlhf import cli

_STORED = runpy.run_path(str(Path(__file__).parents[1] / "stored_results.py"))
row, rows_of, result_of, store, lines, put = (
    _STORED[name] for name in ("row", "rows_of", "result_of", "store", "lines", "put")
)
_MUTATIONS = runpy.run_path(str(Path(__file__).parents[1] / "mutations.py"))
mutated, dumped = _MUTATIONS["mutated"], _MUTATIONS["dumped"]
N = 60
ROWS = rows_of({f"i{i:02}": [float(i % 2), float(i % 3 == 0)] for i in range(N)})
DEEP = "[" * 200_000 + "]" * 200_000


def dipo(*arguments: object) -> tuple[int, str]:
    """Exit status and output of the whole command, as a shell sees them: an exception that escapes is status 1."""
    out, before = io.StringIO(), sys.argv
    sys.argv = ["dipo", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            cli.main()
        return 0, out.getvalue()
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    except Exception as error:
        return 1, f"{out.getvalue()}\nTraceback: {type(error).__name__}: {error}"
    finally:
        sys.argv = before


def gate(results: Path, *arguments: object) -> tuple[int, str]:
    return dipo("gate", "--results", results, "--candidate", "new", "--baseline", "old", *arguments)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A candidate and a baseline with the same rows: they pass."""
    for checkpoint in ("old", "new"):
        store(tmp_path / "results", checkpoint, ROWS)
    assert gate(tmp_path / "results", "--margin", "0.9")[0] == 0
    return tmp_path / "results"


def changed(index: int, **fields: Any) -> bytes:
    rows = copy.deepcopy(ROWS)
    rows[index].update(fields)
    return bytes(lines(rows))


def without(index: int, key: str) -> bytes:
    rows = copy.deepcopy(ROWS)
    del rows[index][key]
    return bytes(lines(rows))


BAD_SAMPLES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "samples.jsonl: holds no samples"),
    "row without status": (without(3, "status"), "samples.jsonl:4: "),
    "row without item_id": (without(3, "item_id"), "samples.jsonl:4: "),
    "row without sample": (without(3, "sample"), "samples.jsonl:4: "),
    "row is a list": (lines([*ROWS[:4], [1], *ROWS[4:]]), "samples.jsonl:5: "),
    "row is null": (lines([*ROWS[:4], None, *ROWS[4:]]), "samples.jsonl:5: "),
    "unknown status": (changed(3, status="fine"), "samples.jsonl:4: status 'fine'"),
    "status is a number": (changed(3, status=1), "samples.jsonl:4: status 1"),
    "status is a list": (changed(3, status=["correct"]), "samples.jsonl:4: status ["),
    "item_id is a number": (changed(3, item_id=7), "samples.jsonl:4: item_id 7"),
    "item_id is empty": (changed(3, item_id=""), "samples.jsonl:4: item_id ''"),
    "sample is a text": (changed(3, sample="0"), "samples.jsonl:4: sample '0'"),
    "sample is negative": (changed(3, sample=-1), "samples.jsonl:4: sample -1"),
    "sample is huge": (changed(3, sample=10**400), "samples.jsonl:4: sample 1000"),
    "sample is true": (changed(3, sample=True), "samples.jsonl:4: sample True"),
    "extracted is a number": (changed(3, extracted=4), "samples.jsonl:4: extracted 4"),
    "truncated is a text": (changed(3, truncated="no"), "samples.jsonl:4: truncated 'no'"),
    "duplicate": (lines([*ROWS, ROWS[3]]), f"samples.jsonl:{2 * N + 1}: item 'i01' has sample 1 twice"),
    "fewer samples of one item": (lines(ROWS[:-1]), "samples.jsonl: has 119 rows"),
    "uneven": (lines([*ROWS[:-1], row("i00", sample=2)]), "samples.jsonl: item 'i00' has 3 samples"),
    "one item only": (lines([row("i00"), row("i00", sample=1)]), "samples.jsonl: has 2 rows"),
    "NaN": (changed(3, score=float("nan")), "samples.jsonl:4: "),
    "infinity": (changed(3, score=float("-inf")), "samples.jsonl:4: "),
    "5,000 digits": (
        lines(ROWS).replace(b'"sample": 1', b'"sample": ' + b"1" * 5000, 1),
        "samples.jsonl:2: ",
    ),
    "deep": (lines(ROWS[:2]) + DEEP.encode() + b"\n", "samples.jsonl:3: "),
    "not UTF-8": (lines(ROWS).replace(b'"4"', b'"\xff"', 1), "samples.jsonl:1: "),
    "UTF-16": (lines(ROWS).decode().encode("utf-16"), "samples.jsonl:1: "),
    "no JSON": (lines(ROWS[:5]) + b"{nope\n", "samples.jsonl:6: "),
    "no line end": (lines(ROWS[:5]) + b'{"item_id": "x"', "samples.jsonl:6: "),
    "blank line": (lines(ROWS[:5]) + b"\n" + lines(ROWS[5:]), "samples.jsonl:6: "),
}


@pytest.mark.parametrize("damage", BAD_SAMPLES)
@pytest.mark.parametrize("checkpoint", ["new", "old"])
def test_bad_samples_are_not_judged_and_named_by_row(results: Path, damage: str, checkpoint: str) -> None:
    samples, words = BAD_SAMPLES[damage]
    put(results / "run" / checkpoint / "gsm8k", samples, result_of(ROWS, "run", checkpoint, "gsm8k"))
    status, output = gate(results, "--margin", "0.9")
    assert status == 2, output
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("not judged: ")]
    assert f"run/{checkpoint}/gsm8k/{words}" in line


def result_with(**fields: Any) -> Any:
    return {**result_of(ROWS, "run", "new", "gsm8k"), **fields}


def result_lacking(key: str) -> Any:
    result = result_of(ROWS, "run", "new", "gsm8k")
    del result[key]
    return result


BAD_RESULTS: dict[str, Any] = {
    **{f"no {key}": result_lacking(key) for key in ("settings", "hashes", "metrics", "n_items", "model", "schema")},
    "settings is a list": result_with(settings=[1]),
    "hashes is a text": result_with(hashes="x"),
    "hashes is empty": result_with(hashes={}),
    "a hash is a list": result_with(hashes={"items_sha256": ["i"], "suite_hash": "g"}),
    "metrics is a list": result_with(metrics=[1]),
    "a metric is NaN": result_with(metrics={"accuracy": {"value": float("nan")}}),
    "a metric is a text": result_with(metrics={"accuracy": "high"}),
    "n_items is a text": result_with(n_items="60"),
    "n_items is another": result_with(n_items=59),
    "n_samples_per_item is another": result_with(n_samples_per_item=3),
    "counts is null": result_with(counts=None),
    "no accuracy": result_with(metrics={"pass@8": result_of(ROWS, "run", "new", "gsm8k")["metrics"]["accuracy"]}),
    "a metric without interval": result_with(metrics={"accuracy": {"value": 0.5, "n": 1, "k": 1}}),
    "schema 2": result_with(schema=2),
    "a setting is NaN": result_with(settings={"temperature": float("nan")}),
    "a list": [1],
    "null": None,
    "a number": 7,
}  # fmt: skip


@pytest.mark.parametrize("damage", BAD_RESULTS)
def test_a_bad_result_is_not_judged_and_named(results: Path, damage: str) -> None:
    put(results / "run" / "new" / "gsm8k", lines(ROWS), BAD_RESULTS[damage])
    not_judged(results, "run/new/gsm8k/")


def not_judged(results: Path, words: str) -> None:
    status, output = gate(results, "--margin", "0.9")
    assert status == 2, output
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("not judged: ")]
    assert words in line


def _deep_result(folder: Path) -> None:
    (folder / "results.json").write_text(f'{{"schema": 1, "settings": {DEEP}}}')


def _digits(folder: Path) -> None:
    (folder / "results.json").write_text('{"schema": 1, "n_items": ' + "1" * 5000 + "}")


def _latin(folder: Path) -> None:
    (folder / "results.json").write_bytes(b'{"run": "\xff"}')


def _folder_as(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def _cut_zst(folder: Path) -> None:
    packed = zstandard.compress((folder / "samples.jsonl").read_bytes())
    (folder / "samples.jsonl").unlink()
    (folder / "samples.jsonl.zst").write_bytes(packed[:-9])


def _no_samples(folder: Path) -> None:
    (folder / "samples.jsonl").unlink()


def _other_samples(folder: Path) -> None:
    with (folder / "samples.jsonl").open("ab") as file:
        file.write(lines([row("late")]))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "deep result": _deep_result, "5,000 digits": _digits, "not UTF-8": _latin,
    "results.json is a folder": _folder_as("results.json"), "samples are a folder": _folder_as("samples.jsonl"),
    "cut zst": _cut_zst, "no samples": _no_samples, "other samples": _other_samples,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_that_are_none_are_not_judged(results: Path, damage: str) -> None:
    DAMAGES[damage](results / "run" / "new" / "gsm8k")
    not_judged(results, "run/new/gsm8k/")


@contextlib.contextmanager
def as_nobody(*readable: Path) -> Iterator[None]:
    """Without root's rights, which no file's mode holds back."""
    if os.geteuid() != 0:
        yield
        return
    for path in readable:
        path.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["results.json", "samples.jsonl", "."])
def test_files_that_may_not_be_read_are_not_judged(results: Path, name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        copied = Path(shutil.copytree(results, Path(place) / "results"))
        forbidden = copied / "run" / "new" / "gsm8k" / name
        forbidden.chmod(0)
        with as_nobody(Path(place)):
            not_judged(copied, "run/new/gsm8k/")
        forbidden.chmod(0o755)


def test_an_id_of_lone_surrogates_harms_nothing(results: Path, tmp_path: Path) -> None:
    rows = [{**one, "item_id": one["item_id"] + "\ud800"} for one in ROWS]
    for checkpoint in ("old", "new"):
        store(results, checkpoint, rows)
    status, output = gate(results, "--margin", "0.9", "--json", tmp_path / "g.json")
    assert status == 0, output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"margin: .nan", "margin"), (b"margin: .inf", "margin"), (b"confidence: .nan", "confidence"),
        (b"suites: {gsm8k: {margin: .nan}}", "suites.gsm8k.margin"), (b"max_undecided: .nan", "max_undecided"),
        (b"[1, 2]", "gate.yaml"), (b"\xff\xfe", "gate.yaml"), (b"suites: {../up: {}}", "../up"),
        (b"[" * 5000, "gate.yaml"), (b"margin: \x00", "gate.yaml"), (b"may_differ: temperature", "may_differ"),
        (b"may_differ: [items_sha256]", "may_differ"), (b"may_differ: [suite_hash]", "may_differ"),
    ],
)  # fmt: skip
def test_a_bad_config_is_one_line(results: Path, tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "gate.yaml").write_bytes(text)
    status, output = gate(results, "--config", tmp_path / "gate.yaml")
    assert (status, len(output.splitlines())) == (2, 1), output
    assert words in output


@pytest.mark.parametrize("option", ["--junit", "--json", "--markdown"])
@pytest.mark.parametrize("kind", ["a folder", "below a file"])
def test_a_report_that_cannot_be_written_is_one_line_and_2(
    results: Path, tmp_path: Path, option: str, kind: str
) -> None:
    (tmp_path / "file").write_text("")
    where = tmp_path if kind == "a folder" else tmp_path / "file" / "gate"
    status, output = gate(results, "--margin", "0.9", option, where)
    assert status == 2, output
    assert str(where) in output.splitlines()[-1]
    assert "Traceback" not in output


def test_a_report_makes_its_folder(results: Path, tmp_path: Path) -> None:
    assert gate(results, "--margin", "0.9", "--junit", tmp_path / "a" / "b" / "g.xml")[0] == 0
    assert (tmp_path / "a" / "b" / "g.xml").is_file()


def test_a_results_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    status, output = gate(tmp_path / "f")
    assert (status, len(output.splitlines())) == (2, 1)
    assert f"{tmp_path / 'f'}: is a file" in output


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    result=mutated(result_of(ROWS[:8], "run", "new", "gsm8k")) | st.just(None),
    rows=mutated(ROWS[:8]) | st.just(ROWS[:8]),
)
def test_whatever_the_files_hold_1_is_a_regression_and_nothing_else(
    tmp_path: Path, result: Any, rows: Any
) -> None:
    results = tmp_path / "fuzz"
    store(results, "old", ROWS[:8])
    folder = results / "run" / "new" / "gsm8k"
    body = "".join(dumped(one) + "\n" for one in rows) if isinstance(rows, list) else dumped(rows)
    put(folder, body.encode("utf-8", "surrogatepass"), result_of(ROWS[:8], "run", "new", "gsm8k"))
    if result is not None:
        whole = json.loads((folder / "results.json").read_text())
        if isinstance(result, dict) and isinstance(result.get("hashes"), dict):
            result["hashes"]["samples_sha256"] = whole["hashes"]["samples_sha256"]
        (folder / "results.json").write_text(dumped(result))
    status, output = gate(results)
    assert status in (0, 1, 2, 3), output
    assert "Traceback" not in output
    assert (status == 1) == ("gate: regression" in output), output
