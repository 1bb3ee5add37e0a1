"""When Python looks for garbage: seldom while thousands of modules are imported, since that takes a fifth of the time and
finds nothing; as usual once a model is loaded, whose memory garbage may hold.
"""

from __future__ import annotations

import gc

USUAL = gc.get_threshold()
SELDOM = (100_000, 10, 10)


def collect_seldom() -> None:
    """For a process that imports."""
    gc.set_threshold(*SELDOM)


def collect_as_usual() -> None:
    """For a process that works."""
    gc.set_threshold(*USUAL)
