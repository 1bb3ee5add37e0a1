"""What is compared: the YAML of `dipo compare`, checked so that a mistake is one line with key, line and remedy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dipo_eval.discovery import unknown
from dipo_eval.errors import UserError, short_repr
from dipo_eval.files.yaml_file import compose_yaml, line_of, value_of
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.algorithm.config import DipoConfig
from dipo_openrlhf.algorithm.method import nearest
from dipo_openrlhf.compare.tasks import task_named, task_names
from dipo_openrlhf.compare.tasks.task import Split

SHIPPED = Path(__file__).parent / "comparisons"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


class TrainSection(_Section):
    """`train:` how every method trains."""

    lr: float = Field(default=1e-3, gt=0, le=1)
    """Learning rate of AdamW, unless an entry has its own."""
    prompts_per_step: int = Field(default=32, ge=1)
    """Prompts of a rollout batch."""
    n_samples_per_prompt: int = Field(default=8, ge=2)
    """Responses to a prompt."""
    prompts: int = Field(default=1024, ge=1)
    """Different training problems; they are drawn in the order of the seed, again from the start when all were drawn."""
    mini_batches: int = Field(default=1, ge=1)
    """Optimizer steps of a rollout batch."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature of training."""


class SeedsSection(_Section):
    """`seeds:` runs of each method, and when the results are looked at."""

    first: int = Field(default=1, ge=0)
    """The first seed; the others follow it."""
    least: int = Field(default=4, ge=2)
    """Seeds before the first look."""
    step: int = Field(default=2, ge=1)
    """Seeds between two looks."""
    most: int = Field(default=10, ge=2)
    """Seeds after which it ends, decided or not."""

    def looks(self) -> list[int]:
        """Seeds a method has at each look."""
        return sorted({*range(self.least, self.most, self.step), self.most})


class EvaluateSection(_Section):
    """`evaluate:` the held-out problems. All methods and seeds have the same."""

    items: int = Field(default=300, ge=10)
    """Problems of the task's test split."""
    samples: int = Field(default=4, ge=1)
    """Responses to each, at `temperature`."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature."""
    times: int = Field(default=4, ge=1)
    """Evaluations of a run after the starting model's, evenly spaced over its budget, the last at its end."""


class VerdictSection(_Section):
    """`verdict:` when a difference is called one."""

    margin: float = Field(default=0.02, gt=0, lt=1)
    """Methods whose difference lies within it, on both sides, are equivalent: 0.01 is one point."""
    error: float = Field(default=0.05, gt=0, lt=0.5)
    """Probability of any wrong "better", "worse" or "equivalent" among the pairs of a task."""
    power: float = Field(default=0.8, gt=0.5, lt=1)
    """With which the stated detectable difference is found."""
    pairs: Literal["all", "baseline"] = "all"
    """Which pairs share the error: all, or those with the baseline alone, which fewer seeds decide."""
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"
    """How the error is spent over the looks (Lan and DeMets 1983)."""


class TuneSection(_Section):
    """`tune:` each method gets the same number of options, tried on seeds and problems of their own beforehand."""

    seeds: list[int] = Field(min_length=1)
    """Seeds of the tuning, none of which is compared."""
    tasks: list[str] = Field(default_factory=list)
    """Tasks on whose mean accuracy an option is chosen; empty: those that are compared."""
    options: dict[str, list[dict[str, Any]]] = Field(min_length=1)
    """Entry -> what is tried, such as [{lr: 3.0e-4}, {lr: 1.0e-3}]."""


class Comparison(_Section):
    """A comparison of methods at one budget of generated tokens."""

    name: str = ""
    """Heading of the report; the file's name if empty."""
    question: str = ""
    """What the comparison asks, in a sentence."""
    tasks: list[str] = Field(min_length=1)
    """Names from `dipo compare --list`."""
    methods: dict[str, dict[str, Any]]
    """Two or more: entry -> dipo.* switches and `lr`; `method` may be left out where the entry is named so."""
    baseline: str = ""
    """The entry that the report compares the others with first; the first entry if empty."""
    stack: Literal["reference", "openrlhf"] = "reference"
    """reference: in process, one run a core. openrlhf: `dipo train` on Ray, vLLM and DeepSpeed, one run at a time."""
    budget_tokens: int = Field(default=400_000, ge=1)
    """Tokens that a run may generate, thrown-away ones included."""
    train: TrainSection = TrainSection()
    seeds: SeedsSection = SeedsSection()
    evaluate: EvaluateSection = EvaluateSection()
    verdict: VerdictSection = VerdictSection()
    tune: TuneSection | None = None

    def entry(self, name: str) -> Entry:
        """One of the methods with its switches. Raises ValueError for switches that are not valid."""
        return entry_of(name, self.methods[name])


@dataclasses.dataclass(frozen=True)
class Entry:
    """One competitor: DiPO's switches with the method, and its own learning rate or None."""

    name: str
    dipo: DipoConfig
    lr: float | None = None


def entry_of(name: str, switches: Mapping[str, Any]) -> Entry:
    """The entry of these switches. Raises ValueError naming the key, the value and what is allowed."""
    given = dict(switches)
    lr = given.pop("lr", None)
    if lr is not None and not (isinstance(lr, (int, float)) and not isinstance(lr, bool) and 0 < lr <= 1):
        raise ValueError(f"lr = {short_repr(lr)}: must be a number above 0 and at most 1")
    if "method" not in given:
        if name not in methods.names():
            known = methods.names()
            raise ValueError(
                f"{name!r} is no method{nearest(name, known)}; an entry of another name has a key method"
            )
        given["method"] = name
    return Entry(name, DipoConfig.from_dict(given), None if lr is None else float(lr))


def shipped() -> list[str]:
    """Names of the comparisons that are shipped."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def read_comparison(name: str) -> Comparison:
    """A shipped comparison by its name, or one from a YAML file. Raises UserError with one line."""
    path = Path(name)
    if not path.suffix and (SHIPPED / f"{name}.yaml").is_file():
        path = SHIPPED / f"{name}.yaml"
    elif not path.is_file():
        if path.suffix in (".yaml", ".yml"):
            raise UserError(f"{name}: no such file")
        raise unknown("comparison", name, shipped())
    shown = path.name if path.parent == SHIPPED else str(path)
    node = compose_yaml(path, shown)
    content = None if node is None else value_of(node, shown)
    if node is None or not isinstance(content, dict):
        raise UserError(f"{shown}: must hold keys with values, such as methods: {{grpo: {{}}, dipo: {{}}}}")
    try:
        found = Comparison.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = [part for part in first["loc"] if part != "function-after"]
        text = ".".join(str(part) for part in key)
        if first["type"] == "extra_forbidden":
            section = f"{'.'.join(map(str, key[:-1]))}: " if key[:-1] else ""
            why = unknown("key", str(key[-1]), _keys_beside(key))
            raise UserError(f"{shown}:{line_of(node, key)}: {section}{why}") from None
        rule = "is missing" if first["type"] == "missing" else first["msg"].replace("Input should", "must")
        given = "" if first["type"] == "missing" else f" {short_repr(first.get('input'))}:"
        raise UserError(f"{shown}:{line_of(node, key)}: {text}:{given} {rule}") from None
    try:
        _check(found)
    except _KeyedError as error:
        raise UserError(f"{shown}:{line_of(node, error.key)}: {error}") from None
    return found if found.name else found.model_copy(update={"name": path.stem})


class _KeyedError(ValueError):
    def __init__(self, key: list[str | int], message: str) -> None:
        super().__init__(f"{'.'.join(str(part) for part in key)}: {message}")
        self.key = key


def check_comparison(found: Comparison) -> None:
    """Raise UserError with one line where names or numbers do not go together."""
    try:
        _check(found)
    except _KeyedError as error:
        raise UserError(str(error)) from None


def _check(found: Comparison) -> None:
    for index, name in enumerate(found.tasks):
        if name not in task_names():
            raise _KeyedError(["tasks", index], str(unknown("task", name, task_names())))
    if len(found.methods) < 2:
        raise _KeyedError(["methods"], "one method has nothing to be compared with: name two or more")
    for name, switches in found.methods.items():
        _check_entry(["methods", name], name, switches)
        if found.stack == "reference" and found.entry(name).dipo.keep_and_refill:
            rule = "keep_and_refill: the reference trainer does not have it; stack: openrlhf does"
            raise _KeyedError(["methods", name], rule)
    if found.baseline and found.baseline not in found.methods:
        raise _KeyedError(["baseline"], str(unknown("entry of methods", found.baseline, found.methods)))
    if found.seeds.most < found.seeds.least:
        raise _KeyedError(
            ["seeds", "most"], f"{found.seeds.most}: must be at least seeds.least = {found.seeds.least}"
        )
    for task in dict.fromkeys([*found.tasks, *(found.tune.tasks if found.tune else [])]):
        _check_sizes(found, task)
    if found.train.mini_batches > found.train.prompts_per_step * found.train.n_samples_per_prompt:
        raise _KeyedError(["train", "mini_batches"], "must be at most the responses of a step")
    if found.tune is not None:
        _check_tuning(found, found.tune)


def _check_sizes(found: Comparison, task: str) -> None:
    """Whether the task has as many different problems as are wanted."""
    if task not in task_names():
        return  # _check_tuning says so
    wanted: tuple[tuple[list[str | int], Split, int], ...] = (
        (["train", "prompts"], "train", found.train.prompts),
        (["evaluate", "items"], "test", found.evaluate.items * (2 if found.tune else 1)),
    )
    for key, split, count in wanted:
        try:
            task_named(task).problems(split, count, 0)
        except UserError as error:
            half = ", half of them for tuning" if found.tune and split == "test" else ""
            raise _KeyedError(key, f"{count}{half}: {task}: {error}") from None


def _check_entry(key: list[str | int], name: str, switches: Mapping[str, Any]) -> None:
    if not name or not all(c.isalnum() or c in "._-" for c in name) or name[0] in ".-":
        raise _KeyedError(
            key, "an entry's name has letters, digits, . _ and - alone, since a folder is named so"
        )
    try:
        entry_of(name, switches)
    except ValueError as error:
        raise _KeyedError(key, str(error)) from None


def _check_tuning(found: Comparison, tune: TuneSection) -> None:
    compared = range(found.seeds.first, found.seeds.first + found.seeds.most)
    if same := [seed for seed in tune.seeds if seed in compared]:
        raise _KeyedError(["tune", "seeds"], f"{same[0]} is a seed of the comparison: tune on others")
    for index, name in enumerate(tune.tasks):
        if name not in task_names():
            raise _KeyedError(["tune", "tasks", index], str(unknown("task", name, task_names())))
    if left_out := [name for name in found.methods if name not in tune.options]:
        rule = f"{left_out[0]} has none: each entry of methods gets as many"
        raise _KeyedError(["tune", "options"], rule)
    counts = {name: len(options) for name, options in tune.options.items()}
    for name, options in tune.options.items():
        if name not in found.methods:
            raise _KeyedError(
                ["tune", "options", name], str(unknown("entry of methods", name, found.methods))
            )
        if len(options) != max(counts.values()):
            rule = (
                f"{len(options)} options, where another entry has {max(counts.values())}: each gets as many"
            )
            raise _KeyedError(["tune", "options", name], rule)
        for index, option in enumerate(options):
            _check_entry(["tune", "options", name, index], name, {**found.methods[name], **option})


def _keys_beside(key: list[Any]) -> list[str]:
    model: Any = Comparison
    for part in key[:-1]:
        field = model.model_fields.get(part)
        kinds = getattr(field.annotation, "__args__", (field.annotation,)) if field else ()
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)
