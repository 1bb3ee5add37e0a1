"""What `dipo submit --to ray` would send: checked, shown, and free of keys. The real cluster is in end_to_end/."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import dipo_eval
import dipo_openrlhf
from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.launchers import ray_jobs
from dipo_openrlhf.launchers.launcher import Options
from dipo_openrlhf.launchers.request import make_request
from dipo_openrlhf.launchers.targets.ray import why
from dipo_openrlhf.launchers.upload import stage as upload

MODEL = {f"model/{name}" for name in ("config.json", "tokenizer.json", "model.safetensors")}  # the fixture's
KEY = "feedface" * 5  # what the fixture sets; of no account
ADDRESS = "http://127.0.0.1:8265"


def plan(recipe: str = "tiny.yaml", *tokens: str, **options: Any) -> ray_jobs.JobPlan:
    return ray_jobs.plan_job(make_request(recipe, list(tokens)), ADDRESS, Options(**options))


def dry_run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["submit", *arguments, "--dry-run"])
    if isinstance(result.exception, UserError):
        return 2, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_dry_run_shows_all_that_would_be_sent(project):
    (project / "data").mkdir()
    (project / "data" / "more.jsonl").write_text("x" * 2048)
    (project / "data" / "other.jsonl").write_text("x")
    status, output = dry_run(
        "tiny.yaml", "--dipo.alpha", "0.2", "--address", ADDRESS, "--include", "/data/more.jsonl"
    )
    assert status == 0
    entry = "python -m dipo_openrlhf.cli train tiny.yaml --dipo.alpha 0.2 --run.ray cluster"
    assert re.search(rf"entrypoint +{re.escape(entry)}\n", output)
    assert "takes         2 simulated GPUs" in output
    for size, name in (("2.0 KiB", "data/more.jsonl"), ("23 B", "model/config.json")):
        assert re.search(rf"{size} +{name}", output)
    assert re.search(r"working_dir +\S+project: 7 files", output)
    assert "data/other.jsonl: not code or configuration, and not named by the recipe\n" in output
    assert len(re.findall("py_modules", output)) == 2
    assert "RAY_JOB_STOP_WAIT_TIME_S" in output
    assert "set here and not sent: WANDB_API_KEY" in output
    assert KEY not in output


def test_on_a_cluster_auto_means_gpu(project):
    text = (project / "tiny.yaml").read_text().replace(", device: cpu", "")
    (project / "auto.yaml").write_text(text.replace("/shared/runs/tiny", "/shared/runs/auto"))
    assert plan("auto.yaml", "--vllm.num_engines", "1", "--actor.num_gpus_per_node", "1").entrypoint.endswith(
        "--run.ray cluster --run.device gpu"
    )


def test_ray_zips_exactly_what_was_listed(project, tmp_path):
    """Ray's own packaging, which the upload runs, on the folder that it is handed."""
    import zipfile

    from ray._private.runtime_env.packaging import create_package

    (project / ".env").write_text(KEY)
    (project / ".gitignore").write_text("*.jsonl\n")
    (project / ".rayignore").write_text("*.yaml\n")
    (project / "a.log").write_text("x")
    planned = plan()
    with upload.staged(planned.uploads, {}) as folders:
        for number, (folder, listed) in enumerate(zip(folders, planned.uploads, strict=True)):
            target = tmp_path / f"{number}.zip"
            create_package(str(folder), target, include_gitignore=True, excludes=[])
            with zipfile.ZipFile(target) as archive:
                assert set(archive.namelist()) == set(listed.files)
    assert set(planned.uploads[0].files) == {"prompts.jsonl", *MODEL, "tiny.yaml"}
    assert not folders[0].exists()


def test_a_file_that_ray_would_leave_out_is_refused(project):
    """Ray leaves some folders out by itself: a model in one of them would be missing on the cluster."""
    (project / "model").rename(project / "venv")
    planned = plan("tiny.yaml", "--actor.model_name_or_path", "venv")
    with (
        pytest.raises(UserError, match=r"venv/config\.json: Ray packs no file of this name"),
        upload.staged(planned.uploads, {}),
    ):
        pass


def test_a_key_in_a_file_is_refused_by_name(project):
    (project / "train.sh").write_text(f"export WANDB_API_KEY={KEY}\n")
    with pytest.raises(UserError, match=r"train\.sh holds the value of WANDB_API_KEY") as raised:
        plan()
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("words", [["--run.name", KEY], ["--logger.wandb.project", KEY]])
def test_a_key_in_an_argument_is_refused(project, words):
    status, output = dry_run("tiny.yaml", *words)
    assert status == 2
    assert f"{words[0][2:]}: holds the value of WANDB_API_KEY" in output
    assert KEY not in output


def test_a_key_is_no_variable_of_a_job(project, monkeypatch, tmp_path):
    monkeypatch.setenv("DIPO_DATA_DIR", "/shared/data")
    planned = plan(env=["DIPO_DATA_DIR"], secrets_file="/home/me/keys")
    assert planned.runtime_env["env_vars"] == {
        "RAY_JOB_STOP_WAIT_TIME_S": "390",  # run.save_before of a CPU run, and 90 s for a clean end
        "DIPO_DATA_DIR": "/shared/data",
        "DIPO_SECRETS_FILE": "/home/me/keys",
    }
    assert KEY not in repr(planned)
    for name, words in (("WANDB_API_KEY", "--secrets-file"), ("NOT_SET", "export it first")):
        with pytest.raises(UserError, match=words):
            plan(env=[name])
    with pytest.raises(UserError, match="absolute path"):
        plan(secrets_file="keys")
    readable = tmp_path / "keys"
    readable.write_text("WANDB_API_KEY=0123456789abcdef\n")
    readable.chmod(0o644)
    with pytest.raises(UserError, match="can be read by others: chmod 600"):
        plan(secrets_file=str(readable))
    readable.chmod(0o600)
    assert plan(secrets_file=str(readable)) is not None


def test_too_large_an_upload_is_refused_with_the_largest_files(project, monkeypatch):
    monkeypatch.setattr(upload, "LIMIT", 2**20)
    (project / "big.jsonl").write_bytes(b"x" * 2**21)
    with pytest.raises(UserError, match=r"2 MiB to send, more than 1: .*--exclude.*big\.jsonl \(2 MiB\)"):
        plan(include=["big.jsonl"])


def test_what_the_recipe_names_travels(project):
    (project / ".gitignore").write_text("*.jsonl\n")
    (project / "more.jsonl").write_text((project / "prompts.jsonl").read_text())
    (project / "reward.bin").write_text("x")
    (project / "suites").mkdir()
    (project / "suites" / "mine.yaml").write_text("name: mine\nfile: mine.jsonl\n")
    (project / "suites" / "mine.jsonl").write_text("{}\n")
    sent = plan(
        "tiny.yaml", "--data.prompt_dataset", "prompts.jsonl,more.jsonl", "--evaluate.suites", "[suites/mine.yaml]"
    ).uploads[0].files  # fmt: skip
    assert {"prompts.jsonl", "more.jsonl", "model/model.safetensors", "suites/mine.jsonl"} < sent.keys()
    assert "reward.bin" not in sent


def test_what_the_recipe_names_and_may_not_travel_is_refused(project):
    with pytest.raises(
        UserError, match=r"data\.prompt_dataset: 'prompts\.jsonl': is not sent \(--exclude\): "
    ):
        plan(exclude=["*.jsonl"])
    (project / "prompts.jsonl").rename(project / "my_credentials.json")
    with pytest.raises(UserError, match=r"'my_credentials\.json': is not sent \(may hold keys\): rename it"):
        plan("tiny.yaml", "--data.prompt_dataset", "my_credentials.json")
    (project / "my_credentials.json").rename(project.parent / "prompts.jsonl")
    (project / "prompts.jsonl").symlink_to(project.parent / "prompts.jsonl")
    with pytest.raises(
        UserError,
        match=r"'prompts\.jsonl': is not sent \(a link out of this folder\): put a copy in its place",
    ):
        plan()


@pytest.mark.parametrize("value", ["ds@train", "prompts.jsonl, ds @ train", "ds@train,prompts.jsonl@x"])
def test_a_folder_with_a_subfolder_of_it_travels(project, value):
    """OpenRLHF reads FOLDER of FOLDER@SUBFOLDER, where the subfolder is the `data_dir` of `load_dataset`."""
    (project / "ds" / "train").mkdir(parents=True)
    (project / "ds" / "train" / "rows.jsonl").write_text("{}\n")
    assert "ds/train/rows.jsonl" in plan("tiny.yaml", "--data.prompt_dataset", value).uploads[0].files
    (project / "tiny.yaml").write_text((project / "tiny.yaml").read_text() + "eval: {dataset: 'ds@train'}\n")
    assert "ds/train/rows.jsonl" in plan().uploads[0].files


def test_what_a_recipe_extends_must_travel_too(project):
    (project / "tiny.yaml").rename(project.parent / "base.yaml")
    (project / "tiny.yaml").write_text("extends: ../base\n")
    with pytest.raises(UserError, match=r"RECIPE base\.yaml: '\.\./base\.yaml': is not sent"):
        plan()
    (project.parent / "base.yaml").rename(project / "base.yaml")
    (project / "tiny.yaml").write_text("extends: base\n")
    assert {"tiny.yaml", "base.yaml"} <= plan().uploads[0].files.keys()


@pytest.mark.parametrize("folder", ["", "runs/tiny"])
def test_a_run_folder_of_one_node_is_refused(project, folder):
    (project / "tiny.yaml").write_text(
        (project / "tiny.yaml").read_text().replace("dir: /shared/runs/tiny", f"dir: {folder!r}")
    )
    with pytest.raises(
        UserError, match=r"run\.dir: .* must be an absolute path on storage that every node sees"
    ):
        plan()


def test_mistakes_are_reported_before_anything_is_sent(project):
    for arguments, words in (
        (["tiny.yaml", "--dipo.alfa", "1"], "did you mean 'alpha'?"),
        (["tiny.yaml", "--to", "slrum"], "did you mean slurm?"),
        (["none.yaml"], "'none.yaml': no such file"),
        (["tiny.yaml", "--address", "ray://head:10001"], "give the job server's URL"),
        (["tiny.yaml", "--data.prompt_dataset", "gone.jsonl"], "no such file"),
        ([], "no recipe given"),
        (["tiny.yaml", "--stop", "x"], "take one job's ID and nothing else"),
    ):
        status, output = dry_run(*arguments)
        assert (status, words in output) == (2, True), output
        assert "\n" not in output.strip()


def test_no_server_is_one_line(project):
    with pytest.raises(UserError, match=r"no Ray job server answers at http://127\.0\.0\.1:9: "):
        ray_jobs.client_of("http://127.0.0.1:9")


class Server:
    """A job server's client as Ray's behaves: the log ends where the connection broke, then starts anew."""

    def __init__(self, logs: list[str], status: list[str], env_vars: dict[str, str] | None = None) -> None:
        self.logs, self.status, self.env_vars = logs, status, env_vars
        self.stopped: list[str] = []

    def get_job_info(self, job: str) -> Any:
        value = self.status.pop(0) if len(self.status) > 1 else self.status[0]
        terminal = value in ("SUCCEEDED", "FAILED", "STOPPED")
        return SimpleNamespace(
            status=SimpleNamespace(value=value, is_terminal=lambda: terminal),
            message="queued",
            metadata={},
            runtime_env=self.env_vars and {"env_vars": self.env_vars},
        )

    async def tail_job_logs(self, job: str) -> Any:
        text = self.logs.pop(0)
        for letter in text.removesuffix("!"):
            yield letter
        if text.endswith("!"):
            raise RuntimeError("connection lost")

    def stop_job(self, job: str) -> bool:
        self.stopped.append(job)
        return True


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(ray_jobs, "POLL", 0.0)


def test_following_continues_where_the_connection_broke(quick):
    server = Server(["abc!", "abcdef", "abcdefgh"], ["PENDING", "RUNNING", "RUNNING", "SUCCEEDED"])
    written: list[str] = []
    details = ray_jobs.follow(server, "job", written.append)
    assert ("".join(written), details.status.value) == ("abcdefgh", "SUCCEEDED")


def test_waiting_for_a_job_to_start_has_a_limit(quick, monkeypatch):
    monkeypatch.setattr(ray_jobs, "START_TIMEOUT", 0.05)
    with pytest.raises(UserError, match=r"still PENDING after 0 s: .*--stop job \(Ray: queued\)"):
        ray_jobs.follow(Server([], ["PENDING"]), "job", print)


def test_following_ends_when_the_server_is_gone(quick, monkeypatch):
    monkeypatch.setattr(ray_jobs, "LOST_TIMEOUT", 0.05)
    server = Server(["!"] * 100000, ["RUNNING"])
    with pytest.raises(UserError, match=r"has not answered for 0 s .*dipo submit --logs job"):
        ray_jobs.follow(server, "job", lambda text: None)


class Frozen(Server):
    """Its connection stays open, and nothing comes any more: neither a line of the log nor an answer."""

    def get_job_info(self, job: str) -> Any:
        if not self.logs:
            raise TimeoutError("no answer")
        return super().get_job_info(job)

    async def tail_job_logs(self, job: str) -> Any:
        async for letter in super().tail_job_logs(job):
            yield letter
        await asyncio.sleep(3600)


@pytest.mark.timeout(60)
def test_following_ends_when_the_server_freezes(quick, monkeypatch):
    monkeypatch.setattr(ray_jobs, "QUIET", 0.02)
    monkeypatch.setattr(ray_jobs, "LOST_TIMEOUT", 0.05)
    written: list[str] = []
    with pytest.raises(UserError, match=r"has not answered for 0 s .*dipo submit --logs job"):
        ray_jobs.follow(Frozen(["abc"], ["RUNNING"]), "job", written.append)
    assert "".join(written) == "abc"


class Quiet(Server):
    """A job that prints nothing for a while."""

    async def tail_job_logs(self, job: str) -> Any:
        yield "a"
        await asyncio.sleep(0.2)
        yield "b"


def test_a_quiet_job_is_followed_on_one_connection(quick, monkeypatch):
    monkeypatch.setattr(ray_jobs, "QUIET", 0.02)
    monkeypatch.setattr(ray_jobs, "LOST_TIMEOUT", 0.05)
    written: list[str] = []
    server = Quiet([], ["RUNNING"] * 200 + ["SUCCEEDED"])
    assert ray_jobs.follow(server, "job", written.append).status.value == "SUCCEEDED"
    assert "".join(written) == "ab"


@pytest.mark.parametrize("seconds", ["soon", "", "9" * 5000, "-99", "1e9"])
def test_a_jobs_own_time_to_stop_may_be_anything(quick, seconds):
    server = Server([], ["RUNNING", "STOPPED"], {"RAY_JOB_STOP_WAIT_TIME_S": seconds})
    assert ray_jobs.stop(server, "job").status.value == "STOPPED"


def test_stop_waits_for_the_end_with_a_limit(quick, monkeypatch):
    server = Server([], ["RUNNING", "RUNNING", "STOPPED"])
    assert ray_jobs.stop(server, "job").status.value == "STOPPED"
    assert server.stopped == ["job"]
    monkeypatch.setattr(ray_jobs, "CLEAN_END", -60)
    with pytest.raises(UserError, match="has not ended"):
        ray_jobs.stop(Server([], ["RUNNING"]), "job")


def test_the_address_comes_from_rays_variables(monkeypatch):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert ray_jobs.server_address(None) == ADDRESS
    monkeypatch.setenv("RAY_ADDRESS", "https://head:8265/")
    assert ray_jobs.server_address(None) == "https://head:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://other:1")
    assert ray_jobs.server_address(None) == "http://other:1"
    assert ray_jobs.server_address("http://given:2/") == "http://given:2"


@pytest.mark.parametrize(
    "address",
    [
        "http://me:S3cret#word99@h:1", "http://me:S3cret?word99@h:1", "http://me:S3cret/word99@h:1",
        "http://me:S3 cret99@h:1", "http://me:S3cret99@[::1:8265", "http://h:80#S3cret99@x", "http://h:1/\x1b[2J",
    ],
)  # fmt: skip
def test_an_address_whose_password_is_not_encoded_is_refused_unseen(monkeypatch, address):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
    for given in (None, address):
        with pytest.raises(UserError, match="--address") as raised:
            ray_jobs.server_address(given)
        assert "S3" not in str(raised.value)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://me:S3cret%23word99@h:1")
    assert ray_jobs.server_address(None) == "http://me:S3cret%23word99@h:1"


def test_our_code_is_complete():
    for ours, package in zip(upload.own_code(), (dipo_openrlhf, dipo_eval), strict=True):
        root = Path(package.__file__).parent
        complete = {
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert (ours.root, set(ours.files)) == (root, complete)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (None, "no message"),
        ("Currently running.", "Currently running."),
        (
            "Job failed with exit code 1, last available logs (truncated):\nTraceback",
            "Job failed with exit code 1",
        ),
        ("Job failed, last available logs:\nerror: a\nstep 1\nerror: the disk is full\n", "the disk is full"),
    ],
)
def test_why_a_job_failed_is_one_line(message, line):
    assert why(message) == line
