"""The user's cache folder: models that are built once, and what was measured on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """$DIPO_CACHE_DIR, else the user's cache folder."""
    base = os.environ.get("DIPO_CACHE_DIR")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dipo"
