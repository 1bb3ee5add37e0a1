"""Every switch of DiPO, with its unit, range and source."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.algorithm.method import Estimator

Interval = Literal["wilson", "wald", "cluster"]
OnInfeasible = Literal["skip", "last"]
GroupSpace = Literal["mean", "all", "argmax", "subset"]
Directions = Literal["both", "hard_only", "easy_only"]
Pick = Literal["max_ppl", "random", "min_ppl"]
CorrectFrom = Literal["score", "reward_max"]
Normalizer = Literal["shared", "per_stream"]


@dataclass(frozen=True)
class DipoConfig:
    """The switches of DiPO. Frozen and validated: an instance that exists is usable.

    Sources: [P] is the paper (arXiv 2604.13902), [S] this project's reading of a point the paper leaves open.
    Raises ValueError naming the key, the value and what is allowed.
    """

    method: str = "dipo"
    """Which advantages training uses: `dipo`, or the name of a file in `algorithm/methods/`."""

    alpha: float = 0.1
    """Weight of the reallocation term, unitless, >= 0; 0 reproduces the base method bit for bit. [P]"""

    estimator: Estimator = "group_norm"
    """Normalisation of both streams: `group_norm` (r-mean)/(std+1e-9), `dr_grpo` r-mean. [P: group_norm]"""

    normalizer: Normalizer = "shared"
    """Token denominator of the reallocation term: `shared` divides by all action tokens, as the base term
    does; `per_stream` by the action tokens of the groups it acts on, so that few acts weigh as much as
    many. [S]"""

    queue_batches: int = 2
    """Rollout batches in the perplexity queue, >= 1. [P: the most recent two]"""

    include_current_batch: bool = True
    """Whether the current batch counts towards its own threshold; false: the previous ones alone. [S4]"""

    confidence: float = 0.95
    """Two-sided confidence of both lower bounds, in (0.5, 1). [P]"""

    interval: Interval = "wilson"
    """Interval of a side's proportion: `wilson`, `wald`, `cluster` (standard error by prompt group). [S6]"""

    min_side_samples: int = 30
    """Fewest responses on each side of a threshold, >= 1. [S6]"""

    on_infeasible: OnInfeasible = "skip"
    """When no threshold passes: `skip` reallocates nothing, `last` uses the last one that passed. [S8]"""

    group_space: GroupSpace = "mean"
    """What puts a group in a space: its `mean` log-perplexity, `all` of its responses, the picked response
    (`argmax`), or `subset`: act within its responses in the space, against their own baseline. [S10]"""

    directions: Directions = "both"
    """Which extreme groups may be acted on: `both`, `hard_only`, `easy_only` (ablation). [P]"""

    pick: Pick = "max_ppl"
    """Which response is flipped: `max_ppl` [P]; `random` and `min_ppl` are controls."""

    psd: bool = True
    """Perplexity space disentangling; false acts on every extreme group, whatever its space. [P: ablation]"""

    correct_from: CorrectFrom = "score"
    """Where b comes from: `score` (>= 0.5), or `reward_max`: the score equals that example's greatest. [S]"""

    keep_and_refill: bool = False
    """Replace every all-correct or all-incorrect group by a further prompt, as DAPO's dynamic sampling does, but keep
    the group: it enters the queue, and if DiPO acts on it, it is trained on. [S]"""

    refill_cap: float = 1.0
    """Most further prompts a step, in units of rollout.batch_size, > 0; for keep_and_refill and dapo. [S]"""

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "estimator": ("group_norm", "dr_grpo"),
        "normalizer": ("shared", "per_stream"),
        "interval": ("wilson", "wald", "cluster"),
        "on_infeasible": ("skip", "last"),
        "group_space": ("mean", "all", "argmax", "subset"),
        "directions": ("both", "hard_only", "easy_only"),
        "pick": ("max_ppl", "random", "min_ppl"),
        "correct_from": ("score", "reward_max"),
    }

    def __post_init__(self) -> None:
        for key in ("include_current_batch", "psd", "keep_and_refill"):
            _require(isinstance(getattr(self, key), bool), key, getattr(self, key), "must be true or false")
        for key in ("queue_batches", "min_side_samples"):
            value = getattr(self, key)
            _require(_is_int(value) and value >= 1, key, value, "must be an integer >= 1")
        _require(
            _is_number(self.alpha) and math.isfinite(self.alpha) and self.alpha >= 0,
            "alpha",
            self.alpha,
            "must be a number >= 0 (0 turns the reallocation off)",
        )
        _require(
            _is_number(self.refill_cap) and 0 < self.refill_cap < math.inf,
            "refill_cap",
            self.refill_cap,
            "must be a number > 0, in units of rollout.batch_size",
        )
        _require(
            _is_number(self.confidence) and 0.5 < self.confidence < 1,
            "confidence",
            self.confidence,
            "must lie strictly between 0.5 and 1",
        )
        for key, allowed in self.CHOICES.items():
            _require_choice(key, getattr(self, key), allowed)
        _require_choice("method", self.method, ("dipo", *methods.names()))
        _require(
            not (self.keep_and_refill and self.normalizer == "per_stream"),
            "normalizer",
            self.normalizer,
            "needs keep_and_refill false: what is dropped there has no place in a token denominator",
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DipoConfig:
        """Builds a config from plain values, for example the `dipo:` part of a recipe.

        Raises ValueError naming the key, the value and the nearest known key or value.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"dipo: expected a mapping of switches, got {type(values).__name__} {values!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key, value in values.items():
            if key not in known:
                raise ValueError(
                    f"dipo.{key} = {value!r}: no such key{_nearest(key, known)}; known: {', '.join(known)}"
                )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The switches as plain values, in the order above; `from_dict` reads them back."""
        return dataclasses.asdict(self)


def _require(ok: bool, key: str, value: object, rule: str) -> None:
    if not ok:
        raise ValueError(f"dipo.{key} = {value!r}: {rule}")


def _require_choice(key: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        hint = _nearest(value, allowed)
        raise ValueError(f"dipo.{key} = {value!r}: must be one of {', '.join(allowed)}{hint}")


def _nearest(word: object, known: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_int(value) or isinstance(value, float)
