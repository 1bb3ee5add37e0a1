"""Every row of `dipo check-gpu` passes what is right, and fails what is harmed, with what it means."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from dipo_openrlhf.gpu_check.compare import ROWS
from dipo_openrlhf.gpu_check.greedy import greedy_file
from dipo_openrlhf.gpu_check.observed_files import actor_file, trainer_file, window_file
from dipo_openrlhf.gpu_check.rows import (
    advantages,
    export,
    gradient,
    memory,
    resume,
    scoring,
    speed,
    weights,
)
from dipo_openrlhf.gpu_check.settings import KILLED_AFTER


def scale_log_probs(parts):
    for part in parts:
        part["action_log_probs"] = part["action_log_probs"] * 1.05


def swap_groups(parts):
    index = parts[0]["index"]
    index[0], index[1] = index[1], index[0]


def nudge_an_advantage(parts):
    parts[1]["advantages"] = parts[1]["advantages"] * (1 + 1e-6)


def one_row_of_dipo_lost(parts):
    for part in parts:
        zero_variance = (
            part["scores"] == 1
        )  # in the made batch: the all-correct group, and half of the mixed one
        part["advantages"][zero_variance] = 0


def forget_a_batch(state):
    state["queue"]["held"] = state["queue"]["held"][1:]


def other_torch_state(state):
    state["torch"] = state["torch"] + 1


def trainer_torch_state(state):
    state["rng"]["torch"] = state["rng"]["torch"] + 1


def double_the_norm(window):
    window["grad_norm"] *= 1.03


def drop_a_micro_batch(window):
    window["micro_batches"] = window["micro_batches"][:1]


def no_optimizer_step(window):
    window["grad_norm"] = None


def dump(step):
    return lambda made: made.dump_file(step)


def window(made):
    return window_file(made.run_dir, 0)


def actor(made):
    return actor_file(made.run_dir, KILLED_AFTER + 1, 0)


def trainer(made):
    return trainer_file(made.run_dir, KILLED_AFTER + 1)


def edits(path, change):
    return lambda made: made.edit(path(made), change)


def removes(path):
    return lambda made: path(made).unlink()


def metric(step, **values):
    return lambda made: made.edit_metrics(made.run_dir, step, **values)


def control(**values):
    return lambda made: made.edit_metrics(made.settings.control_dir, 2, **values)


def rewrites_rollouts(old, new):
    def harm(made):
        path = made.run_dir / "rollouts.jsonl"
        path.write_text(path.read_text().replace(old, new, 1))

    return harm


def other_greedy_tokens(made):
    path = greedy_file(made.settings)
    rows = json.loads(path.read_text())
    for row in rows:
        row["answer"][0] = (row["answer"][0] + 1) % 200
    path.write_text(json.dumps(rows))


HARMS = [
    (weights.NAME, metric(2, vllm_kl=0.0002), "step 2: the engines sample with other weights"),
    (weights.NAME, metric(2, vllm_kl=-0.0002), "step 2: the engines sample with other weights"),
    (weights.NAME, metric(1, vllm_kl=0.0002), "step 1: before any update"),
    (weights.NAME, metric(3, vllm_kl=0.0002), "step 3: only after the resume"),
    (weights.NAME, metric(3, vllm_kl=None), "no vllm_kl was logged in step 3"),
    (weights.NAME, control(vllm_kl=0.0009), "this row proves nothing here"),
    (weights.NAME, lambda made: shutil.rmtree(made.settings.control_dir), "no step was logged"),
    (scoring.NAME, edits(dump(1), scale_log_probs), "step 1: the actor's forward pass is wrong"),
    (scoring.NAME, edits(dump(3), scale_log_probs), "step 3: the export of the step before"),
    (scoring.NAME, lambda made: made.shift_weights(2), "step 3: the export of the step before"),
    (scoring.NAME, removes(dump(1)), "experiences/step_1.pt was not written"),
    (advantages.NAME, edits(dump(1), swap_groups), "does not use the advantages of the algorithm"),
    (advantages.NAME, edits(dump(2), nudge_an_advantage), "does not use the advantages of the algorithm"),
    (advantages.NAME, edits(dump(3), one_row_of_dipo_lost), "does not use the advantages of the algorithm"),
    (advantages.NAME, rewrites_rollouts('"fired": true', '"fired": false'), "does not use the advantages"),
    (gradient.NAME, edits(window, double_the_norm), "an update here is not the gradient of the loss"),
    (gradient.NAME, edits(window, drop_a_micro_batch), "holds 4 responses, not train.batch_size"),
    (gradient.NAME, edits(window, no_optimizer_step), "no optimizer step was taken"),
    (gradient.NAME, removes(window), "no optimizer step was taken"),
    (speed.NAME, metric(2, **{"timing/phases/sync": None}), "has no timing/phases/sync"),
    (speed.NAME, metric(2, **{"throughput/generated_per_second": 0.0}), "nothing was generated"),
    (resume.NAME, edits(trainer, forget_a_batch), "do not rely on --resume"),
    (resume.NAME, edits(trainer, trainer_torch_state), "do not rely on --resume"),
    (resume.NAME, edits(actor, other_torch_state), "do not rely on --resume"),
    (resume.NAME, removes(trainer), "the run was not resumed there"),
    (resume.NAME, rewrites_rollouts('"3-0"', '"1-0"'), "do not rely on --resume"),
    (export.NAME, other_greedy_tokens, "vLLM computes something else from the exported files"),
    (export.NAME, lambda made: made.shift_weights(3), "vLLM computes something else from the exported files"),
    (export.NAME, lambda made: greedy_file(made.settings).unlink(), "vLLM did not answer"),
]


def test_what_is_right_passes(made):
    rows = made.rows()
    assert list(rows) == list(ROWS)
    assert {name: row.meaning for name, row in rows.items() if row.passed is not True} == {
        memory.NAME: "there is no GPU; shown is the most host memory that a rank's process had"
    }
    assert rows[memory.NAME].word == "not measured here"
    assert "acted on 0" not in rows[advantages.NAME].found, "the made batches must make DiPO act"


@pytest.mark.parametrize(
    ("name", "harm", "meaning"), HARMS, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(HARMS)]
)
def test_what_is_harmed_fails_and_says_what_it_means(made, name, harm, meaning):
    harm(made)
    row = made.row(name)
    assert row.passed is False
    assert meaning in row.meaning


def test_a_torch_error_in_one_row_leaves_the_others(made):
    made.edit(made.dump_file(2), lambda parts: [{"sequences": torch.zeros(1, 1)}])
    rows = made.rows()
    assert rows[advantages.NAME].passed is False
    assert "not checked: KeyError" in rows[advantages.NAME].meaning
    assert rows[weights.NAME].passed
    assert rows[gradient.NAME].passed
