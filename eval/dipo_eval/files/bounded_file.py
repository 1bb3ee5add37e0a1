"""Untrusted stored files, read without blocking and within limits.

Opening a pipe or a device would block; a sparse file, or a zstd frame of a few kilobytes, can be read as terabytes. Here
only regular files are read, none into more memory than its limit. What exceeds a limit is an OSError whose text says why;
the caller, who knows what the file is for, names it.
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

# Limits, in bytes.
MAX_RESULT = (
    64 << 20
)  # a results.json, or another harness's scores of a result; usually kilobytes to megabytes
MAX_MARKER = 1 << 20  # a marker, the attempts at a checkpoint, a lease
MAX_SAMPLES = 16 << 30  # a samples file, packed and unpacked
MAX_METRICS = 1 << 30  # a metrics.jsonl
MAX_LINE = 64 << 20  # one line of any of them; a response of 131,072 tokens is about one megabyte

# Unpacked to packed. Rows whose responses are 32,768 tokens of one repeated phrase pack 1:490, zeros 1:32,000.
_RATIO = 2000
_SPARE = 64 << 20
_WINDOW = 1 << 27  # the zstd command's own limit
_PIECE = 2048  # packed bytes at a time: at most 64 MiB unpacked, since 4 bytes stand for at most 128 KiB


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
            raise OSError("it is no stored file: it has content and no size")  # of /proc, some endless
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_limited(path: Path, limit: int) -> bytes:
    """All of a file. Raises OSError as open_regular does."""
    with open_regular(path, limit) as file:
        content = file.read(limit + 1)  # it may grow meanwhile
    if len(content) > limit:
        raise _too_large("it has", limit)
    return content


def _too_large(what: str, limit: int) -> OSError:
    return OSError(f"{what} more than {limit:,} bytes, which is the limit")


def pieces(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """The bytes of an open file, in pieces. Raises OSError beyond `limit` bytes."""
    left = limit
    while piece := file.read(min(left + 1, 1 << 18)):
        left -= len(piece)
        if left < 0:
            raise _too_large("it has", limit)
        yield piece


def lines(file: BinaryIO, limit: int, longest: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of an open file, with their ends.

    Raises OSError beyond `limit` bytes in all, and for a line of more than `longest`.
    """
    left = limit
    while line := file.readline(longest + 1):
        left -= len(line)
        if len(line) > longest:
            raise _too_large("a line has", longest)
        if left < 0:
            raise _too_large("it has", limit)
        yield line


def unpacked(packed: BinaryIO) -> BinaryIO:
    """What a zstd file holds, to be read and sought forwards.

    Raises OSError while it is read, for a file that is damaged, truncated, or unpacks to more than most_unpacked.
    """
    return io.BufferedReader(_Unpacked(packed, most_unpacked(packed)), 1 << 17)


def most_unpacked(packed: BinaryIO) -> int:
    """Bytes that real samples of this packed size may have, MAX_SAMPLES at most."""
    return min(MAX_SAMPLES, _RATIO * os.fstat(packed.fileno()).st_size + _SPARE)


def zstd_decompressor() -> zstandard.ZstdDecompressor:
    """One that refuses frames that need more memory than the zstd command's default limit."""
    return zstandard.ZstdDecompressor(max_window_size=_WINDOW)


class _Unpacked(io.RawIOBase):
    """The bytes of _decompressed as a file."""

    def __init__(self, packed: BinaryIO, limit: int) -> None:
        self._pieces = _decompressed(packed, limit)
        self._ready = memoryview(b"")
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self._place:
            raise io.UnsupportedOperation("packed samples are read forwards only")
        while self._place < offset and self._take(offset - self._place):
            pass
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        part = self._take(len(view))
        view[: len(part)] = part
        return len(part)

    def _take(self, size: int) -> memoryview:
        """At most `size` bytes; none at the end of the file."""
        self._ready = self._ready or memoryview(next(self._pieces, b""))
        part, self._ready = self._ready[:size], self._ready[size:]
        self._place += len(part)
        return part


def _decompressed(packed: BinaryIO, limit: int) -> Iterator[bytes]:
    """Complete frames only: zstandard's stream reader takes the end of a truncated file for the end of a frame."""
    frame: zstandard.ZstdDecompressionObj | None = None
    made, rest = 0, b""  # rest: packed, behind the end of a frame
    while piece := rest or packed.read(_PIECE):
        frame = frame or zstd_decompressor().decompressobj()
        try:
            content = frame.decompress(piece)
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error
        rest = frame.unused_data if frame.eof else b""
        frame = None if frame.eof else frame
        made += len(content)
        if made > limit:
            raise OSError(f"it unpacks to more than {limit:,} bytes, which is the limit at its size")
        if content:
            yield content
    if frame is not None:
        raise OSError("the zstd frame is truncated")
