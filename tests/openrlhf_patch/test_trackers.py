"""wandb offline and TensorBoard; the key is in no file."""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from types import SimpleNamespace

import pytest
import wandb
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2

from dipo_openrlhf.openrlhf_patch import trackers
from dipo_openrlhf.record.events import WARNING, read_events

BLOCK = 32768
KEY = "0123456789abcdef0123456789abcdef01234567"
LOGS = {
    "policy_loss": 0.25,
    "dipo/threshold_ppl": math.nan,
    "dipo/feasible": 0.0,
    "dipo/infeasible_reason": "one_class",
    "missing": None,
    "generated_samples": ["<script>alert(1)</script>\n# heading", 1.0],
}


def arguments() -> SimpleNamespace:
    return SimpleNamespace(
        logger=SimpleNamespace(
            wandb=SimpleNamespace(project="test", org=None, group=None, run_name="run", key=None)
        )
    )


def offline_records(run_dir) -> list[wandb_internal_pb2.Record]:
    """Records of an ended offline run. wandb's own process writes them and may be behind on a busy machine."""
    (path,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 60
    while True:
        records = parsed(path.read_bytes())
        if any(record.HasField("exit") for record in records):
            return records
        assert time.monotonic() < deadline, "wandb did not write the end of its run"
        time.sleep(0.2)


def parsed(content: bytes) -> list[wandb_internal_pb2.Record]:
    """Complete records of a .wandb file: LevelDB's log format behind a header of 7 bytes."""
    at, pending, records = 7, b"", []
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:  # the end of a block is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        if at + 7 + length > len(content):
            break
        pending += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a complete record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pending)
            records.append(record)
            pending = b""
    return records


@pytest.fixture
def offline_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"settings": {"dipo.alpha": 0.1}}))
    tracker = trackers.start_wandb(tmp_path, arguments())
    tracker.log_train(1, LOGS)
    tracker.log_train(2, {**LOGS, "policy_loss": 0.5})
    tracker.log_eval(2, {"accuracy": 0.75})
    tracker.close()
    return tmp_path


def test_wandb_offline_has_every_value_with_its_step(offline_run):
    rows = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in offline_records(offline_run)
        if record.HasField("history")
    ]
    train = [row for row in rows if "train/global_step" in row]
    assert [row["train/global_step"] for row in train] == [1, 2]
    assert [row["train/policy_loss"] for row in train] == [0.25, 0.5]
    assert train[0]["train/dipo/infeasible_reason"] == "one_class"
    assert train[0]["train/dipo/feasible"] == 0
    (evaluation,) = [row for row in rows if "eval/accuracy" in row]
    assert (evaluation["eval/accuracy"], evaluation["eval/global_step"]) == (0.75, 2)


def test_the_key_is_in_no_file(offline_run):
    files = [path for path in offline_run.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


def test_a_resumed_run_continues_the_same_wandb_run(tmp_path):
    assert trackers.wandb_run_id(tmp_path) == trackers.wandb_run_id(tmp_path)


def warnings(run_dir) -> list[str]:
    """What the terminal shows."""
    return [event["text"] for event in read_events(run_dir) if event["stage"] == WARNING]


def test_a_wandb_that_cannot_start_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    refused = arguments()
    refused.logger.wandb.project = "no/slash/allowed"
    tracker = trackers.start_wandb(tmp_path, refused)
    tracker.log_train(1, LOGS)
    tracker.close()
    (line,) = warnings(tmp_path)
    assert line.startswith("wandb cannot start (")
    assert line.endswith("): training goes on without it")


@pytest.mark.parametrize("listens", [False, True])
def test_without_a_network_wandb_is_offline_within_seconds(tmp_path, monkeypatch, listens):
    """Where nothing listens, and where no answer ever comes; what is logged can be sent later."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listens:
            server.close()
        monkeypatch.delenv("WANDB_MODE", raising=False)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        wandb.teardown()  # its settings are read once a process
        started = time.monotonic()
        tracker = trackers.start_wandb(tmp_path, arguments())
        assert time.monotonic() - started < 30
        tracker.log_train(1, LOGS)
        tracker.close()
    wandb.teardown()
    (line,) = warnings(tmp_path)
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    assert line.startswith("wandb cannot log now (")
    assert line.endswith(f"`wandb sync {folder}` sends it later")
    assert any(record.HasField("history") for record in offline_records(tmp_path))


def test_a_folder_that_cannot_be_made_ends_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    tracker = trackers.start_tensorboard(tmp_path, tmp_path / "file" / "board")
    tracker.log_train(1, LOGS)
    tracker.close()
    (line,) = warnings(tmp_path)
    assert line.startswith("TensorBoard cannot start (")


def test_a_tracker_that_fails_is_told_once(tmp_path):
    class Failing:
        def log_train(self, step, logs):
            raise RuntimeError("the service is gone")

    tracker = trackers.SafeTracker("wandb", tmp_path, Failing)
    for step in range(3):
        tracker.log_train(step, LOGS)
    tracker.close()
    assert warnings(tmp_path) == [
        "wandb has failed in log_train (RuntimeError: the service is gone): training goes on without it"
    ]


def test_a_tracker_that_hangs_is_left_behind(tmp_path):
    class Hanging:
        def close(self):
            time.sleep(60)

    tracker = trackers.SafeTracker("wandb", tmp_path, Hanging, seconds=0.2)
    started = time.monotonic()
    tracker.close()
    assert time.monotonic() - started < 10
    assert "no answer within" in warnings(tmp_path)[0]


@pytest.mark.parametrize("kind", ["wandb", "tensorboard"])
def test_half_a_character_is_logged_as_a_question_mark(tmp_path, monkeypatch, kind):
    """A sample of a model may hold a lone surrogate, which no file can."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = (
        trackers.start_wandb(tmp_path, arguments())
        if kind == "wandb"
        else trackers.start_tensorboard(tmp_path, tmp_path / "board")
    )
    tracker.log_train(1, {**LOGS, "generated_samples": ["so \ud83d", 1.0], "reason": "\udc00"})
    tracker.close()
    assert warnings(tmp_path) == []
    if kind == "tensorboard":
        events = EventAccumulator(str(tmp_path / "board"))
        events.Reload()
        (sample,) = events.Tensors("train/generated_samples/text_summary")
        assert b"so ?" in sample.tensor_proto.string_val[0]


@pytest.mark.parametrize(
    ("switch", "environment", "expected"),
    [
        ("auto", {}, False),
        ("auto", {"WANDB_API_KEY": KEY}, True),
        ("auto", {"WANDB_MODE": "offline"}, True),
        ("auto", {"WANDB_MODE": "disabled", "WANDB_API_KEY": KEY}, False),
        ("off", {"WANDB_API_KEY": KEY}, False),
        ("on", {}, True),
    ],
)
def test_when_wandb_is_used(monkeypatch, switch, environment, expected):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert trackers.wants_wandb(switch) is expected


def test_tensorboard_has_numbers_and_strings(tmp_path):
    tracker = trackers.TensorboardTracker(tmp_path)
    tracker.log_train(1, LOGS)
    tracker.log_eval(1, {"accuracy": 0.5})
    tracker.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (loss,) = events.Scalars("train/policy_loss")
    assert (loss.step, loss.value) == (1, 0.25)
    assert events.Scalars("eval/accuracy")[0].value == 0.5
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0] for tag in events.Tags()["tensors"]}
    assert texts["train/dipo/infeasible_reason/text_summary"] == b"one_class"
    # Indented by four: Markdown shows it as code and renders none of it.
    assert b"\n    <script>" in texts["train/generated_samples/text_summary"]
