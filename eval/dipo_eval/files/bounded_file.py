"""Stored files that anybody may have put there, read without waiting and within limits.

A pipe or a device in the place of a file would be waited for, a sparse file or a zstd frame of a few kilobytes is read
as terabytes. Nothing here blocks at the opening, reads what is no regular file, or holds more in memory than one limit
of its own. What breaks a limit is an OSError whose text says why; the caller, who knows what the file is for, names it.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import zstandard

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_RESULT = 64 << 20
"""Bytes of a results.json, or of what another harness said of a result; usual are some kilobytes to some megabytes."""
MAX_MARKER = 1 << 20
"""Bytes of a marker, a record or a lease."""
MAX_SAMPLES = 16 << 30
"""Bytes of a samples file, packed and unpacked."""
MAX_METRICS = 1 << 30
"""Bytes of a metrics.jsonl."""
MAX_LINE = 64 << 20
"""Bytes of one line of any of them; a response of 131,072 tokens is about one megabyte."""

# Unpacked to packed. Rows whose responses are 32,768 tokens of one repeated phrase pack 1:490, zeros 1:32,000.
_RATIO = 2000
_SPARE = 64 << 20
_WINDOW = 1 << 27  # what the zstd command unpacks unasked
_PIECE = (
    2048  # packed bytes at a time: at most 64 MiB unpacked, 128 KiB being the most that 4 bytes stand for
)


def open_regular(path: Path, limit: int) -> BinaryIO:
    """Open for reading. Raises OSError, at once, for what is no regular file or has more than `limit` bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise OSError("it is not a regular file")
        if about.st_size > limit:
            raise OSError(f"it has {about.st_size:,} bytes, and {limit:,} is the limit")
        if about.st_size == 0 and os.pread(descriptor, 8, 0) and os.fstat(descriptor).st_size == 0:
            raise OSError("it is no stored file: it has content and no size")  # of /proc, some without end
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_limited(path: Path, limit: int) -> bytes:
    """All of a file. Raises OSError as open_regular does."""
    with open_regular(path, limit) as file:
        content = file.read(limit + 1)  # it may grow meanwhile
    if len(content) > limit:
        raise OSError(f"it has more than {limit:,} bytes, which is the limit")
    return content


def pieces(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """The bytes of an open file, in pieces. Raises OSError beyond `limit` bytes."""
    left = limit
    while piece := file.read(min(left + 1, 1 << 18)):
        left -= len(piece)
        if left < 0:
            raise OSError(f"it has more than {limit:,} bytes, which is the limit")
        yield piece


def lines(file: BinaryIO, limit: int, longest: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of an open file, with their ends.

    Raises OSError beyond `limit` bytes in all, and for a line of more than `longest`.
    """
    left = limit
    while line := file.readline(longest + 1):
        left -= len(line)
        if len(line) > longest:
            raise OSError(f"a line has more than {longest:,} bytes, which is the limit")
        if left < 0:
            raise OSError(f"it has more than {limit:,} bytes, which is the limit")
        yield line


def unpacked(packed: BinaryIO) -> BinaryIO:
    """What a zstd file holds, to be read and sought forwards.

    Raises OSError while it is read, for a file that is damaged, cut off, or unpacks to more than most_unpacked.
    """
    return io.BufferedReader(_Unpacked(packed, most_unpacked(packed)), 1 << 17)


def most_unpacked(packed: BinaryIO) -> int:
    """Bytes that real samples of this packed size may have, MAX_SAMPLES at most."""
    return min(MAX_SAMPLES, _RATIO * os.fstat(packed.fileno()).st_size + _SPARE)


def zstd_decompressor() -> zstandard.ZstdDecompressor:
    """One that refuses frames which ask for more memory than the zstd command gives them unasked."""
    return zstandard.ZstdDecompressor(max_window_size=_WINDOW)


class _Unpacked(io.RawIOBase):
    """Whole frames only: zstandard's stream reader takes the end of a file that was cut off for the end of a frame."""

    def __init__(self, packed: BinaryIO, limit: int) -> None:
        self._packed, self._limit = packed, limit
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._rest = b""  # packed, behind the end of a frame
        self._ready = memoryview(b"")
        self._made = self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self._place:
            raise io.UnsupportedOperation("packed samples are read forwards only")
        while self._place < offset and self._fill():
            self._take(offset - self._place)
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if not self._fill():
            return 0
        part = self._take(len(view))
        view[: len(part)] = part
        return len(part)

    def _take(self, most: int) -> memoryview:
        part, self._ready = self._ready[:most], self._ready[most:]
        self._place += len(part)
        return part

    def _fill(self) -> bool:
        """Have something ready; false at the end of the file."""
        while not self._ready:
            piece = self._rest or self._packed.read(_PIECE)
            self._rest = b""
            if not piece:
                if self._frame is not None:
                    raise OSError("the zstd frame is cut off")
                return False
            self._ready = memoryview(self._decompressed(piece))
            self._made += len(self._ready)
            if self._made > self._limit:
                raise OSError(
                    f"it unpacks to more than {self._limit:,} bytes, which is the limit at its size"
                )
        return True

    def _decompressed(self, piece: bytes) -> bytes:
        frame = self._frame = self._frame or zstd_decompressor().decompressobj()
        try:
            made = frame.decompress(piece)
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error
        if frame.eof:
            self._rest, self._frame = frame.unused_data, None
        return made
