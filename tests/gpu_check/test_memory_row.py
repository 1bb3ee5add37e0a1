"""The memory row of `dipo check-gpu` on a GPU: figures as metrics.jsonl has them, against the estimate."""

from __future__ import annotations

import dataclasses
import json

import pytest

from dipo_openrlhf.estimate import memory as estimate
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.gpu_check.evidence import Evidence, MissingEvidenceError
from dipo_openrlhf.gpu_check.observed_files import host_file
from dipo_openrlhf.gpu_check.rows import memory
from dipo_openrlhf.gpu_check.settings import KILLED_AFTER

KEYS = {
    "update": "memory/update_peak_gib",
    "scoring": "memory/forward_peak_gib",
    "asleep": "memory/offload_device_gib",
}


@pytest.fixture
def on_gpu(made):
    """Evidence of a GPU run whose figures are exactly the estimate's."""
    evidence = Evidence(dataclasses.replace(made.settings, cpu=False))
    expected = memory.estimated(evidence)
    made.edit_metrics(made.run_dir, KILLED_AFTER, **{KEYS[name]: expected[name] for name in KEYS})
    host = {"peak": 2**30, "offloaded": expected["host"] * 2**30}
    host_file(made.run_dir, 0).write_text(json.dumps(host))
    return evidence


def test_figures_of_the_estimate_pass(on_gpu):
    row = memory.check(on_gpu)
    assert row.passed, row.meaning
    assert set(row.figures["measured_gib"]) == {"update", "scoring", "asleep", "host"}


@pytest.mark.parametrize("name", KEYS)
def test_more_than_the_estimate_fails_and_less_does_not(made, on_gpu, name):
    size = memory.estimated(on_gpu)[name]
    made.edit_metrics(made.run_dir, KILLED_AFTER, **{KEYS[name]: 0.5 * size})
    assert memory.check(on_gpu).passed
    more = 1.1 * max(memory.SMALLEST, memory.LIMIT * size)
    made.edit_metrics(made.run_dir, KILLED_AFTER, **{KEYS[name]: size + more})
    row = memory.check(on_gpu)
    assert row.passed is False
    assert row.meaning.startswith(f"{name} takes")
    assert "is too low for this machine" in row.meaning


def test_host_memory_beyond_the_limit_fails(made, on_gpu):
    host_file(made.run_dir, 0).write_text(json.dumps({"peak": 2**33, "offloaded": 2**32}))
    assert memory.check(on_gpu).meaning.startswith("host takes 4.00 GiB")


def test_a_gpu_run_without_figures_is_not_passed_over(made, on_gpu):
    made.edit_metrics(made.run_dir, KILLED_AFTER, **{KEYS["update"]: None})
    with pytest.raises(MissingEvidenceError, match="no memory of: update"):
        memory.check(on_gpu)


def test_the_estimate_has_the_lines_that_are_left_out(on_gpu):
    """The names that the row leaves out are those of the estimate; the tokens are the run's own."""
    work = memory.workload(on_gpu)
    assert work.engine_sleep
    assert work.trainer_sleep
    assert 0 < work.train_tokens < on_gpu.recipe.get("train.max_tokens_per_gpu")
    awake = dataclasses.replace(work, engine_sleep=False)
    names = {
        line.what
        for each in (work, awake)
        for phase in estimate.phases(each, Assumptions())
        for line in phase.lines
    }
    assert set(memory.NOT_THE_RANK) <= names
