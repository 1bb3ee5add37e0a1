"""A rollout batch as optimizer windows: whole groups, in an order of their own, the ranks' loads equal.

DeepSpeed takes an optimizer step after every `train.batch_size` samples, a window. What does not fill one (groups that
keep_and_refill drops, a batch that dapo could not fill, the end of the prompts) is filled up by padding rows: copies of
a real row with a single action token and advantages of 0, which have no gradient. But the loss divides by all action
tokens of the window, or with seq-mean-token-mean by all its rows, padding included. The clipped loss is positively
homogeneous in the advantage, so multiplying a window's advantages by (real + padding) / real gives exactly its loss
without padding. In the same way a window's loss is divided by a constant instead (reduction "constant").

With skip_idle the rows whose advantages are all zero, which have no gradient, are left out, and the others multiplied so
that the loss still divides by the tokens of all: the same update, without the passes that would change nothing.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from openrlhf.trainer.ppo_utils.experience import Experience

from dipo_openrlhf.openrlhf_patch.partition import equal_shares, even_bounds, micro_batches, shuffled_windows

STEP_FIELDS = tuple(each.name for each in fields(Experience) if Experience.is_step_tensor_field(each.name))
EPISODE_FIELDS = tuple(
    each.name for each in fields(Experience) if Experience.is_episode_tensor_field(each.name)
)
LIST_FIELDS = ("prompts", "labels", "images", "mm_train_inputs")
PADDING = -1
NO_AUX_LOSS = 1e-8  # openrlhf/trainer/ray/ppo_actor.py, ActorPPOTrainer.__init__: up to it there is none


class Window(Experience):
    """One rank's share of one optimizer step; rows padded with zeros on the right.

    micro_batches: rows of each micro-batch, one after another, as many as on every other rank; empty without dynamic
        batches. action_tokens, samples: of all ranks' shares: action tokens, and rows that have one. rows: of all ranks'
        shares. padding: padding rows of this one. place: of the learning rate's schedule before the step (rollouts.py,
        OrderedGenerator.place), or None.
    """

    micro_batches: Sequence[int] = ()
    action_tokens: float = 0.0
    samples: float = 0.0
    rows: int = 0
    padding: int = 0
    place: int | None = None


@dataclass(frozen=True)
class WindowRules:
    """How a batch becomes windows.

    samples: of one optimizer step, over all ranks. group_size: samples of a prompt. max_tokens: of a micro-batch, or
    None without dynamic batches. token_mean: whether the loss divides by action tokens; else by rows. constant: what it
    divides a row by instead (the token limit of reduction "constant"), or None. skip_idle: leave out rows whose
    advantages are all zero; for where nothing but the policy loss is trained.
    """

    samples: int
    group_size: int
    ranks: int
    max_tokens: int | None = None
    token_mean: bool = True
    constant: int | None = None
    skip_idle: bool = False


def policy_loss_alone(args: Any) -> bool:
    """Whether a sample without an advantage leaves no trace in the update or its log, by OpenRLHF's arguments: neither
    entropy, nor divergence from the reference model, nor the load of experts is part of the loss, no average of weights
    counts passes, and no coefficient follows the divergence of the samples that are trained
    (openrlhf/trainer/ppo_trainer.py, BasePPOTrainer.train_step).
    """
    return (
        args.actor.entropy_coef is None
        and args.actor.aux_loss_coef <= NO_AUX_LOSS
        and not args.algo.kl.use_loss
        and not args.algo.kl.target
        and not args.train.enable_ema
    )


def split_evenly(samples: list[Experience], micro: int, ranks: int, pad: int) -> list[Experience]:
    """Micro-batches of about `micro` samples of similar length, as many for each rank, rank after rank.

    There must be a sample for each rank.
    """
    samples = sorted(samples, key=lambda sample: -int(sample.total_length))
    count = min(-(-len(samples) // (micro * ranks)) * ranks, len(samples) // ranks * ranks)
    made = [joined(samples[start:end], pad) for start, end in even_bounds(len(samples), count)]
    return [
        batch for rank in range(ranks) for batch in made[rank::ranks]
    ]  # every rank gets long ones and short ones


def split_by_tokens(samples: list[Experience], max_tokens: int, ranks: int, pad: int) -> list[Experience]:
    """Micro-batches of at most `max_tokens`, or of one longer sample, as many for each rank. There must be a sample for
    each rank.
    """
    lengths = [int(sample.total_length) for sample in samples]
    (parts,) = micro_batches([lengths], max_tokens, multiple=ranks)
    return [joined([samples[place] for place in sorted(part)], pad) for part in parts]


def joined(samples: list[Experience], pad: int) -> Experience:
    """As openrlhf/trainer/ppo_utils/experience.py, Experience.concat_experiences, in a fifth of its time."""
    values: dict[str, Any] = {}
    for each in fields(Experience):
        columns = [getattr(sample, each.name) for sample in samples]
        if Experience.is_step_tensor_field(each.name) and columns[0] is not None:
            rows = list(itertools.chain.from_iterable(column.unbind() for column in columns))
            fill = pad if each.name == "sequences" else 0
            values[each.name] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)
        else:
            values[each.name] = _merged(columns)
    return Experience(**values)


def _merged(values: list[Any]) -> Any:
    """Values of equal width, lists, or dictionaries of them."""
    if isinstance(values[0], torch.Tensor):
        return torch.cat(values)
    if isinstance(values[0], list):
        return list(itertools.chain.from_iterable(values))
    if isinstance(values[0], dict):
        keys = dict.fromkeys(itertools.chain.from_iterable(values))
        return {key: _merged([each[key] for each in values if key in each]) for key in keys}
    return None


def one_for_each_rank(samples: list[Experience], ranks: int) -> list[Experience]:
    """The samples, with copies of the shortest where they are fewer than the ranks, as at the end of an episode: every
    rank takes part in scoring. `index` of a copy is [PADDING]; alone in its micro-batch, it is left out afterwards.
    """
    if not samples:
        raise RuntimeError("a training step without a single sample")
    shortest = min(samples, key=lambda sample: int(sample.total_length))
    copies = [copy.copy(shortest) for _ in range(ranks - len(samples))]
    for each in copies:
        each.index = [PADDING]
    return samples + copies


def make_windows(
    experiences: Sequence[Experience],
    order_B: torch.Tensor,
    kept_P: torch.Tensor,
    rules: WindowRules,
    seed: int,
) -> list[Window]:
    """The kept groups as windows, all of the first rank's, then all of the second's, as they are sent to the ranks.

    order_B: where each row of the concatenated experiences belongs in [P, G]. kept_P: bool. seed: of the order of groups.
    `index`, `kl` and `returns`, which only a critic reads, are left out; so is a logged figure that some sample lacks.
    Raises RuntimeError without any row.
    """
    rows = _Rows(experiences)
    row_of = torch.argsort(order_B).reshape(-1, rules.group_size).tolist()
    kept = [group for group, keep in enumerate(kept_P.tolist()) if keep]
    by_rank: list[list[Window]] = [[] for _ in range(rules.ranks)]
    for groups in shuffled_windows(kept, max(1, rules.samples // rules.group_size), seed):
        window = [row for group in groups for row in row_of[group]]
        for rank, share in enumerate(_shares(rows, window, rules)):
            by_rank[rank].append(share)
    return list(itertools.chain.from_iterable(by_rank))


def _shares(rows: _Rows, window: list[int], rules: WindowRules) -> list[Window]:
    """Of one window, each rank's."""
    full, window = window, _trained(rows, window, rules) if rules.skip_idle else window
    wanted = -(-max(1, len(window)) // rules.ranks) * rules.ranks if rules.skip_idle else rules.samples
    padding = wanted - len(window)
    tokens, samples = rows.counts(window)
    factor = _factor(len(full), rows.counts(full), (tokens + padding, samples + padding), rules)
    window = window + [PADDING] * padding
    lengths = [rows.lengths[rows.source(row)] for row in window]
    places = equal_shares(lengths, rules.ranks)
    sizes: list[list[int]] = [[] for _ in places]
    if rules.max_tokens is not None:
        parts = micro_batches([[lengths[place] for place in share] for share in places], rules.max_tokens)
        sizes = [[len(part) for part in found] for found in parts]
        places = [
            [share[place] for part in found for place in part]
            for share, found in zip(places, parts, strict=True)
        ]
    shares = [
        rows.window([window[place] for place in share], factor, micro, tokens + padding, samples + padding)
        for share, micro in zip(places, sizes, strict=True)
    ]
    for made in shares:
        made.rows = len(window)
    return shares


def _trained(rows: _Rows, window: list[int], rules: WindowRules) -> list[int]:
    """The rows with a gradient, and the shortest of the others until every rank has as many, one at least."""
    active = [row for row in window if rows.active[row]]
    idle = sorted((row for row in window if not rows.active[row]), key=rows.lengths.__getitem__)
    return active + idle[: -len(active) % rules.ranks if active else rules.ranks]


def _factor(real: int, full: tuple[int, int], counted: tuple[int, int], rules: WindowRules) -> float:
    """What the advantages of a window are multiplied by. full: tokens and samples of all its `real` rows. counted: by
    which the loss divides: of those that are trained, with padding.
    """
    (tokens, samples), (divided_tokens, divided_samples) = full, counted
    if not tokens:
        return 1.0
    if rules.constant is not None:
        return divided_tokens / (real * rules.constant)
    return divided_tokens / tokens if rules.token_mean else divided_samples / samples


class _Rows:
    """The rows of a batch, whichever experience holds them.

    lengths: tokens of each, padding excluded. tokens: action tokens of each. active: whether an advantage is not zero.
    """

    def __init__(self, experiences: Sequence[Experience]) -> None:
        if not any(len(experience.sequences) for experience in experiences):
            raise RuntimeError("a training step without a single sample")
        self.lengths = torch.cat([row_lengths(e.attention_mask) for e in experiences]).tolist()
        self.tokens = torch.cat([e.action_mask.sum(1) for e in experiences]).tolist()
        self.active = torch.cat([(e.advantages != 0).any(1) for e in experiences]).tolist()
        self.shortest = min(range(len(self.lengths)), key=self.lengths.__getitem__)
        first = experiences[0]
        self.step = {
            name: list(itertools.chain.from_iterable(getattr(e, name).unbind() for e in experiences))
            for name in STEP_FIELDS
            if name not in ("kl", "returns") and getattr(first, name) is not None
        }
        self.episode = {
            name: torch.cat([getattr(e, name) for e in experiences])
            for name in EPISODE_FIELDS
            if getattr(first, name) is not None
        }
        self.lists = {
            name: list(itertools.chain.from_iterable(getattr(e, name) for e in experiences))
            for name in LIST_FIELDS
        }
        logged = set.intersection(*(set(e.info) for e in experiences))
        self.info = {
            key: torch.cat([torch.as_tensor(e.info[key]).reshape(-1) for e in experiences])
            for key in first.info
            if key in logged
        }

    def counts(self, chosen: list[int]) -> tuple[int, int]:
        """(action tokens, rows that have one)"""
        return sum(self.tokens[row] for row in chosen), sum(self.tokens[row] > 0 for row in chosen)

    def source(self, row: int) -> int:
        """The row itself; a padding row is a copy of the shortest."""
        return self.shortest if row == PADDING else row

    def window(self, chosen: list[int], factor: float, sizes: list[int], tokens: int, samples: int) -> Window:
        """One rank's share: the rows `chosen`, their advantages multiplied by `factor`; padding rows as said above."""
        sources = [self.source(row) for row in chosen]
        picked = torch.tensor(sources)
        values: dict[str, Any] = {}
        for name, all_rows in self.step.items():
            # Per-token fields other than the tokens themselves begin at the second token.
            shift = len(self.step["sequences"][0]) - len(all_rows[0])
            cut = [all_rows[row][: self.lengths[row] - shift] for row in sources]
            values[name] = torch.nn.utils.rnn.pad_sequence(cut, batch_first=True)
        values |= {name: column[picked] for name, column in self.episode.items()}
        values |= {
            name: [column[row] for row in sources] if column else [] for name, column in self.lists.items()
        }
        values["info"] = {key: column[picked] for key, column in self.info.items()}
        window = Window(**values)
        window.micro_batches = sizes
        window.action_tokens, window.samples = float(max(1, tokens)), float(max(1, samples))  # denominators
        if factor != 1.0:
            window.advantages = window.advantages * factor
        padding = [place for place, row in enumerate(chosen) if row == PADDING]
        _make_padding(window, padding)
        window.padding = len(padding)
        return window


def _make_padding(window: Window, places: list[int]) -> None:
    """Turn rows into padding rows, in place."""
    if places:
        first = window.action_mask[places].int().argmax(1)
        window.action_mask[places] = 0
        window.action_mask[places, first] = 1
        window.advantages[places] = 0


def row_lengths(attention_mask_BT: torch.Tensor) -> torch.Tensor:
    """[B]: tokens of each row without its padding on the right."""
    return attention_mask_BT.shape[1] - attention_mask_BT.flip(1).int().argmax(1)
