"""Which responses share a forward and backward pass of the reference trainer's update: whole groups of similar length."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PASS_TOKENS = 1024
"""Of one pass, about: what it keeps for its gradient should fit into a core's caches."""


def in_passes(
    rows_B: Tensor, lengths_B: Tensor, groups_B: Tensor, prompt_tokens: int, limit: int = PASS_TOKENS
) -> Iterator[Tensor]:
    """The rows in parts of at most `limit` tokens, or of one group, the short ones first.

    lengths: action tokens of each of these rows; groups: rows of one number have one prompt, of at most `prompt_tokens`.
    """
    groups = []
    for number in groups_B.unique():
        members_B = groups_B == number
        groups.append((int(lengths_B[members_B].max()), rows_B[members_B]))
    part: list[Tensor] = []
    for longest, members in sorted(groups, key=lambda group: group[0]):
        rows = sum(map(len, part)) + len(members)
        tokens = (len(part) + 1) * prompt_tokens + rows * longest  # all are padded to the longest
        if part and tokens > limit:
            yield torch.cat(part)
            part = []
        part.append(members)
    if part:
        yield torch.cat(part)
