"""JSON that somebody has meddled with: parts dropped, or replaced by anything else, also by what is no JSON."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

DIGITS = "5,000 digits"
"""Stands for an integer of 5,000 digits, which Python neither reads nor shows."""

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just(DIGITS)
    | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths_of(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [at, *(path for key, child in children for path in paths_of(child, (*at, key)))]


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """`value` with one to three of its parts dropped or replaced by anything."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths_of(value)))
        if not path:
            return draw(json_values)
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            del parent[path[-1]]
        else:
            parent[path[-1]] = draw(json_values)
    return value


def dumped(value: Any) -> str:
    """JSON, with the integers that Python itself would not write."""
    return json.dumps(value).replace(json.dumps(DIGITS), "1" * 5000)
