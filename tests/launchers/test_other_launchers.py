"""KubeRay's manifest against KubeRay's schema, the local script, resuming, readiness, and what a recipe needs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.launchers.launcher import Options
from dipo_openrlhf.launchers.ready import main as ready_main
from dipo_openrlhf.launchers.ready import wait_until_ready
from dipo_openrlhf.launchers.request import make_request
from dipo_openrlhf.launchers.run_or_resume import train_arguments
from dipo_openrlhf.launchers.targets.kuberay import manifest
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.placement import needs_of
from dipo_openrlhf.record.checkpoints import mark_complete

KEY = "feedface" * 5  # what the fixture sets; of no account
SCHEMA = json.loads((Path(__file__).parent / "rayjob_schema.json").read_text())
KUBE = Options(image="registry/dipo:1", claim="lab:/shared", secret="dipo-keys", cpus=32, memory="256Gi")


def documents(
    recipe: str = "big.yaml", *tokens: str, **changes: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    options = dataclasses.replace(KUBE, **changes)
    config, job = yaml.safe_load_all(manifest(make_request(recipe, list(tokens)), options))
    return config, job


@pytest.mark.parametrize("gpus_per_node", [1, 2, 8, 16])
def test_the_manifest_follows_kuberays_schema(project, monkeypatch, gpus_per_node):
    monkeypatch.setenv("WANDB_MODE", "online")
    config, job = documents(gpus_per_node=gpus_per_node, env=["WANDB_MODE"])
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(job, SCHEMA)
    cluster = job["spec"]["rayClusterSpec"]
    workers = cluster.get("workerGroupSpecs", [])
    pods = [cluster["headGroupSpec"], *(group for group in workers for _ in range(group["replicas"]))]
    gpus = [pod["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] for pod in pods]
    assert sum(gpus) == 16
    for pod in pods:
        variable, *_ = pod["template"]["spec"]["containers"][0]["env"]
        assert variable == {"name": "WANDB_MODE", "value": "online"}
    name = job["metadata"]["name"]
    assert config["metadata"]["name"] == name
    assert re.fullmatch("dipo-big-[0-9a-f]{8}", name)


def test_two_runs_have_two_names(project):
    """`kubectl apply` of the second would replace the first one's recipe."""

    def name(run_dir: str, run_name: str) -> str:
        found = documents("big.yaml", "--run.dir", f"/shared/{run_dir}", "--run.name", run_name)[1]
        return str(found["metadata"]["name"])

    assert name("a", "big") == name("a", "big")
    runs = [
        ("a", "big"),
        ("b", "big"),
        ("a", "a_b"),
        ("a", "a-b"),
        ("a", "été"),
        ("a", "日本"),
        ("a", "x" * 80),
    ]
    names = {name(*run) for run in [*runs, ("a", "x" * 80 + "y")]}
    assert len(names) == len(runs) + 1
    assert all(re.fullmatch("[a-z]([a-z0-9-]*[a-z0-9])", one) and len(one) <= 45 for one in names)


@pytest.mark.parametrize("memory", ["0", "0Gi", "99999999999999P", "9" * 400, "٤Gi"])
def test_a_size_that_no_machine_has_is_refused(project, memory):
    with pytest.raises(UserError, match="--memory '"):
        documents(memory=memory)


@pytest.mark.parametrize("save_before", [0, 2400])
def test_a_pod_that_is_ended_lets_the_run_save(project, save_before):
    _, job = documents("big.yaml", "--run.save_before", str(save_before))
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == save_before + 90
        hook = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert hook[:3] == ["python", "-m", "dipo_openrlhf.launchers.stop_run"]
        assert hook[3:] == ["/shared/runs/big", "--seconds", str(save_before)]
    assert f"RAY_JOB_STOP_WAIT_TIME_S: '{save_before + 90}'" in job["spec"]["runtimeEnvYAML"]


def test_a_pod_has_the_gpus_of_the_recipes_nodes(project):
    """--gpus-per-node is for another size."""
    sized = ["--run.gpus_per_node", "4"]
    for tokens, given, workers, gpus in ((sized, None, 3, 4), (sized, 8, 1, 8), ([], None, 1, 8)):
        _, job = documents("big.yaml", *tokens, gpus_per_node=given)
        (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert (group["replicas"], limits["nvidia.com/gpu"]) == (workers, gpus)


def test_a_pod_is_sized_by_the_recipe(project):
    _, job = documents(cpus=None, memory=None)
    for group in (
        job["spec"]["rayClusterSpec"]["headGroupSpec"],
        *job["spec"]["rayClusterSpec"]["workerGroupSpecs"],
    ):
        resources = group["template"]["spec"]["containers"][0]["resources"]
        assert (
            resources["limits"]
            == resources["requests"]
            == {"cpu": "36", "memory": "120Gi", "nvidia.com/gpu": 8}
        )


def test_the_schema_refuses_what_kuberay_would(project):
    _, job = documents()
    for path, value in (
        (("spec", "backoffLimit"), "3"),
        (("spec", "shutDownAfterJobFinishes"), True),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams"), {"num-gpus": 1}),
    ):
        bad = json.loads(json.dumps(job))
        place = bad
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, SCHEMA)


def test_the_recipe_in_the_manifest_is_the_recipe(project, tmp_path):
    config, job = documents("big.yaml", "--dipo.alpha", "0.2", "--actor.eps_clip_low_high", "0.1", "0.3")
    inside = tmp_path / "recipe.yaml"
    inside.write_text(config["data"]["recipe.yaml"])
    there = load_recipe(str(inside))
    here = make_request("big.yaml", ["--dipo.alpha", "0.2", "--actor.eps_clip_low_high", "0.1", "0.3"])
    assert there.hash == here.recipe.hash
    assert (there.run.ray, there.run.device, there.dipo.alpha) == ("cluster", "gpu", 0.2)
    assert job["spec"]["entrypoint"].endswith("run_or_resume /etc/dipo/recipe.yaml")


def test_keys_are_referred_to_and_never_written(project):
    text = manifest(make_request("big.yaml", []), KUBE)
    assert KEY not in text
    _, job = yaml.safe_load_all(text)
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        for key in ("WANDB_API_KEY", "HF_TOKEN"):
            reference = {"secretKeyRef": {"name": "dipo-keys", "key": key, "optional": True}}
            assert {"name": key, "valueFrom": reference} in group["template"]["spec"]["containers"][0]["env"]


@pytest.mark.parametrize(
    ("tokens", "changes", "words"),
    [
        *(
            ([], {"claim": claim}, "write CLAIM:/MOUNT")
            for claim in (
                "lab",
                "lab:/",
                "lab x:/shared",
                "lab:/a:/b",
                "lab:/shared/..",
                "Lab:/shared",
                "lab://shared",
            )
        ),
        ([], {"claim": "lab:/dev"}, "--claim 'lab:/dev': /dev is the pods' own"),
        (["--run.dir", "/shared/../root"], {}, r"run.dir: '/shared/\.\./root': may lead out of /shared"),
        (["--run.dir", "/home/me/run"], {}, "run.dir: '/home/me/run': is not under /shared"),
        (["--data.prompt_dataset", "prompts.jsonl"], {}, "pods do not see this folder"),
    ],
)
def test_what_pods_cannot_see_is_refused(project, tokens, changes, words):
    with pytest.raises(UserError, match=words):
        documents("big.yaml", *tokens, **changes)


def test_a_cpu_run_simulates_its_gpus(project):
    _, job = documents(
        "tiny.yaml", "--actor.model_name_or_path", "/shared/m", "--data.prompt_dataset", "/shared/p.jsonl",
        gpus_per_node=1,
    )  # fmt: skip
    jsonschema.validate(job, SCHEMA)
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"] == {"num-gpus": "1"}
    assert "nvidia.com/gpu" not in head["template"]["spec"]["containers"][0]["resources"]["limits"]


def submit(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["submit", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_print_manifest_and_script(project):
    text = submit("big.yaml", "--to", "kuberay", "--image", "i", "--claim", "lab:/shared", "--dry-run")
    assert [document["kind"] for document in yaml.safe_load_all(text)] == ["ConfigMap", "RayJob"]
    text = submit("tiny.yaml", "--to", "local", "--dipo.alpha", "0.2", "--dry-run")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "run_or_resume tiny.yaml --dipo.alpha 0.2\n" in text
    assert "--run.ray" not in text
    assert KEY not in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""
    for arguments, words in (
        (["big.yaml", "--to", "kuberay", "--image", "i"], "--claim"),
        (["big.yaml", "--to", "slurm"], "--time is missing"),
    ):
        with pytest.raises(UserError, match=words):
            CliRunner().invoke(app, ["submit", *arguments, "--dry-run"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--to", "slurm", "--time", "60", "--exclude", "x"],
            "--exclude: does not go with --to slurm, but with ray",
        ),
        (["--to", "local", "--no-follow"], "--no-follow: does not go with --to local, but with ray"),
        (["--to", "kuberay", "--secrets-file", "/k"], "but with ray, slurm; pods take keys .* --secret NAME"),
        (["--time", "60"], "--time: does not go with --to ray, but with slurm"),
    ],
)
def test_an_option_of_another_launcher_is_refused(project, words, message):
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(app, ["submit", "big.yaml", *words, "--dry-run"], catch_exceptions=False)


def test_the_local_script_takes_this_process_over(tmp_path):
    code = (
        "from pathlib import Path; from dipo_openrlhf.launchers.targets.local import run_script;"
        f"run_script('#!/bin/bash\\necho $PPID; exit 7', Path({str(tmp_path / 'run')!r}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (7, str(os.getpid())), result.stderr
    assert os.access(tmp_path / "run" / "run.sh", os.X_OK)


def test_it_resumes_only_where_there_is_something(project, tmp_path):
    words = ["tiny.yaml", "--run.dir", str(tmp_path / "run")]
    assert train_arguments(words) == ["train", *words]
    for step in (2, 4):
        (tmp_path / "run" / "ckpt" / "_actor" / f"global_step{step}").mkdir(parents=True)
        (tmp_path / "run" / "ckpt" / f"global_step{step}_hf").mkdir()
    assert train_arguments(words) == ["train", *words]  # neither is complete
    mark_complete(tmp_path / "run" / "ckpt", 2, {})
    assert train_arguments(words) == ["train", "tiny.yaml", "--resume", *words[1:]]
    assert train_arguments([*words, "--resume"]).count("--resume") == 1


def test_readiness_is_polled():
    state = Mock(side_effect=[ConnectionError(), (1, 8), (2, 8), (2, 16)])
    assert wait_until_ready(state, 2, 16, timeout=10, poll=0) == ""
    assert state.call_count == 4


def test_what_is_missing_is_named():
    assert wait_until_ready(lambda: (1, 8), 2, 16, 0.01, 0) == (
        "the Ray cluster was not ready after 0 s: 1 of 2 nodes, 8 of 16 GPUs"
    )


def test_ready_needs_its_arguments(capsys):
    with pytest.raises(SystemExit):
        ready_main(["10.0.0.1:1"])
    assert "--nodes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tokens", "gpus", "nodes"),
    [
        ("", 16, 2),
        ("--vllm.num_engines 8 --vllm.tensor_parallel_size 1 --train.colocate_all true", 8, 1),
        ("--dipo.method grpo --algo.kl.init_coef 0.01 --algo.kl.use_loss true", 24, 3),
        ("--vllm.num_engines 1", 10, 2),
        ("--vllm.num_engines 1 --evaluate.suites [gsm8k]", 11, 2),
        ("--vllm.num_engines 1 --evaluate.suites [gsm8k] --watch.when after", 10, 2),
        ("--vllm.num_engines 1 --evaluate.suites [gsm8k] --ckpt.save_hf false", 10, 2),
        ("--evaluate.suites [gsm8k]", 16, 2),  # no third node for the watcher alone
        ("--evaluate.suites [gsm8k] --watch.wait true", 17, 3),  # the training waits for it
    ],
)
def test_gpus_and_nodes_of_a_recipe(project, tokens, gpus, nodes):
    needs = needs_of(make_request("big.yaml", tokens.split()).recipe, 8)
    assert (needs.gpus, needs.nodes) == (gpus, nodes)
    assert needs.gpus_per_node * needs.nodes >= gpus
