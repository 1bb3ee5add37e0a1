"""What is written to disk: complete or absent, recomputable, and safe against hostile names and strings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.results.store import (
    iter_results,
    read_result,
    read_samples,
    safe_name,
    suite_folder,
    write_suite,
)
from dipo_eval.runner.metrics import counts_from_samples, metrics_from_samples


def make_row(item_id: str, sample: int = 0, status: str = "correct", **more: Any) -> dict[str, Any]:
    return {
        "item_id": item_id,
        "sample": sample,
        "status": status,
        "extracted": "18",
        "truncated": False,
        "response": "so \\boxed{18}",
        **more,
    }


def make_result(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "run": "r",
        "checkpoint": "global_step1",
        "step": 1,
        "suite": "gsm8k",
        "model": {"path": "m", "weights_hash": "w"},
        "settings": {"temperature": 0.0},
        "hashes": {"items_sha256": "i", "suite_hash": "s"},
        "versions": {},
        "seconds": {},
        "n_items": len(rows),
        "n_samples_per_item": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "metrics": metrics_from_samples(rows),
        "counts": counts_from_samples(rows),
        **more,
    }


def write_example(results: Path, checkpoint: str = "global_step1", step: int = 1) -> Path:
    folder = suite_folder(results, "r", checkpoint, "gsm8k")
    rows = [make_row("a"), make_row("b", status="wrong", kind="x")]
    write_suite(folder, rows, make_result(rows, checkpoint=checkpoint, step=step))
    return folder


def test_what_is_written_reads_back_and_recomputes(tmp_path: Path) -> None:
    folder = write_example(tmp_path)
    result = read_result(folder)
    assert result is not None
    assert result["schema"] == 1
    rows = read_samples(folder)
    assert metrics_from_samples(rows) == result["metrics"]
    assert counts_from_samples(rows) == result["counts"]
    assert sorted(path.name for path in folder.iterdir()) == ["results.json", "samples.jsonl"]


@pytest.mark.parametrize("again", [False, True])
def test_packed_samples_are_the_same_result(tmp_path: Path, again: bool) -> None:
    folder = write_example(tmp_path)
    plain, rows = read_result(folder), read_samples(folder)
    assert plain is not None
    write_suite(folder, rows, plain, compress=True)
    assert sorted(path.name for path in folder.iterdir()) == ["results.json", "samples.jsonl.zst"]
    assert read_result(folder) == plain  # the hash is that of the unpacked bytes
    assert read_samples(folder) == rows
    assert [result for _, result in iter_results(tmp_path, verify=True)] == [plain]
    if again:
        write_suite(folder, rows, plain)
        assert sorted(path.name for path in folder.iterdir()) == ["results.json", "samples.jsonl"]
        assert read_result(folder) == plain


@pytest.mark.parametrize("damage", ["cut", "cut_one", "noise", "other"])
def test_incomplete_packed_samples_are_no_result(tmp_path: Path, damage: str) -> None:
    folder = suite_folder(tmp_path, "r", "c", "gsm8k")
    rows = [make_row(str(i), response=os.urandom(50).hex()) for i in range(200)]
    write_suite(folder, rows, make_result(rows), compress=True)
    path = folder / "samples.jsonl.zst"
    data = path.read_bytes()
    path.write_bytes(
        {"cut": data[:-2000], "cut_one": data[:-1], "noise": b"noise", "other": zstandard.compress(b"{}\n")}[
            damage
        ]
    )
    assert read_result(folder) is None
    if damage != "other":
        with pytest.raises(UserError, match=r"samples\.jsonl\.zst"):
            read_samples(folder)


@given(st.text())
def test_any_response_stays_on_its_line(text: str) -> None:
    row = make_row("a", response=text + "\u2028\x00\r\n</script>")
    line = json.dumps(row)
    assert "\n" not in line
    assert len(line.splitlines()) == 1
    assert json.loads(line) == row


@pytest.mark.parametrize(
    "damage",
    ["truncate", "edit", "drop_samples", "drop_results", "half_json", "schema", "list", "bare", "deep"],
)
def test_an_incomplete_result_is_no_result(tmp_path: Path, damage: str) -> None:
    folder = write_example(tmp_path)
    samples, results = folder / "samples.jsonl", folder / "results.json"
    if damage == "truncate":
        samples.write_bytes(samples.read_bytes()[:-20])
    elif damage == "edit":
        samples.write_text(samples.read_text().replace("wrong", "correct"))
    elif damage == "drop_samples":
        samples.unlink()
    elif damage == "drop_results":
        results.unlink()
    elif damage == "half_json":
        results.write_bytes(results.read_bytes()[:-30])
    elif damage == "schema":
        results.write_text(results.read_text().replace('"schema": 1', '"schema": 2'))
    else:
        texts = {"list": "[]", "bare": '{"schema": 1}', "deep": "[" * 200_000}
        results.write_text(texts[damage])
    assert read_result(folder) is None
    logged: list[str] = []
    assert list(iter_results(tmp_path, verify=True, left_out=logged.append)) == []
    assert [str(folder) in line and "\n" not in line for line in logged] == [True] * (
        damage != "drop_results"
    )


def test_a_failing_write_keeps_the_old_file_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_number_that_json_does_not_know_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = suite_folder(tmp_path, "r", "c", "s")
    with pytest.raises(ValueError, match="JSON"):
        write_suite(folder, [make_row("a", score=float("nan"))], {})
    assert not folder.exists()


def test_a_killed_writer_never_leaves_a_mixed_result(tmp_path: Path) -> None:
    """A process that rewrites one result again and again is killed at some point: whole, or no result."""
    script = textwrap.dedent("""
        import json, sys
        from pathlib import Path
        from dipo_eval.results.store import write_suite
        result = json.loads(sys.argv[2])
        for i in range(10**9):
            row = {"sample": 0, "status": "wrong", "turn": i}
            write_suite(Path(sys.argv[1]), [{"item_id": str(j), **row} for j in range(200)], {**result, "turn": i})
            if i == 0:
                print("ready", flush=True)
    """)
    folder = tmp_path / "r" / "c" / "s"
    command = [sys.executable, "-c", script, str(folder), json.dumps(make_result([make_row("a")]))]
    found = 0
    for attempt in range(20):  # a rewrite leaves no result for a while: now and then one must be found
        if attempt >= 3 and found:
            break
        wait = 0.05 + 0.013 * attempt
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(wait)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(timeout=30)
            process.stdout.close()
        result = read_result(folder)
        if result is not None:
            found += 1
            assert {row["turn"] for row in read_samples(folder)} == {result["turn"]}
    assert found > 0


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "a\\b", "/abs", "nul\0", "-x", ".hidden", "a b"]
)
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="checkpoint name"):
        suite_folder(tmp_path, "r", name, "gsm8k")


@given(st.text())
def test_safe_names_are_accepted(text: str) -> None:
    suite_folder(Path("x"), "r", safe_name(text), "s")


def test_samples_that_are_no_json_name_the_line(tmp_path: Path) -> None:
    folder = write_example(tmp_path)
    with (folder / "samples.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(UserError, match=r"samples\.jsonl:3"):
        read_samples(folder)
    with pytest.raises(UserError, match="cannot be read"):
        read_samples(tmp_path)


def test_results_are_listed_without_broken_ones(tmp_path: Path) -> None:
    for step in (1, 2):
        write_example(tmp_path, f"global_step{step}", step)
    broken = write_example(tmp_path, "global_step3", 3)
    (broken / "results.json").write_text("{")
    (tmp_path / "index.sqlite").write_bytes(b"of an older version")
    assert [result["step"] for _, result in iter_results(tmp_path)] == [1, 2]


def test_metrics_of_one_sample_an_item() -> None:
    rows = [make_row("a"), make_row("b", status="wrong"), make_row("c", status="undecided", truncated=True)]
    rows.append(make_row("d", status="wrong", extracted=None))
    accuracy = metrics_from_samples(rows)["accuracy"]
    # Wilson of 1 in 4 by hand: (0.25 + 0.48018 +- 1.95996 sqrt(0.046875 + 0.060023)) / 1.96036.
    assert (accuracy["low"], accuracy["high"]) == pytest.approx((0.0456, 0.6994), abs=1e-4)
    assert (accuracy["value"], accuracy["n"], accuracy["k"], accuracy["interval"]) == (
        0.25,
        4,
        1,
        "wilson 95%",
    )
    assert accuracy["stderr"] == pytest.approx(0.2165, abs=1e-4)
    assert counts_from_samples(rows) == {
        "correct": 1,
        "wrong": 2,
        "undecided": 1,
        "truncated": 1,
        "no_answer": 1,
    }
    assert set(metrics_from_samples(rows)) == {"accuracy"}


def four_samples(item_id: str, statuses: str, extracted: list[str | None], kind: str) -> list[dict[str, Any]]:
    return [
        make_row(item_id, i, "correct" if s == "1" else "wrong", extracted=e, kind=kind)
        for i, (s, e) in enumerate(zip(statuses, extracted, strict=True))
    ]


def test_metrics_of_several_samples_an_item() -> None:
    rows = [
        *four_samples("a", "1100", ["18", "18.0", "7", "8"], "x"),  # two votes for 18, spelled two ways
        *four_samples("b", "1000", ["5", "6", "6", None], "y"),  # 6 wins and is incorrect
        *four_samples("c", "0000", [None, None, None, None], "y"),
    ]
    metrics = metrics_from_samples(rows)
    assert set(metrics) == {"accuracy", "pass@2", "pass@4", "maj@4", "accuracy/x", "accuracy/y"}
    assert metrics["accuracy"]["value"] == 0.25
    assert metrics["accuracy"]["interval"] == "clustered wilson 95%"
    # Item means 1/2, 1/4, 0: standard deviation 1/4, standard error 1/4 / sqrt(3), t(2) = 4.3027. Effective size 9 * 3/2:
    # (1/4 - q)^2 = 4.3027^2 q (1 - q) / 13.5 at q = 0.0349 and 0.7542.
    assert metrics["accuracy"]["stderr"] == pytest.approx(0.25 / 3**0.5)
    assert (metrics["accuracy"]["low"], metrics["accuracy"]["high"]) == pytest.approx(
        (0.0349, 0.7542), abs=1e-4
    )
    assert metrics["pass@2"]["value"] == pytest.approx((5 / 6 + 1 / 2 + 0) / 3)
    assert metrics["pass@4"]["value"] == pytest.approx(2 / 3)
    assert metrics["maj@4"]["value"] == pytest.approx(1 / 3)
    assert metrics["accuracy/x"]["value"] == 0.5
    assert metrics["accuracy/x"]["stderr"] is None
    assert (metrics["accuracy/y"]["value"], metrics["accuracy/y"]["n"]) == (0.125, 2)


def test_no_interval_has_width_zero() -> None:
    """All incorrect in 30 items with 8 samples: the interval must not claim certainty."""
    rows = [row for i in range(30) for row in four_samples(str(i), "0000", [None] * 4, "x")]
    accuracy = metrics_from_samples(rows)["accuracy"]
    assert (accuracy["low"], accuracy["interval"]) == (0.0, "wilson 95%")
    assert accuracy["high"] == pytest.approx(0.1135, abs=1e-4)


@pytest.mark.parametrize("rows", [[], [make_row("a"), make_row("a", 1), make_row("b")]])
def test_metrics_of_incomplete_samples_are_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="samples"):
        metrics_from_samples(rows)


def test_tuples_and_huge_numbers_vote_as_text() -> None:
    votes = ["1,2", "12", "9" * 400, "1/0", "1,000"]
    rows = [make_row("a", i, "wrong", extracted=vote) for i, vote in enumerate(votes)]
    rows.append(make_row("a", 5, "correct", extracted="1000"))
    assert metrics_from_samples(rows)["maj@6"]["value"] == 1.0


def test_the_graders_hash_is_the_same_in_every_process():
    """Two of its files have one name; a set's order must not decide which comes first."""
    code = (
        "from dipo_eval.runner import provenance as p; from dipo_eval.suites.arithmetic_control import SUITE;"
        " print(p.code_hash(SUITE))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": str(seed)}, text=True,
            capture_output=True, check=True,
        ).stdout
        for seed in range(5)
    }  # fmt: skip
    assert len(hashes) == 1
