"""What a method is: the token advantages of a rollout, and everything that training must know to use them."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch

Estimator = Literal["group_norm", "dr_grpo"]
Reduction = Literal["token_mean", "response_mean", "constant"]


@dataclass(frozen=True)
class Rollout:
    """One rollout batch, as a method sees it.

    rewards_PG: as training uses them, shaping included. correct_PG: bool. action_mask_PGA: bool. log_ppl_PG: nats
    per token, NaN without action tokens. token_entropy_PGA: full-vocabulary entropy of pi_old in nats, None
    unless the method needs it. progress: share of training done, in [0, 1]. reallocated_PG: alpha * A(R_r) of
    DiPO, 0 unless the method reallocates. estimator: `dipo.estimator`, or the method's own.
    """

    rewards_PG: torch.Tensor
    correct_PG: torch.Tensor
    action_mask_PGA: torch.Tensor
    log_ppl_PG: torch.Tensor
    token_entropy_PGA: torch.Tensor | None = None
    progress: float = 0.0
    reallocated_PG: torch.Tensor | None = None
    estimator: Estimator = "group_norm"

    def entropy(self) -> torch.Tensor:
        """token_entropy_PGA, detached. Raises ValueError if it was not computed."""
        if self.token_entropy_PGA is None:
            raise ValueError("Rollout.token_entropy_PGA is missing: the method must set needs_entropy=True")
        return self.token_entropy_PGA.detach()


@dataclass(frozen=True)
class Method:
    """A value of `dipo.method`. Its file defines it; no other code may test its name.

    advantages: Rollout -> [P, G, A], zero outside action tokens.
    clip_low, clip_high: the ratio is clipped to [1 - clip_low, 1 + clip_high].
    reduction: the loss is a mean over all tokens, a mean of each response's mean, or a sum divided by the constant
        responses * token limit, which requires one optimizer step a rollout batch.
    dynamic_sampling: zero-variance groups are dropped and replaced by further prompts.
    keeps_all_incorrect: except the all-incorrect ones, which train.
    needs_entropy: reads `Rollout.token_entropy_PGA`; the actor's forward pass then returns it.
    reallocates: adds DiPO's alpha * A(R_r), so all `dipo.*` switches hold; without it, alpha is 0 and the batch is
        only measured.
    estimator: OpenRLHF's estimator for its groups; where it reallocates, `dipo.estimator` decides.
    uses_openrlhf_advantages: OpenRLHF's estimator, plus what is reallocated, gives the very advantages of
        `advantages`, so production keeps OpenRLHF's own.
    reads_correctness: `correct_PG` is read and `rewards_PG` is not, so shaping a reward would have no effect.
    """

    name: str
    source: str
    advantages: Callable[[Rollout], torch.Tensor]
    clip_low: float = 0.2
    clip_high: float = 0.2
    reduction: Reduction = "token_mean"
    dynamic_sampling: bool = False
    keeps_all_incorrect: bool = False
    needs_entropy: bool = False
    reallocates: bool = False
    estimator: Estimator = "group_norm"
    uses_openrlhf_advantages: bool = False
    reads_correctness: bool = False


def names() -> tuple[str, ...]:
    """Names of all methods, sorted: the files of methods/, none of which is imported."""
    folder = importlib.import_module(f"{__package__}.methods")
    found = (info.name for info in pkgutil.iter_modules(folder.__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def get(name: str) -> Method:
    """The method called `name`. Raises ValueError naming the nearest known one."""
    check_name(name)
    method = getattr(importlib.import_module(f"{__package__}.methods.{name}"), "METHOD", None)
    if not isinstance(method, Method) or method.name != name:
        raise ValueError(f"algorithm/methods/{name}.py: defines no METHOD, a Method called {name!r}")
    return method


def check_name(name: object) -> None:
    """Raises ValueError for an unknown method, naming the nearest known one."""
    known = names()
    if name not in known:
        raise ValueError(f"dipo.method = {name!r}: must be one of {', '.join(known)}{nearest(name, known)}")


def nearest(word: object, known: Iterable[str]) -> str:
    """The end of an error message: "; did you mean 'alpha'?", or nothing where no known word is near."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
