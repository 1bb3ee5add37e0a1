"""A part of a check ends by itself, by its deadline or by a kill, and leaves no process."""

from __future__ import annotations

import uuid

import pytest
from tiny_model import save_tiny_model

from dipo_openrlhf.gpu_check.processes import run_part
from dipo_openrlhf.gpu_check.settings import CheckSettings
from dipo_openrlhf.record.processes import processes_of

MARK = "DIPO_TEST_MARK"


@pytest.fixture
def settings(tmp_path):
    model = save_tiny_model(tmp_path / "model")
    settings = CheckSettings(str(tmp_path), True, 1, str(model))
    settings.write()
    return settings


@pytest.fixture
def left_over(monkeypatch):
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    return lambda: processes_of(mark, MARK)


def test_a_part_that_ends_is_done(settings, left_over):
    result = run_part("prepare", settings.root, 300)
    assert result.ended == "done"
    assert len(settings.prompts_file().read_text().splitlines()) == 24
    assert settings.start_model().samefile(settings.root / "model")
    assert left_over() == []


def test_a_part_that_fails_says_why(settings, left_over):
    result = run_part("export", settings.root, 300)  # before anything was trained
    assert result.ended == "failed"
    assert "global_step3_hf: no export of step 3" in result.why
    assert "export.log" in result.why
    assert left_over() == []


def test_a_part_has_a_deadline(settings, left_over):
    result = run_part("prepare", settings.root, 0.0)
    assert result.ended == "late"
    assert "took longer than 0 s" in result.why
    assert left_over() == []


def test_a_part_is_killed_when_it_is_to_be(settings, left_over):
    result = run_part("prepare", settings.root, 300, kill_when=lambda: True)
    assert result.ended == "killed"
    assert result.ok
    assert left_over() == []


def test_a_part_that_ends_before_it_is_killed_has_failed(settings, left_over):
    result = run_part("prepare", settings.root, 300, kill_when=lambda: False)
    assert result.ended == "failed"
    assert "ended before it was to be killed" in result.why
    assert left_over() == []


def test_an_interrupted_part_is_ended(settings, left_over):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_part("prepare", settings.root, 300, on_poll=interrupt)
    assert left_over() == []
