"""The Slurm script: what it requests, and how it behaves, run by bash with stand-ins for Slurm's own commands.

Slurm is not on a test machine: `srun` and `scontrol` are small scripts that run or record their arguments; the
trap, the requeue, the resume and the clean-up are the script's own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.launchers.launcher import Options
from dipo_openrlhf.launchers.request import make_request
from dipo_openrlhf.launchers.targets.slurm import sbatch, slurm_script

KEY = "feedface" * 5  # what the fixture sets; of no account


def script(recipe: str = "tiny.yaml", gpus_per_node: int = 1, time: str = "24:00:00", **changes: Any) -> str:
    options = Options(gpus_per_node=gpus_per_node, time=time, **changes)
    return slurm_script(make_request(recipe, []), options)


def test_it_requests_what_the_recipe_needs(project):
    text = script("big.yaml", gpus_per_node=8, sbatch=["--partition=gpu", "--account=lab"])
    for line in (
        "--nodes=2", "--gpus-per-node=8", "--ntasks-per-node=1", "--requeue", "--signal=B:USR1@1920", "--time=24:00:00",
        "--export=NONE", "--output=/shared/runs/big/slurm-%j.log", "--partition=gpu", "--account=lab",
        "--open-mode=append",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in text
    assert "--gpus 16 " in text
    assert "--num-gpus" not in text  # real ones are found by Ray
    assert "run_or_resume big.yaml --run.ray cluster" in text
    directives = [number for number, line in enumerate(text.splitlines()) if line.startswith("#SBATCH")]
    first_command = text.splitlines().index("set -uo pipefail")
    assert max(directives) < first_command  # Slurm stops reading at the first command
    assert "sleep" not in text
    lines = text.splitlines()
    path = next(line for line in lines if line.startswith('export PATH="$(dirname "$PYTHON"):$PATH"'))
    assert lines.index(path) < next(i for i, line in enumerate(lines) if '"$RAY" start' in line)


def test_a_job_for_gpus_is_not_sent_with_the_environment_for_cpu(project):
    """The one that the tests have: the job would wait in the queue, and fail in the engines."""
    words = ["submit", "big.yaml", "--to", "slurm", "--time", "24:00:00", "--gpus-per-node", "8"]
    raised = CliRunner().invoke(app, words).exception
    assert isinstance(raised, UserError)
    assert "this environment is for CPU, and the job would train with it" in str(raised)
    assert ".venv-gpu/bin/dipo" in str(raised)


def test_the_key_is_in_no_script(project):
    text = script(secrets_file="/home/me/my keys")
    assert KEY not in text
    assert "export DIPO_SECRETS_FILE='/home/me/my keys'\n" in text
    with pytest.raises(UserError, match="the Slurm script holds the value of WANDB_API_KEY"):
        script(sbatch=[f"--comment={KEY}"])


@pytest.mark.parametrize("save_before", [0, 60, 1200])
def test_the_notice_follows_from_what_saving_takes(project, save_before):
    request = make_request("tiny.yaml", ["--run.save_before", str(save_before)])
    text = slurm_script(request, Options(gpus_per_node=1, time="1:00:00"))
    assert f"#SBATCH --signal=B:USR1@{save_before + 120}\n" in text
    assert f"the time limit is {save_before + 120} s away" in text


@pytest.mark.parametrize("limit", ["14", "14:00", "0:14:00", "0-0:14"])
def test_a_time_limit_that_leaves_nothing_is_refused(project, limit):
    with pytest.raises(
        UserError, match=rf"--time {limit}: leaves too little .* 420 s before .*save_before: 300"
    ):
        script(time=limit)


@pytest.mark.parametrize("limit", ["30", "15:00", "1:00:00", "2-00", "0-1", "1-12:30:00"])
def test_time_limits_of_sbatch(project, limit):
    assert f"--time={limit}\n" in script(time=limit)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": "a day"}, "--time 'a day': write minutes"),
        ({"sbatch": ["gpu"]}, "give one option of sbatch"),
        *(
            ({"sbatch": [option]}, "give one option of sbatch")
            for option in ("--a\nrm -rf /", "--comment=x\r#SBATCH --foo", "-", "--", "--comment='x")
        ),
        *(
            ({"sbatch": [option]}, rf"the script sets --{name} itself")
            for name, option in (
                ("export", "--export=ALL"),
                ("export-file", "--export-file=x"),
                ("time", "--time 10"),
                ("time", "-t10"),
                ("time", "-Ht 10"),
                ("time", "--tim=10"),
                ("time-min", "--time-min=10"),
                ("signal", "--signal=USR2"),
                ("signal", "--partition=gpu --sig=USR2"),
            )
        ),
        ({"env": ["A;touch /tmp/x;B"]}, "is no name of a variable"),
        ({"env": ["BASH_FUNC_ml%%"]}, "is no name of a variable"),
    ],
)
def test_bad_options_are_refused(project, change, words):
    with pytest.raises(UserError, match=words):
        script(**change)


def test_options_of_sbatch_are_taken(project):
    options = ["--exclude=node[1-2]", "-p gpu", "--tmp=10G", '--comment="a --time of day"']
    assert [line for line in script(sbatch=options).splitlines() if line[8:] in options] == [
        f"#SBATCH {option}" for option in options
    ]


def test_variables_of_sbatch_do_not_override_the_script(project, monkeypatch, tmp_path, capsys):
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text('#!/bin/bash\necho "$1" $(env | grep -c ^SBATCH_) "${SLURM_CONF:-}"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SBATCH_EXPORT", "ALL")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "10")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    assert sbatch("x", tmp_path / "run") == "--export=NONE 0 /etc/slurm.conf\n"
    assert "SBATCH_EXPORT, SBATCH_TIMELIMIT: not passed on" in capsys.readouterr().err


def test_no_sbatch_is_one_line_and_keeps_the_script(project, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch is not on this machine: run `sbatch --export=NONE "):
        sbatch("#!/bin/bash\n", tmp_path / "run")
    assert (tmp_path / "run" / "slurm.sbatch").read_text() == "#!/bin/bash\n"


def test_sbatchs_answer_is_shown(project, monkeypatch, tmp_path):
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text('#!/bin/bash\ngrep -q requeue "$2" && echo "Submitted batch job 7"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    (project / "tiny.yaml").write_text(
        (project / "tiny.yaml").read_text().replace("/shared/runs/tiny", str(tmp_path / "run"))
    )
    result = CliRunner().invoke(app, ["submit", "tiny.yaml", "--to", "slurm", "--time", "60"])
    assert (result.exit_code, result.output.strip()) == (0, "Submitted batch job 7")
    fake.write_text("#!/bin/bash\necho 'invalid partition' >&2; exit 1\n")
    with pytest.raises(UserError, match=r"sbatch refused .*: invalid partition"):
        sbatch("x", tmp_path / "run")


SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
[[ "$3" == hostname* ]] && { printf '127.0.1.1\\nfe80::1 10.0.0.1 10.9.9.9 \\n'; exit; }
trap 'kill -KILL "$task"; wait "$task"' TERM  # as an srun that is ended does with its tasks
"$@" & task=$!
wait "$task"
"""
SCONTROL = """#!/bin/bash
[ "$1" = show ] && { printf 'node1\\nnode2\\n'; exit; }
echo "$@" >> "$RECORD"
"""
RAY = """#!/bin/bash
echo "ray $*" >> "$RECORD"
[ -n "${RAY_FAILS:-}" ] && exit 1
exec sleep 300
"""
PYTHON = """#!/bin/bash
echo "python $*" >> "$RECORD"
if [[ "$2" == *.ready ]]; then
    trap 'kill $!; wait $!; exit 143' TERM
    sleep "${READY_TAKES:-0}" & wait $!
    [ "$(grep -c launchers.ready "$RECORD")" -ge "${NOT_READY_FROM:-9}" ] && exit 1
    exit 0
fi
if [[ "$2" == *.slurm_step ]]; then
    while [ "$1" != start ]; do shift; done
    kill -TERM $$  # a preemption in the step's first moments
    exec "$REAL_PYTHON" -c 'import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_DFL)
os.execvp("ray", ["ray", *sys.argv[1:]])' "$@"
fi
[ -n "${DONE:-}" ] && exit "$DONE"
until [ "$(grep -c '^ray start' "$RECORD")" = 2 ]; do sleep 0.05; done
exec "$REAL_PYTHON" "$TRAINER"
"""
TRAINER = """
import os, signal, sys, time
def say(word):
    with open(os.environ["RECORD"], "a") as file:
        print(word, file=file)
def save(*_):
    say("saved")
    sys.exit(130)
def interrupt(*_):
    say("interrupted")
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, interrupt)
say("trains")
time.sleep(60)
"""


class Job:
    """The script as Slurm starts it: in a session of its own, with Slurm's variables."""

    def __init__(self, folder: Path, text: str, **environment: str) -> None:
        bin_folder = folder / "bin"
        bin_folder.mkdir(exist_ok=True)
        for name, content in (("srun", SRUN), ("scontrol", SCONTROL), ("ray", RAY), ("python", PYTHON)):
            (bin_folder / name).write_text(content)
            (bin_folder / name).chmod(0o755)
        (folder / "trainer.py").write_text(TRAINER)
        lines = [
            f"PYTHON={bin_folder}/python" if line.startswith("PYTHON=") else line
            for line in text.splitlines()
        ]
        (folder / "job.sh").write_text("\n".join(lines) + "\n")
        self.record = folder / "record"
        self.record.touch()
        self.process = subprocess.Popen(
            ["bash", str(folder / "job.sh")],
            env={
                "PATH": f"{bin_folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "41", "SLURM_JOB_NODELIST": "node[1-2]",
                "RECORD": str(self.record), "REAL_PYTHON": sys.executable, "TRAINER": str(folder / "trainer.py"),
                **environment,
            },
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def lines(self) -> list[str]:
        return self.record.read_text().splitlines()

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + 20
        while not any(words in line for line in self.lines()):
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.05)

    def finish(self) -> tuple[int, str]:
        try:
            output, _ = self.process.communicate(timeout=30)
        finally:
            left = subprocess.run(["pgrep", "-s", str(self.process.pid)], capture_output=True, text=True)
            if left.stdout:
                os.killpg(self.process.pid, signal.SIGKILL)
        assert left.stdout == "", "processes of the job are left"
        return self.process.returncode, output


@pytest.mark.parametrize("times", [1, 2])
def test_before_its_time_limit_it_saves_and_requeues(project, tmp_path, times):
    job = Job(tmp_path, script())
    job.wait_for("trains")
    for _ in range(times):  # preempted, and near the limit
        job.process.send_signal(signal.SIGUSR1)
    status, output = job.finish()
    assert status == 0, output
    assert output.count("saving, then stopping to be requeued") == 1
    assert job.lines()[-2:] == ["saved", "requeue 41"]
    worker, head = sorted(line for line in job.lines() if line.startswith("ray"))
    assert "start --head --node-ip-address=10.0.0.1 --port=20041 --num-gpus=1" in head
    assert "start --address=10.0.0.1:20041 --num-gpus=1" in worker
    assert any(
        "launchers.ready 10.0.0.1:20041 --nodes 2 --gpus 2 --timeout 600" in line for line in job.lines()
    )


def test_a_cancelled_job_ends_and_does_not_come_back(project, tmp_path):
    job = Job(tmp_path, script())
    job.wait_for("trains")
    job.process.send_signal(signal.SIGTERM)
    job.process.send_signal(signal.SIGUSR1)  # by slurm_step, which cannot tell a preemption from scancel
    status, output = job.finish()
    assert status == 130, output
    assert job.lines()[-1] == "interrupted"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_the_cluster_starts_trains_nothing(project, tmp_path, sent):
    job = Job(tmp_path, script(), READY_TAKES="1")
    job.wait_for("launchers.ready")
    job.process.send_signal(sent)
    status, output = job.finish()
    assert not any("run_or_resume" in line for line in job.lines())
    requeued = "requeue 41" in job.lines()
    assert (status, requeued) == ((130, False) if sent == signal.SIGTERM else (0, True)), output


@pytest.mark.parametrize("result", ["0", "2"])
def test_its_status_is_the_trainings(project, tmp_path, result):
    job = Job(tmp_path, script(), DONE=result)
    assert job.finish()[0] == int(result)
    assert not any("requeue" in line for line in job.lines())


def test_a_lost_node_requeues_the_job(project, tmp_path):
    job = Job(tmp_path, script(), DONE="2", NOT_READY_FROM="2")
    status, output = job.finish()
    assert (status, job.lines()[-1]) == (0, "requeue 41"), output
    assert "the Ray cluster has lost a node" in output
    asked = [line for line in job.lines() if "launchers.ready" in line]
    assert "--timeout 30" in asked[-1]


def test_a_cluster_that_does_not_come_up_ends_the_job(project, tmp_path):
    job = Job(tmp_path, script(), NOT_READY_FROM="1")
    assert job.finish()[0] == 1
    assert not any("run_or_resume" in line for line in job.lines())


def test_a_head_that_cannot_start_is_not_waited_for(project, tmp_path):
    """Its port is taken, or its disk is full: its step ends at once."""
    job = Job(tmp_path, script(), READY_TAKES="25", RAY_FAILS="1")
    started = time.monotonic()
    status, output = job.finish()
    assert status == 1
    assert time.monotonic() - started < 20
    assert "error: Ray has ended on a node before the cluster was ready" in output
    assert not any("run_or_resume" in line for line in job.lines())


def test_requeues_are_counted(project, tmp_path):
    job = Job(tmp_path, script(), SLURM_RESTART_COUNT="50")
    job.wait_for("trains")
    job.process.send_signal(signal.SIGUSR1)
    status, output = job.finish()
    assert (status, "requeued 50 times already" in output) == (1, True)
    assert "requeue 41" not in job.lines()
