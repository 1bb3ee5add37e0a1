"""A recipe checked and turned into what is to run, before anything is sent anywhere."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.secrets.file import SECRETS_FILE, read_secrets_file
from dipo_eval.secrets.names import is_secret_name
from dipo_eval.secrets.refusing import refuse_secrets
from dipo_eval.secrets.urls import url_secrets
from dipo_eval.secrets.values import Secrets, secrets_in
from dipo_openrlhf.launchers.upload.paths import paths_of
from dipo_openrlhf.preflight.model import check_model
from dipo_openrlhf.preflight.prompts import check_data_file
from dipo_openrlhf.preflight.reward import check_reward_url, is_built_in
from dipo_openrlhf.recipe.defaults import TOOL_AGENT
from dipo_openrlhf.recipe.files import BUILT_IN, JOINT, find_recipe, own_files
from dipo_openrlhf.recipe.load import load_recipe, recipe_settings
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import Setting, parse_overrides


@dataclass(frozen=True)
class Request:
    """A valid recipe, and the command that runs it."""

    recipe: Recipe
    arguments: list[str]  # of `dipo train`: the recipe and its overrides
    resume: bool
    settings: dict[str, Setting]  # all of the recipe as written, overrides included
    recipe_files: list[Path]  # of the user's own, with those that they extend
    paths: tuple[tuple[str, str], ...]  # (recipe key, path as written) of what is read from disk
    secrets: Secrets = field(repr=False, default_factory=dict)

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def command(self) -> list[str]:
        """What a Ray job runs."""
        resume = ["--resume"] if self.resume else []
        recipe, *overrides = self.arguments
        return ["python", "-m", "dipo_openrlhf.cli", "train", recipe, *resume, *overrides]


def make_request(recipe: str, tokens: list[str], *, on_cluster: bool = True, resume: bool = False) -> Request:
    """`tokens`: overrides. Raises UserError for a mistake in the recipe, or one that would only show on the cluster."""
    overrides = parse_overrides(tokens)
    extra = _cluster_overrides(recipe, overrides) if on_cluster else []
    everything = {**overrides, **parse_overrides(extra)}
    settings = recipe_settings(recipe, everything)
    loaded = load_recipe(recipe, everything)
    request = Request(
        recipe=loaded,
        arguments=[_recipe_argument(recipe), *tokens, *extra],
        resume=resume,
        settings=settings,
        recipe_files=own_files(recipe),
        paths=paths_of(settings),
        secrets=secrets_in(os.environ),
    )
    refuse_secrets("the command", shlex.join(request.command), request.secrets)
    for path in request.recipe_files:
        refuse_secrets(str(path), path.read_bytes(), request.secrets)
    if on_cluster:
        _check_folders(loaded, settings)
    _check_inputs(loaded, settings)
    return request


def _cluster_overrides(recipe: str, overrides: dict[str, Setting]) -> list[str]:
    """The job joins the cluster; `auto` must not be decided by the device of the machine that submits."""
    device = recipe_settings(recipe, overrides).get("run.device")
    is_auto = device is None or device.value == "auto"
    return ["--run.ray", "cluster", *(["--run.device", "gpu"] if is_auto else [])]


def _recipe_argument(recipe: str) -> str:
    """Built-in recipes and variants by name, a file relative to the current folder, which is the job's folder as well."""
    parts, here = [], Path.cwd().resolve()
    for path in (path.resolve() for path in find_recipe(recipe)):
        if path.is_relative_to(BUILT_IN):
            parts.append(path.name.removesuffix(".yaml"))
        else:
            parts.append(str(path.relative_to(here) if path.is_relative_to(here) else path))
    return JOINT.join(parts)


def _check_folders(recipe: Recipe, settings: dict[str, Setting]) -> None:
    """`~` is another folder on another machine, and of another user."""
    for key in ("run.dir", "ckpt.path", "ckpt.output_dir"):
        written = recipe.run.dir if key == "run.dir" else getattr(settings.get(key), "value", None)
        if written is None or (Path(str(written)).is_absolute() and written):
            continue
        place = recipe.where.get(key, recipe.source)
        raise UserError(
            f"{place}: {key}: {written!r}: must be an absolute path on storage that every node sees: "
            "checkpoints and logs of a job in a folder of one node are lost with it"
        )


def _check_inputs(recipe: Recipe, settings: dict[str, Setting]) -> None:
    """What is on this machine is checked here; absolute paths may exist on the cluster alone."""

    def written(key: str) -> str:
        value = settings[key].value if key in settings else None
        here = isinstance(value, str) and (not Path(value).is_absolute() or Path(value).exists())
        return str(value) if here else ""

    if model := written("actor.model_name_or_path"):
        check_model(model, recipe.get("data.max_len"))
    if agent := written("train.agent_func_path"):
        if agent != TOOL_AGENT.stem:
            check_reward_url(None, agent)
    elif (reward := written("reward.remote_url")) and not is_built_in(reward):
        check_reward_url(reward, None)
    if data := written("data.prompt_dataset"):
        check_data_file(data, recipe.get("data.input_key"), recipe.get("data.label_key"))


def job_variables(env: Sequence[str], secrets_file: str | None) -> dict[str, str]:
    """Variables of the job, and where its keys are. What stores them shows them to others, so a key is refused."""
    variables = {}
    for name in env:
        if not (name.isascii() and name.isidentifier()):  # bash exports its functions as BASH_FUNC_NAME%%
            raise UserError(
                f"--env {name!r}: is no name of a variable: letters, digits and _, no digit first"
            )
        if is_secret_name(name):
            raise UserError(
                f"--env {name}: Ray, Slurm and Kubernetes show a job's variables: put the key into a file that you alone "
                "can read, on storage that every node sees, and name it with --secrets-file (kuberay: --secret)"
            )
        if name not in os.environ:
            raise UserError(f"--env {name}: is not set here: export it first")
        if url_secrets(os.environ[name]):
            raise UserError(
                f"--env {name}: its value is an address with a password, and a job's variables are shown to others: put "
                "the line NAME=VALUE into the file of --secrets-file (kuberay: into the pods' own environment)"
            )
        variables[name] = os.environ[name]
    if secrets_file:
        if not Path(secrets_file).is_absolute():
            raise UserError(f"--secrets-file {secrets_file!r}: give an absolute path that every node sees")
        if Path(secrets_file).exists():  # else it is on the cluster alone, and each process there checks it
            read_secrets_file(Path(secrets_file))
        variables[SECRETS_FILE] = secrets_file
    return variables
