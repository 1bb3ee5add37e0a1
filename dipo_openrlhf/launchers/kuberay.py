"""A recipe as a KubeRay RayJob: a manifest with the recipe in it, for `kubectl apply -f`.

KubeRay makes a Ray cluster for the job, runs it and removes the cluster. Fields: ray.io/v1 of KubeRay 1.2 or later
(https://ray-project.github.io/kuberay/reference/api/). Keys come from a Kubernetes Secret, by reference alone.
"""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dipo_eval.errors import UserError
from dipo_eval.secrets.refusing import refuse_secrets
from dipo_openrlhf.launchers.ray_jobs import STOP_WAIT
from dipo_openrlhf.launchers.request import Request

RECIPE_FOLDER = "/etc/dipo"
KEYS = ("WANDB_API_KEY", "HF_TOKEN")  # of the Secret, each optional


@dataclass(frozen=True)
class KubeOptions:
    """What a recipe does not say."""

    image: str
    claim: str  # a PersistentVolumeClaim, CLAIM:/MOUNT
    secret: str | None
    cpus: int
    memory: str
    retries: int = 3


def manifest(request: Request, variables: dict[str, str], options: KubeOptions) -> str:
    """A ConfigMap with the recipe and the RayJob. Raises UserError for a key in it, or a path that pods cannot see."""
    claim, mount = _claim(options.claim)
    _check_paths(request, mount)
    name = _kube_name(request.name)
    recipe = {key: setting.value for key, setting in request.settings.items()}
    recipe.setdefault("run.name", request.name)  # which would else follow from the file's name
    documents = [_config_map(name, recipe), _ray_job(request, name, claim, mount, variables, options)]
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=1000)
    refuse_secrets("the manifest", text, request.secrets)
    return text


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that the recipe in the manifest can be read and edited."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _kube_name(name: str) -> str:
    """A DNS label; KubeRay adds suffixes to it, so at most 40 characters."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return f"dipo-{label}" if label else "dipo"


def _claim(text: str) -> tuple[str, str]:
    claim, separator, mount = text.partition(":")
    if not separator or not claim or not mount.startswith("/"):
        raise UserError(
            f"--claim {text!r}: write CLAIM:/MOUNT, the volume that all pods share and where they see it"
        )
    return claim, mount.rstrip("/")


def _check_paths(request: Request, mount: str) -> None:
    for key, value in (*request.paths, ("run.dir", str(request.recipe.run_dir))):
        if not value.startswith("/"):
            if Path(value).exists() or value.endswith((".json", ".jsonl", ".py")):
                raise UserError(
                    f"{key}: {value!r}: pods do not see this folder: give a path under {mount}, or a hub name"
                )
        elif not Path(value).is_relative_to(mount):
            raise UserError(
                f"{key}: {value!r}: is not under {mount}, the only storage that all pods see (--claim)"
            )


def _config_map(name: str, recipe: dict[str, Any]) -> dict[str, Any]:
    text = yaml.safe_dump(recipe, sort_keys=False)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"recipe.yaml": text},
    }


def _ray_job(
    request: Request, name: str, claim: str, mount: str, variables: dict[str, str], options: KubeOptions
) -> dict[str, Any]:
    command = ["python", "-m", "dipo_openrlhf.launchers.run_or_resume", f"{RECIPE_FOLDER}/recipe.yaml"]
    environment = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT)}
    needs = request.needs
    groups: dict[str, Any] = {
        "rayVersion": importlib.metadata.version("ray"),
        "headGroupSpec": {
            "rayStartParams": _start_params(needs.gpus_per_node if needs.cpu else None),
            "template": _pod(request, "ray-head", name, claim, mount, variables, options),
        },
    }
    if needs.nodes > 1:
        groups["workerGroupSpecs"] = [
            {
                "groupName": "workers",
                "replicas": needs.nodes - 1,
                "minReplicas": needs.nodes - 1,
                "maxReplicas": needs.nodes - 1,
                "rayStartParams": _start_params(needs.gpus_per_node if needs.cpu else None),
                "template": _pod(request, "ray-worker", name, claim, mount, variables, options),
            }
        ]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "dipo"}},
        "spec": {
            "entrypoint": shlex.join(command),
            "runtimeEnvYAML": yaml.safe_dump({"env_vars": environment}),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "backoffLimit": options.retries,
            "rayClusterSpec": groups,
        },
    }


def _start_params(pretended_gpus: int | None) -> dict[str, str]:
    return {"num-gpus": str(pretended_gpus)} if pretended_gpus else {}


def _pod(
    request: Request,
    container: str,
    name: str,
    claim: str,
    mount: str,
    variables: dict[str, str],
    options: KubeOptions,
) -> dict[str, Any]:
    resources: dict[str, Any] = {"cpu": str(options.cpus), "memory": options.memory}
    if not request.needs.cpu:
        resources["nvidia.com/gpu"] = request.needs.gpus_per_node
    environment: list[dict[str, Any]] = [
        {"name": key, "value": value} for key, value in sorted(variables.items())
    ]
    if options.secret:
        environment += [
            {
                "name": key,
                "valueFrom": {"secretKeyRef": {"name": options.secret, "key": key, "optional": True}},
            }
            for key in KEYS
        ]
    return {
        "spec": {
            "containers": [
                {
                    "name": container,
                    "image": options.image,
                    "env": environment,
                    "resources": {"limits": resources, "requests": dict(resources)},
                    "volumeMounts": [
                        {"name": "recipe", "mountPath": RECIPE_FOLDER, "readOnly": True},
                        {"name": "storage", "mountPath": mount},
                        {"name": "shm", "mountPath": "/dev/shm"},
                    ],
                }
            ],
            "volumes": [
                {"name": "recipe", "configMap": {"name": name}},
                {"name": "storage", "persistentVolumeClaim": {"claimName": claim}},
                # NCCL and vLLM share memory between processes; a pod's default is 64 MiB.
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
            ],
        }
    }
