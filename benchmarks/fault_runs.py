"""The runs of faults.py: one command of `dipo train`, on this host or on two nodes in network namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from dipo_openrlhf.data.arithmetic import write_prompts
from dipo_openrlhf.openrlhf_patch.checkpoints import resumable_steps, tag_of
from dipo_openrlhf.openrlhf_patch.run_log import read_metrics
from dipo_openrlhf.processes import processes_of
from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.quickstart.run import cache_dir

MARK = "DIPO_FAULT_BENCHMARK"
STEPS = 6
RECIPE = """\
run: {{name: faulty, dir: {run_dir}, device: cpu, ray: {ray}, start_timeout: 110, step_timeout: 110}}
actor: {{model_name_or_path: {model}, adam: {{lr: 2.0e-4}}, lr_scheduler: constant}}
data: {{prompt_dataset: {prompts}, max_len: 112}}
rollout: {{batch_size: 8, n_samples_per_prompt: 8, max_new_tokens: 48, micro_batch_size: 32}}
train: {{batch_size: 32, micro_batch_size: 32}}
ckpt: {{save_steps: 1, max_num: 2, path: {ckpt}}}
dipo: {{min_side_samples: 10}}
"""
WATCH = """\
evaluate: {suites: [arithmetic-control], limit: 8, engine: hf, max_new_tokens: 48}
"""
_WIRE = ("10.77.0.1", "10.77.0.2")
_DEVICE = "dipo0"


@dataclass
class Place:
    """Where a run lives. `prefix`: what a command is started with; `environment`: what it is given beside ours."""

    prefix: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    spaces: list[str] = field(default_factory=list)

    def cut(self) -> None:
        """Take the second node's link down."""
        self._link("down")

    def mend(self) -> None:
        """Take it up again; nothing where there is none."""
        if self.spaces:
            self._link("up")

    def _link(self, state: str) -> None:
        ip = ["ip", "-n", self.spaces[1], "link", "set", _DEVICE, state]
        subprocess.run(ip, check=True, timeout=30)


@contextlib.contextmanager
def host() -> Iterator[Place]:
    """This host, with a Ray of the run's own."""
    yield Place()


@contextlib.contextmanager
def namespaces() -> Iterator[Place]:
    """Two nodes of a Ray cluster, each in a network namespace of its own, joined by one cable."""
    mark = uuid.uuid4().hex
    spaces = [f"dipo-{mark[:6]}-{end}" for end in ("a", "b")]
    temp = Path(tempfile.mkdtemp(prefix="dipo-ray-", dir="/tmp"))
    environment = {
        MARK: mark,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "GLOO_SOCKET_IFNAME": _DEVICE,
        "TP_SOCKET_IFNAME": _DEVICE,
        "VLLM_HOST_IP": "127.0.0.1",
    }
    try:
        _lay_cable(spaces)
        head = ["--head", f"--node-ip-address={_WIRE[0]}", "--port=6399", "--include-dashboard=false"]
        _start_node(spaces[0], [*head, f"--temp-dir={temp}"], environment)
        _start_node(spaces[1], [f"--address={_WIRE[0]}:6399", f"--node-ip-address={_WIRE[1]}"], environment)
        yield Place(
            ["ip", "netns", "exec", spaces[0]],
            {**environment, "RAY_ADDRESS": f"{_WIRE[0]}:6399"},
            spaces,
        )
    finally:
        _end(mark)
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True, timeout=30)
        shutil.rmtree(temp, ignore_errors=True)


def _lay_cable(spaces: list[str]) -> None:
    commands = [["ip", "netns", "add", space] for space in spaces]
    commands.append(
        [
            "ip",
            "link",
            "add",
            _DEVICE,
            "netns",
            spaces[0],
            "type",
            "veth",
            "peer",
            "name",
            _DEVICE,
            "netns",
            spaces[1],
        ]
    )
    for space, address in zip(spaces, _WIRE, strict=True):
        commands.append(["ip", "-n", space, "addr", "add", f"{address}/24", "dev", _DEVICE])
        commands += [["ip", "-n", space, "link", "set", device, "up"] for device in (_DEVICE, "lo")]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True, timeout=30)


def _start_node(space: str, options: list[str], environment: dict[str, str]) -> None:
    ray = [str(Path(sys.executable).with_name("ray")), "start", *options, "--disable-usage-stats"]
    ray += ["--num-gpus=1", "--num-cpus=8", f"--object-store-memory={200 * 1024**2}"]
    for attempt in range(3):
        result = subprocess.run(
            ["ip", "netns", "exec", space, *ray],
            env={**os.environ, **environment}, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        if result.returncode == 0:
            return
        if attempt == 2:
            raise SystemExit(f"a Ray node did not come up in {space}: {result.stdout}{result.stderr}")


def _end(mark: str) -> None:
    deadline = time.monotonic() + 60
    while (left := processes_of(mark, MARK)) and time.monotonic() < deadline:
        for process in left:
            for each in [process, *_children(process)]:
                with contextlib.suppress(psutil.Error):
                    each.kill()
        psutil.wait_procs(left, timeout=2)


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def write_recipe(folder: Path, place: Place, *, disk: Path | None = None, watched: bool = False) -> Path:
    """A run of STEPS steps, the same for every folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_prompts(folder / "prompts.jsonl", 8 * STEPS, 0)
    text = RECIPE.format(
        run_dir=folder / "run",
        ray="cluster" if place.spaces else "auto",
        model=pretrained_model(cache_dir()),
        prompts=folder / "prompts.jsonl",
        ckpt=(disk or folder / "run") / "ckpt",
    )
    (folder / "faulty.yaml").write_text(text + (WATCH if watched else ""), encoding="utf-8")
    return folder / "faulty.yaml"


class FaultRun:
    """One command `dipo train`."""

    def __init__(self, recipe: Path, place: Place, options: list[str]) -> None:
        self.recipe, self.place, self.options = recipe, place, options
        self.run_dir = recipe.parent / "run"
        self.mark = uuid.uuid4().hex
        self.log = recipe.parent / f"output-{self.mark[:6]}.txt"
        self.known = len(read_metrics(self.run_dir))
        command = [*place.prefix, sys.executable, "-m", "dipo_openrlhf.cli", "train", str(recipe), *options]
        environment = {
            **os.environ,
            **place.environment,
            MARK: self.mark,
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "250",
        }
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def is_running(self) -> bool:
        return self.process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """Everything of this run, on both nodes where there are two."""
        found = processes_of(self.mark, MARK)
        cluster = self.place.environment.get(MARK)
        return found + (processes_of(cluster, MARK) if cluster else [])

    def left_over_after(self, seconds: float) -> list[psutil.Process]:
        """Processes of the ended command that are still there once so long has passed."""
        deadline = time.monotonic() + seconds
        while (left := processes_of(self.mark, MARK)) and time.monotonic() < deadline:
            time.sleep(0.5)
        return left

    def await_moment(self, rng: random.Random) -> None:
        """A random moment: now and then while everything is starting, else from the first step on."""
        deadline = time.monotonic() + 300
        early = rng.random() < 0.2
        while self.is_running() and time.monotonic() < deadline:
            if early or len(read_metrics(self.run_dir)) > self.known:
                break
            time.sleep(0.1)
        time.sleep(rng.uniform(0, 15 if early else 5))

    def await_reaction(self, deadline: float) -> tuple[str, str]:
        """("restart" | "ended" | "through" | "nothing", the line that says so)."""
        while time.monotonic() < deadline:
            ended = not self.is_running()
            lines = self.output().splitlines()
            for line in lines:
                if line.startswith("restart "):
                    return "restart", line
            if ended:
                if self.process.returncode == 0:
                    return "through", ""
                return "ended", next((line for line in lines if line.startswith("error: ")), "")
            time.sleep(0.2)
        return "nothing", ""

    def finish(self, limit: float) -> tuple[int, str]:
        """(exit status, output); kills everything and raises TimeoutExpired when `limit` seconds pass."""
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            for process in processes_of(self.mark, MARK):
                process.kill()
            raise
        return status, self.output()

    def again(self) -> FaultRun:
        """The command that a user types after an error."""
        resume = ["--resume"] if resumable_steps(_ckpt_path(self.recipe)) else []
        return FaultRun(self.recipe, self.place, resume)


def _ckpt_path(recipe: Path) -> Path:
    disk = recipe.parent / "disk" / "ckpt"
    return disk if disk.exists() else recipe.parent / "run" / "ckpt"


def compare(undisturbed: Path, run_dir: Path) -> str | None:
    """What differs from the undisturbed run, or None."""
    one, other = _rollouts(undisturbed), _rollouts(run_dir)
    if sorted(other) != list(range(1, STEPS + 1)):
        return f"steps {sorted(other)}"
    for step in one:
        for group, twin in zip(one[step], other[step], strict=True):
            if any(group[key] != twin[key] for key in ("prompt", "correct", "rewards", "fired")):
                return f"step {step}: group {group['group']} is {twin}, was {group}"
    queues = [_queue(folder) for folder in (undisturbed, run_dir)]
    if [len(queue) for queue in queues] != [len(queues[0])] * 2 or not torch.allclose(*queues, atol=1e-3):
        return f"the queues differ: {queues}"
    return None


def _rollouts(run_dir: Path) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, dict[int, dict[str, Any]]] = {}
    for line in (run_dir / "rollouts.jsonl").read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # a line that a kill cut short
            row = json.loads(line)
            found.setdefault(row["step"], {})[row["group"]] = row
    return {step: [groups[index] for index in sorted(groups)] for step, groups in found.items()}


def _queue(run_dir: Path) -> torch.Tensor:
    """All values of the perplexity queue in the last checkpoint, in order."""
    folder = _ckpt_path(run_dir.parent / "faulty.yaml") / "_actor" / tag_of(STEPS)
    (state,) = folder.glob("*model_states.pt")
    queue = torch.load(state, weights_only=False)["dipo"]["queue"]
    values = [value for value in _tensors(queue)]
    return torch.cat([value.reshape(-1).double() for value in values])


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _tensors(value[key])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
