"""Every switch of DiPO, with its unit, range and source."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from dipo_openrlhf.algorithm.method import Estimator, Method, check_name, nearest

Interval = Literal["wilson", "wald", "cluster"]
OnInfeasible = Literal["skip", "last"]
GroupSpace = Literal["mean", "all", "argmax", "subset"]
Directions = Literal["both", "hard_only", "easy_only"]
Pick = Literal["max_ppl", "random", "min_ppl"]
CorrectFrom = Literal["score", "reward_max"]
Normalizer = Literal["shared", "per_stream"]


class Limits(NamedTuple):
    """The numbers from low to high, without the ends where `open`; `rule` says so."""

    low: float
    rule: str
    high: float = math.inf
    open: bool = False


@dataclass(frozen=True)
class DipoConfig:
    """The switches of DiPO. Frozen and validated: an instance that exists is usable.

    Sources: [P] is the paper (arXiv 2604.13902); all others are this project's reading of a point the paper leaves
    open (docs/algorithm.md, "Open points and their switches"). Raises ValueError naming the key, the value and what
    is allowed.
    """

    method: str = "dipo"
    """Which advantages training uses: the name of a file in `algorithm/methods/`."""

    alpha: float = 0.1
    """Weight of the reallocation term, unitless, >= 0; 0 reproduces the base method bit for bit. [P]"""

    estimator: Estimator = "group_norm"
    """Normalisation of both streams: `group_norm` (r-mean)/(std+1e-9) [P], or `dr_grpo` r-mean."""

    normalizer: Normalizer = "shared"
    """Token denominator of the reallocation term: `shared` divides by all action tokens, as the base term does;
    `per_stream` by the action tokens of the reallocated groups, so that a few weigh as much as many."""

    queue_batches: int = 2
    """Rollout batches in the perplexity queue, >= 1. [P: the most recent two]"""

    include_current_batch: bool = True
    """Whether the current batch counts towards its own threshold; false: the previous ones alone."""

    confidence: float = 0.95
    """Two-sided confidence of both lower bounds, in (0.5, 1). [P]"""

    interval: Interval = "wilson"
    """Interval of a side's proportion: `wilson`, `wald`, `cluster` (standard error by prompt group)."""

    min_side_samples: int = 30
    """Fewest responses on each side of a threshold, >= 1."""

    on_infeasible: OnInfeasible = "skip"
    """When no threshold passes: `skip` reallocates nothing, `last` uses the last one that passed."""

    group_space: GroupSpace = "mean"
    """What puts a group in a space: its `mean` log-perplexity, `all` of its responses, the picked response
    (`argmax`), or `subset`: act within its responses in the space, against their own baseline."""

    directions: Directions = "both"
    """Which extreme groups may be reallocated: `both` [P], `hard_only`, `easy_only` (ablations)."""

    pick: Pick = "max_ppl"
    """Which response is flipped: `max_ppl` [P]; `random` and `min_ppl` are controls."""

    psd: bool = True
    """Perplexity space disentangling [P]; false acts on every extreme group, whatever its space (ablation)."""

    correct_from: CorrectFrom = "score"
    """Where b comes from: `score` (>= 0.5), or `reward_max`: the score equals its example's maximum."""

    keep_and_refill: bool = False
    """Replace every all-correct or all-incorrect group by a further prompt, as dynamic sampling does, but keep the
    group: it enters the queue, and is trained on if it is reallocated."""

    refill_cap: float = 1.0
    """Maximum of further prompts a step, in units of rollout.batch_size, > 0; for keep_and_refill and methods with
    dynamic sampling."""

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "estimator": get_args(Estimator),
        "normalizer": get_args(Normalizer),
        "interval": get_args(Interval),
        "on_infeasible": get_args(OnInfeasible),
        "group_space": get_args(GroupSpace),
        "directions": get_args(Directions),
        "pick": get_args(Pick),
        "correct_from": get_args(CorrectFrom),
    }
    LIMITS: ClassVar[dict[str, Limits]] = {
        "alpha": Limits(0, "must be a number >= 0 (0 turns the reallocation off)"),
        "refill_cap": Limits(0, "must be a number > 0, in units of rollout.batch_size", open=True),
        "confidence": Limits(0.5, "must lie strictly between 0.5 and 1", 1, open=True),
        "queue_batches": Limits(1, "must be an integer >= 1"),
        "min_side_samples": Limits(1, "must be an integer >= 1"),
    }

    def __post_init__(self) -> None:
        for key in ("include_current_batch", "psd", "keep_and_refill"):
            self._require(key, isinstance(getattr(self, key), bool), "must be true or false")
        for key, limits in self.LIMITS.items():
            value = getattr(self, key)
            is_kind = _is_int if key in ("queue_batches", "min_side_samples") else _is_number
            self._require(key, is_kind(value) and _within(value, limits), limits.rule)
        for key, allowed in self.CHOICES.items():
            value = getattr(self, key)
            rule = f"must be one of {', '.join(allowed)}{nearest(value, allowed)}"
            self._require(key, isinstance(value, str) and value in allowed, rule)
        check_name(self.method)
        per_stream = self.keep_and_refill and self.normalizer == "per_stream"
        rule = "needs keep_and_refill false: what is dropped there has no place in a token denominator"
        self._require("normalizer", not per_stream, rule)

    def _require(self, key: str, ok: bool, rule: str) -> None:
        if not ok:
            raise ValueError(f"dipo.{key} = {getattr(self, key)!r}: {rule}")

    def for_method(self, method: Method) -> DipoConfig:
        """The switches that hold for `method`: unless it reallocates, alpha is 0 and the estimator its own."""
        if method.reallocates:
            return self
        return dataclasses.replace(self, alpha=0.0, estimator=method.estimator)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DipoConfig:
        """A config from plain values, such as the `dipo:` part of a recipe.

        Raises ValueError naming the key, the value and the nearest known key or value.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"dipo: expected a mapping of switches, got {type(values).__name__} {values!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key, value in values.items():
            if key not in known:
                hint = nearest(key, known)
                raise ValueError(f"dipo.{key} = {value!r}: no such key{hint}; known: {', '.join(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The switches as plain values, in the order above; `from_dict` reads them back."""
        return dataclasses.asdict(self)


def _within(value: float, limits: Limits) -> bool:
    if not limits.low <= value <= min(limits.high, sys.float_info.max):
        return False
    return not (limits.open and value in (limits.low, limits.high))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_int(value) or isinstance(value, float)
