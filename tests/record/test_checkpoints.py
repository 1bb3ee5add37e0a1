"""Save, verify, mark, then prune; never lose what `latest` names."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dipo_eval.files import lease as leases
from dipo_eval.files.lease import LeaseObserver, acquire
from dipo_eval.subject.marker import BEST, EVALUATED, LEASE
from dipo_openrlhf.openrlhf_patch.cpu.changes import install
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.run.plan import UNBOUNDED


def save(ckpt: Path, step: int, *, marked: bool = True, **facts: object) -> None:
    for folder in (ckpt / "_actor" / f"global_step{step}", ckpt / f"global_step{step}_hf"):
        folder.mkdir(parents=True)
        (folder / "data").write_text("x")
    (ckpt / "_actor" / "latest").write_text(f"global_step{step}")
    if marked:
        checkpoints.mark_complete(ckpt, step, {"weights_hash": f"h{step}", **facts})


def steps_on_disk(ckpt: Path) -> list[int]:
    return sorted(int(path.name[len("global_step") :]) for path in (ckpt / "_actor").glob("global_step*"))


def test_complete_checkpoints_in_step_order(tmp_path):
    for step in (2, 10, 9):
        save(tmp_path, step)
    save(tmp_path, 11, marked=False)
    assert [one.step for one in checkpoints.complete_checkpoints(tmp_path)] == [2, 9, 10]
    assert checkpoints.complete_checkpoints(tmp_path)[0].marker["weights_hash"] == "h2"


def test_a_broken_marker_is_not_a_checkpoint(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "global_step1_hf" / "COMPLETE.json").write_text('{"step"')
    assert checkpoints.complete_checkpoints(tmp_path) == []


def test_a_killed_save_falls_back_to_the_newest_complete_one(tmp_path):
    """Killed between DeepSpeed's save, which moved `latest`, and the HF export."""
    save(tmp_path, 3)
    save(tmp_path, 4)
    save(tmp_path, 5, marked=False)
    assert checkpoints.point_latest_at_newest_complete(tmp_path) == 4
    assert (tmp_path / "_actor" / "latest").read_text() == "global_step4"
    assert steps_on_disk(tmp_path) == [3, 4]
    assert not (tmp_path / "global_step5_hf").exists()


def behind_a_link(folder: Path, elsewhere: Path) -> Path:
    elsewhere.mkdir(exist_ok=True)
    target = folder.rename(elsewhere / folder.name)
    folder.symlink_to(target)
    return target


def test_of_a_checkpoint_behind_a_link_the_link_is_removed(tmp_path):
    ckpt, elsewhere = tmp_path / "ckpt", tmp_path / "elsewhere"
    save(ckpt, 2)
    save(ckpt, 4, marked=False)
    kept = [behind_a_link(ckpt / name, elsewhere) for name in ("global_step4_hf", "_actor/global_step4")]
    assert checkpoints.point_latest_at_newest_complete(ckpt) == 2
    save(ckpt, 1, marked=False)  # a deletion that was killed
    save(ckpt, 6)
    save(ckpt, 8)
    kept += [behind_a_link(ckpt / f"global_step{step}_hf", elsewhere) for step in (1, 2)]
    assert checkpoints.prune(ckpt, 1) == [2, 6]
    assert checkpoints.prune(ckpt, 1) == []
    assert sorted(path.name for path in ckpt.iterdir()) == ["_actor", "global_step8_hf"]
    assert all((folder / "data").is_file() for folder in kept)


@pytest.mark.parametrize(
    "name", ["global_step09_hf", "global_step\u0669_hf", "global_step-9_hf", "global_step9_hf "]
)
def test_a_step_has_one_spelling(tmp_path, name):
    save(tmp_path, 2)
    (tmp_path / name).mkdir()
    (tmp_path / name / "COMPLETE.json").write_text("{}")
    assert [one.step for one in checkpoints.complete_checkpoints(tmp_path)] == [2]
    assert checkpoints.point_latest_at_newest_complete(tmp_path) == 2
    assert (tmp_path / name).is_dir()


def test_nothing_to_resume(tmp_path):
    assert checkpoints.point_latest_at_newest_complete(tmp_path) is None


@pytest.mark.parametrize(("keep", "left"), [(0, [1, 2, 3, 4]), (1, [4]), (2, [3, 4]), (9, [1, 2, 3, 4])])
def test_prune_keeps_the_newest(tmp_path, keep, left):
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    checkpoints.prune(tmp_path, keep)
    assert steps_on_disk(tmp_path) == left
    assert [one.step for one in checkpoints.complete_checkpoints(tmp_path)] == left


def test_one_saved_before_an_end_is_replaced_by_the_next_and_displaces_none(tmp_path):
    for step in (10, 20):
        save(tmp_path, step)
    save(tmp_path, 23, scheduled=False)
    checkpoints.prune(tmp_path, 2)
    assert steps_on_disk(tmp_path) == [20, 23]
    assert checkpoints.resumable_steps(tmp_path)[-1] == 23
    save(tmp_path, 30)
    checkpoints.prune(tmp_path, 2, keep_exports=0)
    assert steps_on_disk(tmp_path) == [20, 30]
    assert not (tmp_path / "global_step23_hf").exists()


def test_prune_spares_latest_and_leased(tmp_path):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    (tmp_path / "_actor" / "latest").write_text("global_step1")
    lease = acquire(tmp_path / "global_step2_hf" / LEASE, LeaseObserver())
    assert lease is not None
    assert checkpoints.prune(tmp_path, 1) == [3, 4]
    assert steps_on_disk(tmp_path) == [1, 2, 5]
    lease.release()
    assert checkpoints.prune(tmp_path, 1) == [2]


def test_prune_ignores_unfinished_checkpoints(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2, marked=False)
    assert checkpoints.prune(tmp_path, 1) == []


def test_the_best_by_evaluation_is_never_pruned(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    (tmp_path / "global_step2_hf" / BEST).write_text("{}")
    checkpoints.prune(tmp_path, 1)
    assert steps_on_disk(tmp_path) == [2, 4]
    assert checkpoints.resumable_steps(tmp_path) == [2, 4]


@pytest.mark.parametrize(
    ("keep_exports", "exports"), [(None, [4, 5]), (1, [4, 5]), (3, [3, 4, 5]), (0, [1, 2, 3, 4, 5])]
)
def test_exports_may_be_kept_longer_than_what_is_resumed_from(tmp_path, keep_exports, exports):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    checkpoints.prune(tmp_path, 2, keep_exports=keep_exports)
    assert steps_on_disk(tmp_path) == [4, 5]
    assert [one.step for one in checkpoints.complete_checkpoints(tmp_path)] == exports
    assert checkpoints.prune(tmp_path, 2, keep_exports=keep_exports) == []


@pytest.mark.parametrize(("every", "waiting"), [(0, []), (1, [1, 2, 3]), (2, [2])])
def test_an_export_stays_until_it_is_evaluated(tmp_path, every, waiting):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    checkpoints.prune(tmp_path, 2, evaluate_every=every)
    assert steps_on_disk(tmp_path) == [4, 5]  # what a resume needs is pruned at once
    assert [one.step for one in checkpoints.complete_checkpoints(tmp_path)] == [*waiting, 4, 5]
    for step in waiting:
        (tmp_path / f"global_step{step}_hf" / EVALUATED).write_text("{}")
    assert checkpoints.prune(tmp_path, 2, evaluate_every=every) == waiting
    assert [one.step for one in checkpoints.complete_checkpoints(tmp_path)] == [4, 5]


def test_the_lease_of_a_dead_watcher_keeps_nothing_forever(tmp_path, monkeypatch):
    for step in (1, 2):
        save(tmp_path, step)
    with monkeypatch.context() as patch:
        patch.setattr(leases, "process_identity", lambda pid: "of another host")
        assert acquire(tmp_path / "global_step1_hf" / LEASE, LeaseObserver()) is not None
    observer = LeaseObserver()
    monkeypatch.setattr(checkpoints, "STALE_AFTER", 0.1)
    assert checkpoints.prune(tmp_path, 1, observer=observer) == []
    time.sleep(0.15)
    assert checkpoints.prune(tmp_path, 1, observer=observer) == [1]


def test_a_deletion_that_was_killed_is_completed(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, marked=step > 1)
    checkpoints.prune(tmp_path, 2)
    assert steps_on_disk(tmp_path) == [2, 3]
    assert not (tmp_path / "global_step1_hf").exists()


def test_a_step_that_is_saved_again_has_no_old_marks(tmp_path):
    save(tmp_path, 1)
    for name in (BEST, EVALUATED):
        (tmp_path / "global_step1_hf" / name).write_text("{}")
    assert checkpoints.wait_until_evaluated(tmp_path, 1, 0)
    checkpoints.mark_complete(tmp_path, 1, {})
    assert not checkpoints.wait_until_evaluated(tmp_path, 1, 0.1, poll=0.05)
    assert not (tmp_path / "global_step1_hf" / BEST).exists()


def test_killed_in_the_next_save_openrlhfs_rotation_leaves_nothing_and_ours_a_complete_checkpoint(
    tmp_path, monkeypatch
):
    """openrlhf/utils/deepspeed/deepspeed.py, DeepspeedStrategy.save_ckpt deletes first what `latest` names."""
    monkeypatch.setenv("DIPO_CPU", "1")
    install()  # OpenRLHF imports flash_attn
    import deepspeed
    from openrlhf.utils.deepspeed.deepspeed import DeepspeedStrategy

    monkeypatch.setattr("torch.distributed.barrier", lambda: None)  # one process

    class KilledError(Exception):
        pass

    class KilledEngine(deepspeed.DeepSpeedEngine):
        def save_checkpoint(self, folder, tag, **unused):
            (Path(folder) / tag).mkdir()
            (Path(folder) / "latest").write_text(tag)  # the worst moment
            raise KilledError

        def __del__(self):
            pass

    def killed_save(ckpt: Path, max_num: int) -> None:
        engine = KilledEngine.__new__(KilledEngine)
        strategy = DeepspeedStrategy.__new__(DeepspeedStrategy)
        with pytest.raises(KilledError):
            strategy.save_ckpt(engine, str(ckpt / "_actor"), tag="global_step10", max_num=max_num)

    for name in ("openrlhfs", "ours"):
        save(tmp_path / name, 9)
    killed_save(tmp_path / "openrlhfs", 1)
    assert steps_on_disk(tmp_path / "openrlhfs") == [10]
    assert checkpoints.point_latest_at_newest_complete(tmp_path / "openrlhfs") is None
    killed_save(
        tmp_path / "ours", UNBOUNDED
    )  # what `dipo train` hands to OpenRLHF; prune comes after the save
    assert checkpoints.point_latest_at_newest_complete(tmp_path / "ours") == 9
    assert (tmp_path / "ours" / "_actor" / "latest").read_text() == "global_step9"
    assert steps_on_disk(tmp_path / "ours") == [9]
