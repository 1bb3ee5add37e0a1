"""Save, verify, mark, then prune; never lose what `latest` names."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_openrlhf.openrlhf_patch import checkpoints


def save(ckpt: Path, step: int, *, marked: bool = True) -> None:
    for folder in (ckpt / "_actor" / f"global_step{step}", ckpt / f"global_step{step}_hf"):
        folder.mkdir(parents=True)
        (folder / "data").write_text("x")
    (ckpt / "_actor" / "latest").write_text(f"global_step{step}")
    if marked:
        checkpoints.mark_complete(ckpt, step, {"weights_hash": f"h{step}"})


def steps_on_disk(ckpt: Path) -> list[int]:
    return sorted(int(path.name[len("global_step") :]) for path in (ckpt / "_actor").glob("global_step*"))


def test_whole_checkpoints_in_step_order(tmp_path):
    for step in (2, 10, 9):
        save(tmp_path, step)
    save(tmp_path, 11, marked=False)
    assert [whole.step for whole in checkpoints.whole_checkpoints(tmp_path)] == [2, 9, 10]
    assert checkpoints.whole_checkpoints(tmp_path)[0].marker["weights_hash"] == "h2"


def test_a_broken_marker_is_not_a_checkpoint(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "global_step1_hf" / "COMPLETE.json").write_text('{"step"')
    assert checkpoints.whole_checkpoints(tmp_path) == []


def test_a_killed_save_falls_back_to_the_newest_whole_one(tmp_path):
    """Killed between DeepSpeed's save, which moved `latest`, and the HF export."""
    save(tmp_path, 3)
    save(tmp_path, 4)
    save(tmp_path, 5, marked=False)
    assert checkpoints.point_latest_at_newest_whole(tmp_path) == 4
    assert (tmp_path / "_actor" / "latest").read_text() == "global_step4"
    assert steps_on_disk(tmp_path) == [3, 4]
    assert not (tmp_path / "global_step5_hf").exists()


def test_nothing_to_resume(tmp_path):
    assert checkpoints.point_latest_at_newest_whole(tmp_path) is None


@pytest.mark.parametrize(("keep", "left"), [(0, [1, 2, 3, 4]), (1, [4]), (2, [3, 4]), (9, [1, 2, 3, 4])])
def test_prune_keeps_the_newest(tmp_path, keep, left):
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    checkpoints.prune(tmp_path, keep)
    assert steps_on_disk(tmp_path) == left
    assert [whole.step for whole in checkpoints.whole_checkpoints(tmp_path)] == left


def test_prune_spares_latest_leased_and_protected(tmp_path):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    (tmp_path / "_actor" / "latest").write_text("global_step1")
    (tmp_path / "global_step2_hf" / checkpoints.LEASE).write_text("watcher")
    assert checkpoints.prune(tmp_path, 1, protected=[3]) == [4]
    assert steps_on_disk(tmp_path) == [1, 2, 3, 5]


def test_prune_ignores_unfinished_checkpoints(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2, marked=False)
    assert checkpoints.prune(tmp_path, 1) == []
