"""A process that takes up a saved state draws what the first one drew next."""

from __future__ import annotations

import random

import numpy as np
import torch

from dipo_openrlhf.openrlhf_patch.actor import rng_state, set_rng_state


def drawn() -> tuple[list[float], list[float], list[float]]:
    return (
        [random.random(), random.gauss(0, 1)],
        [*np.random.random(3), np.random.standard_normal()],
        torch.rand(3).tolist(),
    )


def test_every_generator_goes_on_where_it_was(tmp_path):
    np.random.standard_normal()  # leaves numpy with a second normal number in hand, a part of its state
    torch.save(rng_state(), tmp_path / "rng.pt")
    expected = drawn()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert drawn() != expected
    set_rng_state(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert drawn() == expected


def test_lists_in_the_place_of_tuples_are_taken():
    """As a file format that knows no tuples would give them back."""
    state = rng_state()
    expected = drawn()
    version, internal, gauss = state["python"]
    set_rng_state({**state, "python": [version, list(internal), gauss], "numpy": list(state["numpy"])})
    assert drawn() == expected
