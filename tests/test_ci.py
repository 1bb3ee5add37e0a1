"""What ci/ holds: the canary, the gate's script, the example baseline, and the workflows."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dipo_eval.results.store import iter_results, read_result, read_samples, write_suite
from dipo_eval.runner.metrics import metrics_from_samples
from dipo_openrlhf.openrlhf_patch.cpu.changes import CHANGES
from dipo_openrlhf.openrlhf_patch.overrides import OPENRLHF_VERSION, OVERRIDES

CI = Path(__file__).parents[1] / "ci"
CANARY = runpy.run_path(str(CI / "canary.py"))
WORKFLOWS = sorted((CI / "github").glob("*.yml"))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A copy of the installed OpenRLHF's sources."""
    root, version = CANARY["installed"]()
    assert version == OPENRLHF_VERSION
    shutil.copytree(root / "openrlhf", tmp_path / "openrlhf", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_canary_finds_everything_in_the_pinned_release(release: Path) -> None:
    """In this environment also what is replaced in torch, DeepSpeed and vLLM."""
    root, _ = CANARY["installed"]()
    cpu = [override for change in CHANGES for override in change.overrides]
    assert len(CANARY["expected"](root)) == len(OVERRIDES) + len(cpu)
    assert CANARY["moved"](root) == []
    of_openrlhf = [override for override in cpu if override.path.startswith("openrlhf.")]
    assert 0 < len(of_openrlhf) < len(cpu)
    assert len(CANARY["expected"](release)) == len(OVERRIDES) + len(of_openrlhf)
    assert CANARY["moved"](release) == []
    assert CANARY["changed"](release, root) == []


def test_canary_names_what_moved_of_the_cpu_changes(release: Path) -> None:
    """A module, a class, an imported function and a parameter that are gone."""
    (release / "openrlhf/utils/distributed_util.py").unlink()
    rewrite(release / "openrlhf/trainer/ray/vllm_worker_wrap.py", "class WorkerWrap", "class Worker")
    strategy = release / "openrlhf/utils/deepspeed/deepspeed.py"
    rewrite(strategy, "from torch.distributed.device_mesh import init_device_mesh\n", "")
    rewrite(
        release / "openrlhf/utils/utils.py",
        "def convert_to_torch_dtype(param_dtype",
        "def convert_to_torch_dtype(name",
    )
    moved = CANARY["moved"](release)
    assert len(moved) == 5
    for expected in (
        "openrlhf/utils/distributed_util.py: the file is gone (openrlhf.utils.distributed_util:stateless_init",
        "openrlhf/utils/distributed_util.py: the file is gone (openrlhf.utils.distributed_util:torch_dist",
        "openrlhf/trainer/ray/vllm_worker_wrap.py: the class WorkerWrap is gone",
        "openrlhf/utils/deepspeed/deepspeed.py: init_device_mesh is gone",
        "convert_to_torch_dtype takes ('name',), expected ('param_dtype',)",
    ):
        assert sum(expected in line for line in moved) == 1, expected


def test_canary_names_file_line_and_symbol_of_what_moved(release: Path) -> None:
    trainer = release / "openrlhf/trainer/ppo_trainer.py"
    rewrite(
        trainer, "def restore_best_checkpoint_state(self, checkpoint_states", "def restore_best(self, states"
    )
    maker = release / "openrlhf/trainer/ppo_utils/experience_maker.py"
    rewrite(
        maker, "def split_rollout_samples(self, rollout_samples", "def split_rollout_samples(self, samples"
    )
    (release / "openrlhf/trainer/ppo_utils/samples_generator.py").unlink()
    moved = CANARY["moved"](release)
    assert len(moved) == 9
    (gone,) = [line for line in moved if "BasePPOTrainer has no method" in line]
    assert re.match(r"openrlhf/trainer/ppo_trainer\.py:\d+: .*restore_best_checkpoint_state", gone)
    (other,) = [line for line in moved if "takes ('self', 'samples')" in line]
    assert re.match(r"openrlhf/trainer/ppo_utils/experience_maker\.py:\d+: .*split_rollout_samples", other)
    assert sum("samples_generator.py: the file is gone" in line for line in moved) == 7


def test_canary_lists_a_method_whose_code_alone_has_changed(release: Path) -> None:
    root, _ = CANARY["installed"]()
    path = release / "openrlhf/trainer/ppo_trainer.py"
    text = path.read_text()
    start = re.search(r"    def train_step\(.*?\).*?:\n", text, re.DOTALL)
    assert start is not None
    path.write_text(text[: start.end()] + "        # a comment changes nothing\n" + text[start.end() :])
    assert CANARY["changed"](release, root) == []
    path.write_text(text[: start.end()] + "        moved_elsewhere = 1\n" + text[start.end() :])
    (line,) = CANARY["changed"](release, root)
    assert "BasePPOTrainer.train_step has other code" in line
    assert CANARY["moved"](release) == []


def test_baseline_is_complete_and_agrees_with_its_samples() -> None:
    found = list(iter_results(CI / "baselines", verify=True))
    assert [str(folder.relative_to(CI / "baselines")) for folder, _ in found] == [
        "quickstart/global_step0/arithmetic-control"
    ]
    ((folder, result),) = found
    rows = read_samples(folder)
    assert len(rows) == result["n_items"] == 500
    assert metrics_from_samples(rows)["accuracy"] == result["metrics"]["accuracy"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000
    assert not re.search(r"/(root|home|tmp|work)/", (folder / "results.json").read_text())


def test_baseline_is_graded_again_by_todays_grader(tmp_path: Path) -> None:
    """The stored responses get the stored verdicts, and the copy then counts as of this grader."""
    copy = shutil.copytree(CI / "baselines" / "quickstart" / "global_step0", tmp_path / "global_step0")
    folder = copy / "arithmetic-control"
    result, rows = read_result(folder), read_samples(folder)
    assert result is not None
    rows[0] = {**rows[0], "status": "undecided"}
    write_suite(
        folder,
        rows,
        {**result, "hashes": {**result["hashes"], "suite_hash": "of another grader"}},
        compress=True,
    )
    regrade = runpy.run_path(str(CI / "regrade_baseline.py"))["regrade_result"]
    assert regrade(folder, None) == "arithmetic-control: graded again, 1 of 500 verdicts changed"
    again = read_result(folder)
    assert again is not None
    assert again["metrics"]["accuracy"] == result["metrics"]["accuracy"]
    assert regrade(folder, None) == "arithmetic-control: graded by this grader already"


def fake_dipo(folder: Path, eval_status: int, gate_status: int, judged: int) -> Path:
    """Stands for the command alone: the script's options and statuses are tested here, the real run is slow."""
    script = folder / "dipo"
    script.write_text(
        f'#!/bin/sh\necho "$@" >>{folder}/calls\n'
        f"case $1 in eval) mkdir -p {folder}/out/results/candidate/global_step20; exit {eval_status};;"
        f' gate) echo \'{{"exit_code": {judged}, "verdict": ""}}\' >{folder}/out/gate.json; exit {gate_status};; esac\n'
    )
    script.chmod(0o755)
    return script


def gate(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(CI / "gate.sh"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **variables}
    )


@pytest.mark.parametrize(
    ("eval_status", "gate_status", "judged", "status"),
    [
        (0, 0, 0, 0),
        (0, 1, 1, 1),
        (0, 3, 3, 3),
        (0, 2, 2, 2),
        (1, 0, 0, 2),
        (0, 1, 0, 2),
        (0, 3, 13, 2),
        (0, 137, 1, 2),
    ],
)
def test_gate_script_returns_the_status_where_the_report_confirms_it(
    tmp_path: Path, eval_status: int, gate_status: int, judged: int, status: int
) -> None:
    dipo = fake_dipo(tmp_path, eval_status, gate_status, judged)
    (tmp_path / "ckpt" / "global_step20_hf").mkdir(parents=True)
    done = gate(
        tmp_path / "ckpt" / "global_step20_hf", "--out", tmp_path / "out", DIPO=str(dipo), DIPO_SUITES="s1"
    )
    assert done.returncode == status, done.stderr
    first, *later = (tmp_path / "calls").read_text().splitlines()
    assert "--suites s1" in first
    assert "--run candidate --limit 500 --max-new-tokens 56" in first
    assert [call.split()[0] for call in later] == ([] if eval_status else ["gate", "board"])
    if later:
        assert "--candidate candidate/global_step20 " in later[0]
        assert "--baseline quickstart/global_step0 " in later[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no checkpoint named"),
        (["a", "b"], "two checkpoints, a and b"),
        (["a", "--nope"], "--nope: no such option"),
        (["a", "--out"], "--out needs a value"),
        (["a", "--dipo", "true", "--baseline-results", "/nowhere"], "/nowhere: no such folder"),
        (
            ["a", "--dipo", "true", "--baseline", "global_step0"],
            "--baseline global_step0: name it RUN/CHECKPOINT",
        ),
        (["a", "--dipo", "no-such-command"], "no-such-command: no such command"),
    ],
)
def test_gate_script_reports_usage_errors_in_one_line(arguments: list[str], message: str) -> None:
    done = gate(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_gate_script_has_help() -> None:
    done = gate("--help")
    assert done.returncode == 0
    assert "--baseline-results" in done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_valid(path: Path) -> None:
    """Parses; each step runs or uses something; what it runs exists; no input is pasted into a command."""
    workflow: dict[Any, Any] = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow[True]  # YAML 1.1 reads `on` as true
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert "${{" not in step.get("run", "")
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/x@v1"))
            for script in re.findall(r"ci/[\w./]+", step.get("run", "")):
                assert (CI.parent / script).is_file()


@pytest.mark.slow
def test_gate_script_passes_the_model_of_the_baseline(tmp_path: Path) -> None:
    """For real: the quickstart's model before training against the stored example (minutes)."""
    from dipo_openrlhf.quickstart.pretrain import pretrained_model
    from dipo_openrlhf.record.user_cache import cache_dir

    model = shutil.copytree(pretrained_model(cache_dir(), progress=False), tmp_path / "global_step0_hf")
    done = subprocess.run(
        ["bash", str(CI / "gate.sh"), str(model), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "board.html").is_file()
    assert (tmp_path / "out" / "gate.xml").read_text().startswith("<?xml")
