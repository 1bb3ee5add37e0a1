"""BFCL's gold trajectories, and copies with one damage: a call left out, a wrong argument, calls swapped, one too many.

Both are played as a model's messages. The tests beside this file load it with runpy.
"""

from __future__ import annotations

import ast
import asyncio
import copy
import json
import random
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dipo_eval.grading.calls.replay import World
from dipo_openrlhf.rewards.episode import Episodes

T = runpy.run_path(str(Path(__file__).parents[1] / "rewards" / "tool_episodes.py"))
Turns = list[list[str]]
"""The calls of each turn, which a model makes in one message."""
Place = tuple[int, int]
"""A call of a trajectory: its turn and its index there."""

KINDS = ("missing call", "wrong argument", "reordered", "extra call")
_EXTRA = {
    "GorillaFileSystem": ("mkdir(dir_name='one_more')",),
    "MessageAPI": ("message_login(user_id='USR001')", "message_login(user_id='USR002')"),
    "TicketAPI": ("ticket_login(username='one', password='more')", "logout()"),
    "TradingBot": ("fund_account(amount=1.5)", "trading_logout()", "trading_login(username='a', password='b')"),
    "TravelAPI": (
        "authenticate_travel(client_id='a', client_secret='b', refresh_token='c', grant_type='read', "
        "user_first_name='One', user_last_name='More')",
    ),
    "TwitterAPI": ("post_tweet(content='one more')", "authenticate_twitter(username='one', password='more')"),
    "VehicleControlAPI": ("set_navigation(destination='One More Street')",),
}  # fmt: skip
"""Calls that change an environment's state: for any state one of them does."""


def texts(turns: Any) -> list[str]:
    """A conversation's messages: those of calls as text, then one without calls that ends the turn."""
    made = []
    for turn in turns:
        made += [
            message if isinstance(message, str) else f"[{', '.join(message)}]" for message in turn if message
        ]
        made.append("Done.")
    return made


async def play_all(
    episodes: Episodes, used: Any, cases: list[tuple[dict[str, Any], list[str]]]
) -> list[dict[str, Any]]:
    """The results of episodes of (case, the model's messages), 16 at a time."""
    gate = asyncio.Semaphore(16)

    async def one(case: dict[str, Any], messages: list[str]) -> dict[str, Any]:
        label = json.dumps({**case, "environment": "bfcl"})
        # Whole texts as one token each would hide nothing here, and the case's tools are long: no limit of length.
        engine = T["Engine"](
            used, [(used(text, add_special_tokens=False)["input_ids"], "stop") for text in messages]
        )
        async with gate:
            return await episodes.run("", label, T["params"](logprobs=None), 10**9, used, engine)

    return list(await asyncio.gather(*(one(*case) for case in cases)))


def damaged(case: dict[str, Any]) -> Iterator[tuple[str, Place, Turns]]:
    """(kind, the gold call in question, turns), seeded by the case's id; of "reordered" each swap of two neighbours."""
    rng = random.Random(case["id"])
    gold: Turns = case["ground_truth"]
    places = [(turn, index) for turn, calls in enumerate(gold) for index in range(len(calls))]
    at = rng.choice(places)
    yield "missing call", at, _replaced(gold, at)
    wrong = {at: made for at in places if (made := _other_argument(gold[at[0]][at[1]], rng))}
    at = rng.choice(list(wrong))
    yield "wrong argument", at, _replaced(gold, at, wrong[at])
    for turn, index in places:
        pair = gold[turn][index : index + 2]
        if len(set(pair)) == 2:
            made = copy.deepcopy(gold)
            made[turn][index : index + 2] = pair[::-1]
            yield "reordered", (turn, index), made
    turn, index = at = rng.choice(places)
    yield "extra call", at, _replaced(gold, at, gold[turn][index], _extra(case, gold, at))


def _replaced(gold: Turns, at: Place, *calls: str) -> Turns:
    made = copy.deepcopy(gold)
    made[at[0]][at[1] : at[1] + 1] = calls
    return made


def _other_argument(call: str, rng: random.Random) -> str:
    """The call with another value of the same type in one place; empty where it has no argument."""
    tree = ast.parse(call.strip(), mode="eval").body
    constants = [inner for inner in ast.walk(tree) if isinstance(inner, ast.Constant)]
    if not constants:
        return ""
    chosen = rng.choice(constants)
    if isinstance(chosen.value, bool):
        chosen.value = not chosen.value
    else:
        chosen.value = chosen.value + 1 if isinstance(chosen.value, int | float) else f"{chosen.value}q"
    return ast.unparse(tree)


def _extra(case: dict[str, Any], gold: Turns, at: Place) -> str:
    """The first call of the table that changes the public state right after the gold call `at`."""
    for call in (call for name in case["involved_classes"] for call in _EXTRA.get(name, ())):
        world = _world_after(case, gold, at)
        before = _state(world)
        world.run([call])
        if _state(world) != before:
            return call
    raise AssertionError(f"{case['id']}: no call changes the state")


def reads_only(case: dict[str, Any], at: Place) -> bool:
    """Whether the gold call changes nothing of any environment, the folder that the model is in included."""
    gold = _replaced(case["ground_truth"], at)
    before = _state(_world_after(case, gold, (at[0], at[1] - 1)), hidden=True)
    return before == _state(_world_after(case, case["ground_truth"], at), hidden=True)


def _world_after(case: dict[str, Any], gold: Turns, at: Place) -> World:
    world = World(case, "model", official=False)
    for calls in gold[: at[0]]:
        world.run(calls)
    world.run(gold[at[0]][: at[1] + 1])
    return world


def _state(world: World, *, hidden: bool = False) -> Any:
    """The attributes of the environments, a copy: the public ones, which the checkers compare, or all."""
    return copy.deepcopy(
        [
            {
                key: value.getstate() if isinstance(value, random.Random) else value
                for key, value in vars(one).items()
                if hidden or key[0] != "_"
            }
            for one in world.instances.values()
        ]
    )
