"""A process that restores a saved random state draws what the first one drew next."""

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


def test_every_generator_is_restored(tmp_path):
    np.random.standard_normal()  # numpy caches a second normal number, a part of its state
    torch.save(rng_state(), tmp_path / "rng.pt")
    expected = drawn()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert drawn() != expected
    set_rng_state(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert drawn() == expected


def test_lists_are_accepted_for_tuples():
    """As a file format without tuples returns them."""
    state = rng_state()
    expected = drawn()
    version, internal, gauss = state["python"]
    set_rng_state({**state, "python": [version, list(internal), gauss], "numpy": list(state["numpy"])})
    assert drawn() == expected
