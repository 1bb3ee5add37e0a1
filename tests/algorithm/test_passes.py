"""The parts of an update's batch: each row once, groups whole, none above the limit but a group that is alone."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dipo_openrlhf.algorithm.passes import in_passes


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 30)), max_size=40),
    st.integers(0, 9),
    st.integers(1, 200),
)
def test_parts(rows: list[tuple[int, int]], prompt_tokens: int, limit: int) -> None:
    rows.sort()
    groups, lengths = torch.tensor(rows, dtype=torch.long).reshape(-1, 2).T
    index = torch.arange(len(rows)) + 100
    parts = [part.tolist() for part in in_passes(index, lengths, groups, prompt_tokens, limit)]
    assert sorted(row for part in parts for row in part) == index.tolist()
    homes = [{int(groups[row - 100]) for row in part} for part in parts]
    assert sum(map(len, homes)) == len(set(groups.tolist()))
    for part, home in zip(parts, homes, strict=True):
        tokens = len(home) * prompt_tokens + len(part) * max(int(lengths[row - 100]) for row in part)
        assert tokens <= limit or len(home) == 1
