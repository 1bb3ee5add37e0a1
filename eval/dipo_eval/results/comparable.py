"""Whether two results measure the same thing: the one rule of the gate, the board, and the choice of the best.

Two results are comparable where all of `settings` and `hashes` in results.json is equal, but for what a paired comparison
over the same items allows to differ: seed, number of samples, and limit (`items_sha256` shows whether the items are the
same). What only one of the two states is a difference too. Fields that a later version adds are compared as well.

Versions of packages need not agree, since a baseline outlives them; version_differences lists them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dipo_eval.discovery import unknown
from dipo_eval.errors import UserError

FREE = frozenset({"seed", "n_samples", "limit"})
REQUIRED = {
    "items_sha256": "were given other items (limit, seed or data): evaluate them alike",
    "suite_hash": "were graded by other versions of the grader: run `dipo eval` on both again",
}
"""Hashes that must always agree, and what it means where they do not."""

SETTINGS = frozenset(
    {
        "engine", "engine_version", "device", "dtype", "server", "temperature", "top_p", "seed", "n_samples",
        "limit", "max_new_tokens", "max_model_len", "stop", "suite_stop", "thinking", "prompt_form",
        "chat_template_hash", "end_tokens", "tokenizer_hash",
    }
)  # fmt: skip
"""The settings that this version writes: a gate's YAML may name them although neither result has them yet."""

_OF_THE_RESPONSES = frozenset({"samples_sha256"})
_LONGEST = 200  # characters of a value that are shown

Made = frozenset[tuple[str, str]]
"""How a result was made, by name and value (as JSON): equal for results that can be compared."""


@dataclass(frozen=True)
class Difference:
    """A setting, hash or version that differs: its value of each side as JSON, None where it is not stated."""

    name: str
    ours: str | None
    theirs: str | None

    @property
    def unstated(self) -> bool:
        """Whether one side does not state it."""
        return self.ours is None or self.theirs is None

    def words(self, ours: str = "here", theirs: str = "there") -> str:
        """Such as: temperature is 0.6 here and 1.0 there."""
        return f"{self.name} is {_words(self.ours)} {ours} and {_words(self.theirs)} {theirs}"


def made_with(result: Mapping[str, Any]) -> Made:
    """What decides whether a results.json can be compared; `settings` or `hashes` that are no objects count as empty."""
    settings, hashes = (_table(result.get(name)) for name in ("settings", "hashes"))
    found = {name: value for name, value in settings.items() if name not in FREE}
    found |= {name: value for name, value in hashes.items() if name not in _OF_THE_RESPONSES}
    return frozenset((str(name), _json(value)) for name, value in found.items())


def differences(ours: Made, theirs: Made) -> list[Difference]:
    """All that differs: the items first, then the grader, then the settings by name."""
    if ours == theirs:
        return []
    return sorted(_differing(dict(ours), dict(theirs)), key=_rank)


def version_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Difference]:
    """Packages of two results.json whose versions differ."""
    tables = (_table(result.get("versions")) for result in (ours, theirs))
    mine, other = ({name: _json(value) for name, value in table.items()} for table in tables)
    return sorted(_differing(mine, other), key=_rank)


def refusal(
    found: Sequence[Difference],
    may_differ: Iterable[str] = (),
    *,
    sides: tuple[str, str] = ("here", "there"),
    unless: str = "",
) -> str:
    """Why two results cannot be compared, in one line with what to do; empty where they can.

    `unless` names another remedy where settings differ.
    """
    for one in found:
        if one.name in REQUIRED and not one.unstated:
            return f"they {REQUIRED[one.name]}"
    allowed = set(may_differ) - REQUIRED.keys()
    refused = [one for one in found if one.name not in allowed]
    if not refused:
        return ""
    unstated = any(one.unstated for one in refused)
    advice = "evaluate both again with this version" if unstated else "evaluate them alike"
    return f"{', '.join(one.words(*sides) for one in refused)}: {advice}{unless}"


def check_may_differ(name: str, known: Collection[str] = ()) -> None:
    """Raises UserError for a name that must always agree, and for one that is no setting.

    `known`: the names in stored results, beside the settings of this version; without any, every name passes.
    """
    if name in REQUIRED:
        raise UserError("other items or another grader cannot be compared; take it out")
    if known and name not in SETTINGS and name not in known:
        raise unknown("setting", name, sorted({*SETTINGS, *known} - REQUIRED.keys()))


def _differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[Difference]:
    names = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    return [Difference(name, ours.get(name), theirs.get(name)) for name in names]


def _rank(one: Difference) -> tuple[int, str]:
    order = list(REQUIRED)
    return (order.index(one.name) if one.name in order else len(order), one.name)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)  # a temperature of 1 is one of 1.0
    try:
        return json.dumps(value, sort_keys=True)
    except (ValueError, TypeError, RecursionError):  # an integer of too many digits, or nested too deeply
        return f"a {type(value).__name__} that cannot be compared, {id(value)}"


def _words(value: str | None) -> str:
    if value is None:
        return "not stated"
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
