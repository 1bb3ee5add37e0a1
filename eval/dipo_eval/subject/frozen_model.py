"""A model's files as they were hashed, and whether they are still the same after loading and use.

A training, a sync or a copy may replace a file between hashing and loading; the responses of the new weights would then
be stored under the hash of the old ones.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.subject.checkpoints import file_hashes, generation_names, hash_of, weights_names

# A file changed this shortly before its stamp was taken can change again with the same stamp: file systems keep times
# in steps of up to 2 s (FAT; git has the same problem, Documentation/technical/racy-git.txt).
SETTLED_NS = 2 * 10**9
# Contents of smaller files are compared, whatever the stamp.
SMALL = 64 * 1024**2
_ATTEMPTS = 3

_Stamp = tuple[int, ...]
_Names = tuple[list[str], list[str]]  # of weights_names and of generation_names


class ModelChangedError(UserError):
    """The files of a model are no longer those that were hashed."""


@dataclass(frozen=True)
class _File:
    sha256: str
    stamp: _Stamp
    settled: bool


class FrozenModel:
    """The hashes of a model folder, and whether a file has changed since.

    `weights_hash` and `generation_hash` are those of checkpoints.py. Raises UserError for an incomplete model, and for
    files that change while they are read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names, self._files = _read(folder)
        weights, others = self._names
        self.weights_hash = hash_of({name: self._files[name].sha256 for name in weights})
        self.generation_hash = hash_of({name: self._files[name].sha256 for name in others})

    def is_current(self) -> bool:
        """Whether the folder holds the same files and contents. Files that may have changed are read again."""
        try:
            return _names(self.folder) == self._names and all(map(self._is_same, self._files))
        except (OSError, UserError):
            return False

    def check_loaded(self) -> None:
        """After loading. Raises ModelChangedError where the files are not those that were hashed."""
        if not self.is_current():
            raise self._changed("loaded")

    def check_used(self) -> None:
        """After use, where deleted files do not matter. Raises ModelChangedError."""
        for name in list(self._files):
            try:
                same = self._is_same(name)
            except FileNotFoundError:
                continue
            except OSError:
                same = False
            if not same:
                raise self._changed("evaluated")

    def check_stamps(self) -> None:
        """check_used only where a file's size, times or inode differ: a few microseconds a file."""
        for name, file in self._files.items():
            with contextlib.suppress(OSError):
                if _stamp(self.folder / name) != file.stamp:
                    self.check_used()
                    return

    def _is_same(self, name: str) -> bool:
        file, now = self._files[name], _stamp(self.folder / name)
        if now == file.stamp and file.settled and now[0] > SMALL:
            return True
        if now[0] != file.stamp[0] or file_hashes(self.folder, [name])[name] != file.sha256:
            return False
        self._files[name] = _File(file.sha256, now, _is_settled(now))
        return _stamp(self.folder / name) == now

    def _changed(self, doing: str) -> ModelChangedError:
        return ModelChangedError(
            f"{self.folder}: its files changed while it was being {doing}, so that nothing was stored; evaluate it "
            "again once nothing writes to it"
        )


def _read(folder: Path) -> tuple[_Names, dict[str, _File]]:
    for _ in range(_ATTEMPTS):
        names = _names(folder)
        try:
            stamps = {name: _stamp(folder / name) for name in {*names[0], *names[1]}}
            settled = {name: _is_settled(stamp) for name, stamp in stamps.items()}
            hashes = file_hashes(folder, stamps)
            if names == _names(folder) and all(_stamp(folder / name) == stamps[name] for name in stamps):
                return names, {name: _File(hashes[name], stamps[name], settled[name]) for name in stamps}
        except FileNotFoundError:
            continue  # replaced or pruned meanwhile
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    raise ModelChangedError(
        f"{folder}: its files change while they are read; evaluate it once nothing writes to it"
    )


def _names(folder: Path) -> _Names:
    return weights_names(folder), generation_names(folder)


def _stamp(path: Path) -> _Stamp:
    """Size, times in ns and inode. The time of change (ctime) cannot be set back, as a copy's mtime can."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def _is_settled(stamp: _Stamp) -> bool:
    return time.time_ns() - max(stamp[1], stamp[2]) > SETTLED_NS
