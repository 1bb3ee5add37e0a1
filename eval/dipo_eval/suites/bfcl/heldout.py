"""Which of BFCL's 200 multi-turn scenarios are held out where a model is trained on the others.

A scenario is a case of multi_turn_base with its three variants, of the same number. Scenarios that begin in the same
state fall on the same side: the hash of that state alone decides.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading.calls import bfcl

SHARE = 5  # one state in five is held out


def is_held_out(item_id: str) -> bool:
    """Whether a multi-turn case, such as multi_turn_miss_func_12, is held out. Raises UserError for another item."""
    number = item_id.rpartition("_")[2]
    if not item_id.startswith("multi_turn_") or number not in _by_number():
        raise UserError(f"{short_repr(item_id)} is no multi-turn case of bfcl-eval {bfcl.VERSION}")
    return _by_number()[number]


@lru_cache(maxsize=1)
def _by_number() -> dict[str, bool]:
    rows = bfcl.items("multi_turn_base")
    return {row["id"].rpartition("_")[2]: _state_is_held_out(row["initial_config"]) for row in rows}


def _state_is_held_out(state: dict[str, Any]) -> bool:
    content = json.dumps(state, sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(f"bfcl multi-turn: {content}".encode("ascii")).digest()
    return int.from_bytes(digest[:8], "big") % SHARE == 0
