"""How often DiPO acted over a run, by direction, and why it did not: whether a run is DiPO at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dipo_openrlhf.algorithm.metrics import IDLE_REASONS

WINDOW_STEPS = 50
WARN_BELOW = 0.01

# Reason for not acting -> what it means, and the switches that would change it.
_REMEDIES = {
    "wrong_space": (
        "they lie on the other side of the threshold",
        "dipo.group_space (argmax and subset act on more groups than mean; all on fewer)",
    ),
    "infeasible": (
        "no threshold passed",
        "dipo.min_side_samples, dipo.queue_batches, dipo.confidence, dipo.on_infeasible: last",
    ),
    "reward_variance": (
        "shaping gave them unequal rewards, so they train by those",
        "reward.overlong_buffer_len, reward.overlong_penalty_factor",
    ),
    "direction_off": ("their direction is turned off", "dipo.directions"),
    "no_log_ppl": ("they have fewer than two responses with tokens", "rollout.max_new_tokens, data.max_len"),
}


@dataclass(frozen=True)
class FireRate:
    """Counts over some steps: all-incorrect (hard) and all-correct (easy) groups, those acted on, the others by
    reason."""

    hard: int
    easy: int
    fired_hard: int
    fired_easy: int
    idle: dict[str, int]

    @property
    def extreme(self) -> int:
        """All-incorrect and all-correct groups."""
        return self.hard + self.easy

    @property
    def fired(self) -> int:
        """Extreme groups acted on."""
        return self.fired_hard + self.fired_easy

    @property
    def share(self) -> float:
        """Acted on, as a share of the extreme groups; 0 where there are none."""
        return self.fired / self.extreme if self.extreme else 0.0

    def __str__(self) -> str:
        return f"DiPO acted on {self.fired} of {self.extreme} extreme groups ({self.share:.1%})"


def fire_rate(rows: Sequence[dict[str, Any]]) -> FireRate:
    """Summed over the rows of metrics.jsonl."""

    def total(key: str) -> int:
        return round(sum(row.get(f"dipo/{key}") or 0 for row in rows))

    counts = {key: total(key) for key in ("fired_hard", "fired_easy")}
    idle = {reason: total(f"idle_{reason}") for reason in IDLE_REASONS}
    return FireRate(total("groups_hard"), total("groups_easy"), **counts, idle=idle)


def fire_summary(rows: Sequence[dict[str, Any]]) -> str:
    """How often DiPO acted over a run, and why it skipped the other groups, in one sentence."""
    rate = fire_rate(rows)
    if not rate.extreme:
        return "DiPO met no all-incorrect or all-correct group"
    idle = [f"{count} {reason.replace('_', ' ')}" for reason, count in rate.idle.items() if count]
    directions = (
        f"{rate.fired_hard} of {rate.hard} all-incorrect, {rate.fired_easy} of {rate.easy} all-correct"
    )
    return f"{rate}: {directions}" + (f"; skipped: {', '.join(idle)}" if idle else "")


def fire_warning(rows: Sequence[dict[str, Any]], steps: int = WINDOW_STEPS) -> str | None:
    """A line when DiPO acted on under 1% of the extreme groups of the last `steps` steps; None before.

    Names the most frequent reason and the switches that would change it. The caller decides whether DiPO is on.
    """
    rate = fire_rate(rows[-steps:])
    if len(rows) < steps or not rate.extreme or rate.share >= WARN_BELOW:
        return None
    reason = max(rate.idle, key=lambda name: rate.idle[name])
    meaning, switches = _REMEDIES[reason]
    return (
        f"warning: {rate} in {steps} steps; {rate.idle[reason]} were skipped because {meaning}; "
        f"what would change it: {switches}. "
        "`dipo doctor --rollouts RUN/rollouts.jsonl` compares the values of dipo.group_space"
    )
