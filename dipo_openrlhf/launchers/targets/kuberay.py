"""A KubeRay RayJob: a manifest with the recipe in it, for `kubectl apply -f`.

KubeRay makes a Ray cluster for the job, runs it and removes the cluster. Fields: ray.io/v1 of KubeRay 1.2 or later
(https://ray-project.github.io/kuberay/reference/api/). Keys come from a Kubernetes Secret, by reference alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from pathlib import Path
from typing import Any

import typer
import yaml

from dipo_eval.errors import UserError
from dipo_eval.secrets.refusing import refuse_secrets
from dipo_openrlhf.launchers.launcher import Launcher, Options
from dipo_openrlhf.launchers.pod_size import pod_size
from dipo_openrlhf.launchers.ray_jobs import CLEAN_END, stop_variables
from dipo_openrlhf.launchers.request import Request, job_variables
from dipo_openrlhf.recipe.placement import Needs, needs_of
from dipo_openrlhf.recipe.recipe import Recipe

RECIPE_FOLDER = "/etc/dipo"
KEYS = ("WANDB_API_KEY", "HF_TOKEN")  # of the Secret, each optional
SHARED_MEMORY = "/dev/shm"
RETRIES = 3  # attempts after a failed one, each with a new cluster

_CLAIM = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")  # a name of Kubernetes
_MOUNT = re.compile(r"(/[^/:\s]+)+")


def manifest(request: Request, options: Options) -> str:
    """A ConfigMap with the recipe and the RayJob. Raises UserError for a key in it, or a path that pods cannot see."""
    if not options.image or not options.claim:
        raise UserError(
            "--image IMAGE and --claim CLAIM:/MOUNT are missing: what the pods run and the storage they share"
        )
    claim, mount = _claim(options.claim)
    _check_paths(request, mount)
    name = _kube_name(request.name, str(request.recipe.run_dir))
    recipe = {key: setting.value for key, setting in request.settings.items()}
    recipe.setdefault("run.name", request.name)  # which would else follow from the file's name
    needs = needs_of(request.recipe, options.gpus_per_node)
    size = pod_size(
        request.recipe, needs, options.cpus, options.memory, lambda line: typer.echo(line, err=True)
    )
    spec = _pod_spec(request.recipe, needs, options, size, name, claim, mount)
    data = {"recipe.yaml": yaml.safe_dump(recipe, sort_keys=False)}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    documents = [config_map, _ray_job(request.recipe, needs, name, spec)]
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=1000)
    refuse_secrets("the manifest", text, request.secrets)
    return text


class _Dumper(yaml.SafeDumper):
    """No aliases; strings of several lines as blocks, so that the recipe in the manifest can be read and edited."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _kube_name(name: str, run_dir: str) -> str:
    """A DNS label that two runs do not share; at most 45 characters, since KubeRay adds suffixes to it."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower())[:31].strip("-")
    digest = hashlib.sha256(f"{run_dir}\0{name}".encode()).hexdigest()[:8]
    return "-".join(part for part in ("dipo", label, digest) if part)


def _claim(text: str) -> tuple[str, str]:
    claim, _, mount = text.partition(":")
    mount = mount.rstrip("/")
    if not _CLAIM.fullmatch(claim) or not _MOUNT.fullmatch(mount) or {".", ".."} & set(mount.split("/")):
        raise UserError(
            f"--claim {text!r}: write CLAIM:/MOUNT, the volume that all pods share and the folder where they see it"
        )
    if any(Path(own).is_relative_to(mount) for own in (RECIPE_FOLDER, SHARED_MEMORY)):
        raise UserError(f"--claim {text!r}: {mount} is the pods' own: mount the claim elsewhere")
    return claim, mount


def _check_paths(request: Request, mount: str) -> None:
    for key, value in (*request.paths, ("run.dir", str(request.recipe.run_dir))):
        place = f"{key}: {value!r}"
        if not value.startswith("/"):
            if Path(value).exists() or value.endswith((".json", ".jsonl", ".py")):
                raise UserError(
                    f"{place}: pods do not see this folder: give a path under {mount}, or a hub name"
                )
        elif not Path(value).is_relative_to(mount):
            raise UserError(f"{place}: is not under {mount}, the only storage that all pods see (--claim)")
        elif ".." in Path(value).parts:
            raise UserError(f"{place}: may lead out of {mount} (--claim): write the path without '..'")


def _ray_job(recipe: Recipe, needs: Needs, name: str, pod_spec: dict[str, Any]) -> dict[str, Any]:
    def group(container: str) -> dict[str, Any]:
        first, *_ = pod_spec["containers"]
        template = {"spec": {**pod_spec, "containers": [{"name": container, **first}]}}
        simulated = {"num-gpus": str(needs.gpus_per_node)} if needs.simulated and needs.gpus_per_node else {}
        return {"rayStartParams": simulated, "template": template}

    groups: dict[str, Any] = {
        "rayVersion": importlib.metadata.version("ray"),
        "headGroupSpec": group("ray-head"),
    }
    if (workers := needs.nodes - 1) > 0:
        replicas = {"replicas": workers, "minReplicas": workers, "maxReplicas": workers}
        groups["workerGroupSpecs"] = [{"groupName": "workers", **replicas, **group("ray-worker")}]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "dipo"}},
        "spec": {
            "entrypoint": f"python -m dipo_openrlhf.launchers.run_or_resume {RECIPE_FOLDER}/recipe.yaml",
            "runtimeEnvYAML": yaml.safe_dump({"env_vars": stop_variables(recipe)}),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "backoffLimit": RETRIES,
            "rayClusterSpec": groups,
        },
    }


def _pod_spec(
    recipe: Recipe, needs: Needs, options: Options, size: tuple[int, str], name: str, claim: str, mount: str
) -> dict[str, Any]:
    """Of head and workers alike; its one container has no name yet."""
    run_dir, seconds = str(recipe.run_dir), str(recipe.save_before)
    save = ["python", "-m", "dipo_openrlhf.launchers.stop_run", run_dir, "--seconds", seconds]
    resources: dict[str, Any] = {"cpu": str(size[0]), "memory": size[1]}
    if not needs.simulated:
        resources["nvidia.com/gpu"] = needs.gpus_per_node
    variables = job_variables(options.env, None)
    environment: list[dict[str, Any]] = [{"name": key, "value": variables[key]} for key in sorted(variables)]
    for key in KEYS if options.secret else ():
        reference = {"name": options.secret, "key": key, "optional": True}
        environment.append({"name": key, "valueFrom": {"secretKeyRef": reference}})
    container = {
        "image": options.image,
        "env": environment,
        # Ray gets SIGTERM, and ends with all of its workers, when the hook is done.
        "lifecycle": {"preStop": {"exec": {"command": save}}},
        "resources": {"limits": resources, "requests": resources},
        "volumeMounts": [
            {"name": "recipe", "mountPath": RECIPE_FOLDER, "readOnly": True},
            {"name": "storage", "mountPath": mount},
            {"name": "shm", "mountPath": SHARED_MEMORY},
        ],
    }
    volumes = [
        {"name": "recipe", "configMap": {"name": name}},
        {"name": "storage", "persistentVolumeClaim": {"claimName": claim}},
        # NCCL and vLLM share memory between processes; a pod's default is 64 MiB.
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    grace = recipe.save_before + CLEAN_END
    return {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": grace}


def _submit(request: Request, options: Options) -> int:
    """The manifest on standard output: what applies it, and with which rights, is the user's."""
    typer.echo(manifest(request, options), nl=False)
    return 0


LAUNCHER = Launcher(
    _submit,
    ("env", "gpus_per_node", "image", "claim", "secret", "cpus", "memory"),
    hints={"secrets_file": "pods take keys from a Kubernetes Secret: --secret NAME"},
)
