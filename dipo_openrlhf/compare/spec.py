"""What is compared: the YAML of `dipo compare`, checked so that a mistake is one line with key, line and remedy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dipo_eval.errors import short_repr
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.algorithm.config import DipoConfig
from dipo_openrlhf.algorithm.method import nearest


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


class TrainSection(_Section):
    """`train:` how every method trains."""

    lr: float = Field(default=1e-3, gt=0, le=1)
    """Learning rate of AdamW, unless an entry has its own."""
    prompts_per_step: int = Field(default=32, ge=1, le=100_000)
    """Prompts of a rollout batch."""
    n_samples_per_prompt: int = Field(default=8, ge=2, le=10_000)
    """Responses to a prompt."""
    prompts: int = Field(default=1024, ge=1, le=10_000_000)
    """Different training problems; they are drawn in the order of the seed, again from the start when all were drawn."""
    mini_batches: int = Field(default=1, ge=1)
    """Optimizer steps of a rollout batch."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature of training."""


class SeedsSection(_Section):
    """`seeds:` runs of each method, and when the results are looked at."""

    first: int = Field(default=1, ge=0, le=2**31)
    """The first seed; the others follow it."""
    least: int = Field(default=4, ge=2, le=1000)
    """Seeds before the first look."""
    step: int = Field(default=2, ge=1, le=1000)
    """Seeds between two looks."""
    most: int = Field(default=10, ge=2, le=1000)
    """Seeds after which it ends, decided or not."""

    def looks(self) -> list[int]:
        """Seeds a method has at each look."""
        return sorted({*range(self.least, self.most, self.step), self.most})


class EvaluateSection(_Section):
    """`evaluate:` the held-out problems. All methods and seeds have the same."""

    items: int = Field(default=300, ge=10, le=1_000_000)
    """Problems of the task's test split."""
    samples: int = Field(default=4, ge=1, le=1000)
    """Responses to each, at `temperature`."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature."""
    times: int = Field(default=4, ge=1, le=1000)
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

    seeds: list[Annotated[int, Field(ge=0, le=2**31)]] = Field(min_length=1)
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
    budget_tokens: int = Field(default=400_000, ge=1, le=10**12)
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
        hint = f"; write {number}" if (number := as_yaml_number(lr)) else ""
        raise ValueError(f"lr = {short_repr(lr)}: must be a number above 0 and at most 1{hint}")
    if "method" not in given:
        if name not in methods.names():
            known = methods.names()
            raise ValueError(
                f"{name!r} is no method{nearest(name, known)}; an entry of another name has a key method"
            )
        given["method"] = name
    return Entry(name, DipoConfig.from_dict(given), None if lr is None else float(lr))


def as_yaml_number(given: Any, whole: bool = False) -> str | None:
    """How YAML reads a number that was written as 1e-3 or 4e5, which it takes for a text; None for what is none.

    whole: for a key that takes integers alone.
    """
    if not isinstance(given, str):
        return None
    try:
        number = float(given)
    except ValueError:
        return None
    if not math.isfinite(number) or (whole and number != int(number)):
        return None
    text = str(int(number)) if number == int(number) else repr(number)
    return text if "e" not in text or "." in text else text.replace("e", ".0e")
