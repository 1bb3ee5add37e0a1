"""A recipe: one YAML file that names a model, data and DiPO's switches, validated before anything starts.

Four sections are ours (`run`, `dipo`, `evaluate`, `watch`); every other key is an argument of OpenRLHF under its own
dotted name (`actor.adam.lr`, `rollout.n_samples_per_prompt`, ...), checked against OpenRLHF's real parser. Order of
precedence: command line, recipe, the recipes it `extends` (the later ones first), the method's defaults, OpenRLHF's
defaults.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.recipe import defaults as recipe_methods
from dipo_openrlhf.recipe import placement as recipe_cluster
from dipo_openrlhf.recipe.files import display_name, merged_settings
from dipo_openrlhf.recipe.no_secrets import check_no_secrets
from dipo_openrlhf.recipe.openrlhf_args import argv_of, checked_value, portable
from dipo_openrlhf.recipe.openrlhf_parser import openrlhf_actions
from dipo_openrlhf.recipe.watch_section import WatchSection
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.rewards.verifier_health import DEFAULT_MAX_UNDECIDED_RATE


class RunSection(BaseModel):
    """`run:` where a run lives and what it runs on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field("", description="Name of the run on the board; the recipe's file name if empty.")
    dir: str = Field("", description="Folder of the run; runs/<name> if empty.")
    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto",
        description="auto: cpu when this machine has no NVIDIA device. gpu: also from a head node without one.",
    )
    nodes: int = Field(
        0,
        ge=0,
        description="Nodes of the cluster that the recipe is sized for: it is refused where it does not fit, and "
        "vllm.num_engines, left out, is what fits. 0: not said, nothing is checked.",
    )
    gpus_per_node: int = Field(8, ge=1, description="GPUs of each of run.nodes.")
    ray: Literal["auto", "cluster"] = Field(
        "auto",
        description="auto: on CPU a Ray of the run's own, on GPUs as OpenRLHF does. cluster: join the Ray cluster of "
        "RAY_ADDRESS, else of this machine, as `dipo submit` does; never stop it.",
    )
    cpu_threads: int = Field(
        0, ge=0, description="OpenMP threads of each process on CPU; 0: all cores of the machine."
    )
    save_rollouts: bool = Field(
        True, description="Write rollouts.jsonl: correctness, reward and log-perplexity of every response."
    )
    dump_experiences: bool = Field(
        False, description="Write experiences/step_N.pt: whole training batches, token by token; large."
    )
    seeded_rollouts: Literal["auto", "on", "off"] = Field(
        "auto",
        description="on: every response comes from a seed made from train.seed and the prompt's place in the data, so "
        "that a resumed run equals an undisturbed one; on GPUs vLLM then samples more slowly. auto: on CPU.",
    )
    max_restarts: int = Field(
        0,
        ge=0,
        description="How often a run that failed (a dead engine, actor or node, a hang) goes on by itself from its "
        "last whole checkpoint.",
    )
    wandb: Literal["auto", "on", "off"] = Field(
        "auto",
        description="auto: when WANDB_API_KEY or WANDB_MODE is set. The key is never an argument or a recipe's value.",
    )
    max_undecided_rate: float = Field(
        DEFAULT_MAX_UNDECIDED_RATE,
        ge=0,
        le=1,
        description="Share of a step's samples that the verifier may leave undecided (time limit, error) before the "
        "run is ended, since it would train on noise; 1: never.",
    )
    keep_exports: int | None = Field(
        None,
        ge=0,
        description="Hugging Face exports kept, of which ckpt.max_num can be resumed from; 0: all; "
        "empty: as many as ckpt.max_num. The best one by evaluation is always kept.",
    )
    start_timeout: int = Field(
        900, ge=30, description="Seconds that models and engines may take to come up before the run is ended."
    )
    step_timeout: int = Field(
        3600, ge=30, description="Seconds one training step may take before the run is ended as hanging."
    )


class EvaluateSection(BaseModel):
    """`evaluate:` what every checkpoint is measured on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    suites: list[str] = Field(default_factory=list, description="Names from `dipo eval --list`.")
    data_dir: str = Field("", description="Folder of the suites' JSON-lines files; DIPO_DATA_DIR if empty.")
    engine: Literal["vllm", "hf"] = Field("vllm", description="What generates, as in `dipo eval`.")
    samples: int = Field(1, ge=1, description="Samples per item; 1 is greedy unless temperature is set.")
    limit: int | None = Field(None, ge=1, description="First N items of each suite.")
    temperature: float = Field(0.0, ge=0, description="Sampling temperature; 0 is greedy.")
    max_new_tokens: int = Field(512, ge=1, description="Longest answer, tokens.")
    seed: int = Field(0, ge=0, description="Seed of sampling and of generated suites.")


@dataclass(frozen=True)
class Recipe:
    """A validated recipe."""

    source: str
    run: RunSection
    dipo: DipoConfig
    evaluate: EvaluateSection
    watch: WatchSection
    openrlhf: dict[str, Any]
    where: dict[str, str]

    @property
    def name(self) -> str:
        return self.run.name or display_name(self.source)

    @property
    def run_dir(self) -> Path:
        return Path(self.run.dir or Path("runs", self.name))

    @property
    def hash(self) -> str:
        """Identity of what the training depends on: 16 hex digits over all values but the run's place."""
        openrlhf = {key: portable(value) for key, value in self.openrlhf.items()}
        content = {"dipo": asdict(self.dipo), "openrlhf": openrlhf}
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def argv(self) -> list[str]:
        """OpenRLHF's command line, without the program."""
        tokens = []
        for key, value in self.openrlhf.items():
            tokens += argv_of(key, value, openrlhf_actions()[key])
        return tokens

    def get(self, key: str) -> Any:
        """An OpenRLHF argument: the recipe's value, or OpenRLHF's default."""
        return self.openrlhf.get(key, openrlhf_actions()[key].default)


def load_recipe(name: str, overrides: dict[str, Setting] | None = None) -> Recipe:
    """Read, merge and validate. Raises UserError with key, value, place and remedy."""
    source, settings = merged_settings(name)
    return build_recipe(source, {**settings, **(overrides or {})})


def recipe_settings(name: str, overrides: dict[str, Setting] | None = None) -> dict[str, Setting]:
    """What the recipe, those it extends and the command line say, as written. Raises UserError."""
    return {**merged_settings(name)[1], **(overrides or {})}


def build_recipe(source: str, settings: dict[str, Setting]) -> Recipe:
    """Validate merged settings. See load_recipe."""
    from dipo_openrlhf.recipe.checks import check_combinations

    check_no_secrets(settings)
    run = _own_section(RunSection, "run", settings)
    evaluate = _own_section(EvaluateSection, "evaluate", settings)
    watch = _own_section(WatchSection, "watch", settings)
    dipo = _dipo_section(settings)
    openrlhf: dict[str, Any] = {}
    where = {key: setting.where for key, setting in settings.items()}
    cpu = recipe_methods.on_cpu(run.device)
    for key, setting in settings.items():
        if key.split(".")[0] in ("run", "evaluate", "watch", "dipo"):
            continue
        _check_known(key, setting)
        value = checked_value(key, setting, openrlhf_actions()[key], cpu)
        if value is not None:
            openrlhf[key] = value
    recipe_methods.add_defaults(openrlhf, where, dipo.method, cpu)
    recipe = Recipe(source, run, dipo, evaluate, watch, openrlhf, where)
    recipe_methods.add_paths(recipe)
    if not cpu:
        recipe_cluster.add_engines(recipe)
    check_combinations(recipe, cpu)
    return recipe


def _own_section(model: type[Any], section: str, settings: dict[str, Setting]) -> Any:
    mine = {
        key.removeprefix(f"{section}."): setting
        for key, setting in settings.items()
        if key.startswith(f"{section}.")
    }
    try:
        return model(**{key: setting.value for key, setting in mine.items()})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        setting = mine.get(key.split(".")[0], Setting(first.get("input"), "the recipe"))
        if first["type"] == "extra_forbidden":
            raise UserError(_unknown(f"{section}.{key}", setting)) from None
        raise UserError(f"{setting.where}: {section}.{key}: {setting.value!r}: {first['msg']}") from None


def _dipo_section(settings: dict[str, Setting]) -> DipoConfig:
    mine = {
        key.removeprefix("dipo."): setting for key, setting in settings.items() if key.startswith("dipo.")
    }
    try:
        return DipoConfig.from_dict({key: setting.value for key, setting in mine.items()})
    except ValueError as error:
        place = next((s.where for key, s in mine.items() if str(error).startswith(f"dipo.{key} =")), "recipe")
        raise UserError(f"{place}: {error}") from None


def known_keys() -> list[str]:
    """Every key a recipe may have."""
    own = [f"run.{key}" for key in RunSection.model_fields]
    own += [f"evaluate.{key}" for key in EvaluateSection.model_fields]
    own += [f"watch.{key}" for key in WatchSection.model_fields]
    own += [f"dipo.{key}" for key in asdict(DipoConfig())]
    return own + list(openrlhf_actions())


def _check_known(key: str, setting: Setting) -> None:
    if key not in openrlhf_actions():
        raise UserError(_unknown(key, setting))


def _unknown(key: str, setting: Setting) -> str:
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.5)
    if not near:
        last = key.rsplit(".", 1)[-1]
        near = [known for known in known_keys() if known.endswith(last)][:1]
    hint = f"; the nearest known key is {near[0]}" if near else ""
    return f"{setting.where}: unknown key {key} (value {setting.value!r}){hint}"
