"""Damaged trajectories of BFCL through the executor: rewarded exactly where bfcl-eval's own checker accepts them."""

from __future__ import annotations

import asyncio
import runpy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN
from dipo_openrlhf.rewards.episode import Episodes

pytestmark = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")
ROOT = Path(__file__).parents[1]
TRAJECTORIES = runpy.run_path(str(Path(__file__).with_name("trajectories.py")))
OFFICIAL = runpy.run_path(str(ROOT / "eval" / "bfcl_turns.py"))["official"]
KINDS, reads_only = TRAJECTORIES["KINDS"], TRAJECTORIES["reads_only"]
Damage = tuple[dict[str, Any], str, Any, Any]


@pytest.fixture(scope="module")
def episodes() -> Iterator[Episodes]:
    with TRAJECTORIES["T"]["made_episodes"]() as made:
        yield made


def damages(step: int) -> list[Damage]:
    """(case, kind, place, turns) of every so many cases of each category."""
    cases = [case for category in MULTI_TURN for case in bfcl.items(category)[::step]]
    return [(case, *found) for case in cases for found in TRAJECTORIES["damaged"](case)]


def accepted_by_both(episodes: Episodes, given: list[Damage]) -> list[bool]:
    """Whether each is accepted, after the check that executor and checker say the same of all."""
    tokenizer = TRAJECTORIES["T"]["tokenizer"]()
    messages = [(case, TRAJECTORIES["texts"]([[calls] for calls in turns])) for case, _, _, turns in given]
    results = asyncio.run(TRAJECTORIES["play_all"](episodes, tokenizer, messages))
    verdicts = [
        OFFICIAL(case, [[calls] if calls else [] for calls in turns]) == "correct"
        for case, _, _, turns in given
    ]
    differ = [
        (case["id"], kind, at)
        for (case, kind, at, _), result, verdict in zip(given, results, verdicts, strict=True)
        if result["reward"] != float(verdict)
    ]
    assert differ == []
    return verdicts


def why(case: dict[str, Any], kind: str, at: tuple[int, int]) -> str:
    """Why an accepted damage did no harm: by what the gold call in question, or the two neighbours, change."""
    if kind == "extra call":
        return "overwritten"  # by a later call of the turn: states are compared at its end
    pair = [at, (at[0], at[1] + 1)] if kind == "reordered" else [at]
    return "read-only" if any(reads_only(case, one) for one in pair) else "same effect"


def test_a_sample_of_damages_gets_the_verdict_of_the_official_checker(episodes: Episodes) -> None:
    given = damages(40)
    accepted = accepted_by_both(episodes, given)
    refused = Counter(kind for (_, kind, _, _), good in zip(given, accepted, strict=True) if not good)
    assert all(refused[kind] for kind in KINDS)
    assert refused["extra call"] == 20


@pytest.mark.slow
def test_all_800_trajectories_with_damages_get_the_verdict_of_the_official_checker(
    episodes: Episodes,
) -> None:
    given = damages(1)
    accepted = accepted_by_both(episodes, given)
    of = Counter(kind for _, kind, _, _ in given)
    assert of == {"missing call": 800, "wrong argument": 800, "reordered": 1701, "extra call": 800}
    harmless = [one for one, good in zip(given, accepted, strict=True) if good]
    reasons = Counter((kind, why(case, kind, at)) for case, kind, at, _ in harmless)
    assert reasons == {
        ("missing call", "read-only"): 1,  # with a result that was had in an earlier turn
        ("wrong argument", "read-only"): 40,
        ("wrong argument", "same effect"): 13,
        ("reordered", "read-only"): 653,
        ("reordered", "same effect"): 392,
        ("extra call", "overwritten"): 4,
    }
    refused = [one for one, good in zip(given, accepted, strict=True) if not good]
    assert (
        len({case["id"] for case, kind, _, _ in refused if kind == "reordered"}) == 436
    )  # of 651 with a swap
