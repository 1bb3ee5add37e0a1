"""Speeds that `dipo check-gpu` has measured replace the estimate's assumptions, unless the user names others."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.estimate.measured import FIELDS, measured_file, read_measured, write_measured

VALUES = {"host_gbs": 50.0, "sync_seconds": 3.0, "sleep_seconds": 2.0, "decode_ms": 8.0}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPO_CACHE_DIR", str(tmp_path / "cache"))


def doctor(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["doctor", "math_qwen3_8b", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def seconds(output: str, what: str) -> float:
    (value,) = re.findall(rf"^ +{what} +([\d,.]+) ", output, re.MULTILINE)
    return float(value.replace(",", ""))


def test_without_a_file_nothing_is_called_measured():
    assert "Measured" not in doctor()
    assert read_measured(None) == ("", {})


def test_measured_speeds_are_used_and_named():
    before = doctor()
    write_measured(measured_file(), "1 x NVIDIA H200", VALUES)
    after = doctor()
    assert "Measured (1 x NVIDIA H200, " in after
    assert "--decode-ms 8 --sync-seconds 3 --host-gbs 50 --sleep-seconds 2" in after
    assert "at 50 GB/s + 2 s" in after
    assert "at 20 GB/s + 3 s" in after
    assert "+ 8 ms)" in after
    assert seconds(after, "sampling") > seconds(before, "sampling")
    assumed = after.split("Assumed, not measured")[1]
    assert "--host-gbs" not in assumed
    assert "--tflops 989" in assumed


def test_what_the_user_names_wins():
    write_measured(measured_file(), "1 x NVIDIA H200", VALUES)
    output = doctor("--host-gbs", "20")  # the default's own value
    assert "both ways, at 20 GB/s + 2 s" in output
    assert "--host-gbs 20" in output.split("Assumed, not measured")[1]


def test_a_file_of_another_machine_can_be_named(tmp_path):
    write_measured(tmp_path / "cluster.json", "2 x NVIDIA H100", {"bandwidth_tbs": 3.0})
    assert "3 TB/s x 0.5" in doctor("--measured", str(tmp_path / "cluster.json"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"gpu": "x", "values": {"tflops": 1}}',
        '{"gpu": "x", "values": {"host_gbs": -1}}',
        '{"values": {}}',
        '{"gpu": "x", "values": {"bandwidth_tbs": 0}}',  # the estimate divides by it
        '{"gpu": "x", "values": {"bandwidth_tbs": true}}',
        '{"gpu": "x", "values": {"decode_ms": 1' + "0" * 400 + "}}",
        "[" * 200_000,
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "measured.json"
    path.write_text(content)
    with pytest.raises(UserError, match="dipo check-gpu"):
        read_measured(path)


def test_a_missing_file_that_was_named_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_measured(tmp_path / "none.json")


def test_every_measured_field_is_an_option_of_the_estimate():
    output = CliRunner().invoke(app, ["doctor", "--help"], terminal_width=200).output
    assert [name for name in FIELDS if f"--{name.replace('_', '-')}" not in output] == []
