"""Carry values across a jail's wall: msgpack with a closed set of types, read back without running anything of it.

None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, Counter, deque, arrays and scalars of
numbers. Nothing else can be written down, so nothing else can come back: no class of a solution, no function, no
object that could answer ``==`` for itself. What a solution made of a class of its own arrives as the plain value that
it extends; a number of another kind as the int or float that it equals; an iterator as an iterator over the items it
gave; anything else as an opaque object, which equals nothing and is not None.

Format: https://github.com/msgpack/msgpack/blob/master/spec.md; the extension types are listed in ``Code``.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import itertools
import numbers
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import msgpack

MAX_ITEMS = 1_000_000  # taken from an iterator, which may never end
MAX_BYTES = 256 * 1024**2  # of one value, uncompressed
_COMPRESS_FROM = 1 << 16
_PACKED, _AS_IS = b"z", b"-"
_TABLE_FROM = 4096  # rows; below that, sharing equal strings saves nothing
_TABLE_STRINGS = 256  # what a byte can point to
_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "f16", "c8", "c16", "c32")
_DTYPES = frozenset(order + number for order in "<>|" for number in _NUMBERS)
_LARGEST = 10**300
_LEVELS = 60  # of extensions: tuples in tuples
_MAX_COPIES = 2 * MAX_BYTES
_COMPLEX = struct.Struct(">dd")
_PLAIN: tuple[type, ...] = (
    bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset,
)  # fmt: skip


class Code(enum.IntEnum):
    TUPLE = 1
    SET = 2
    FROZENSET = 3
    COUNTER = 4
    DEQUE = 5
    COMPLEX = 6  # two doubles
    INTEGER = 7  # beyond 64 bits
    ARRAY = 8  # numpy: type, shape, bytes
    SCALAR = 9
    STREAM = 10  # an iterator's items
    OPAQUE = 11
    TUPLES = 12  # a list of tuples
    TABLE = 13  # a list of tuples of a few strings


class Opaque:
    """Stands for a result that is no plain value: equal to nothing, and not None."""


def dump(value: Any) -> bytes:
    """``value`` as bytes. Raises what a hostile ``value`` raises, ValueError for deep nesting."""
    data = _pack(_rows(value))
    return _PACKED + zlib.compress(data, 1) if len(data) >= _COMPRESS_FROM else _AS_IS + data


def load(data: bytes) -> Any:
    """The value in ``data``. Raises ValueError, TypeError, RecursionError or MemoryError where ``dump`` wrote no such."""
    try:
        return _unpack(_unpacked(data))
    except (struct.error, zlib.error) as error:
        raise ValueError(str(error)) from None


def _unpacked(data: bytes) -> bytes:
    if data[:1] == _PACKED:
        stream = zlib.decompressobj()
        plain = stream.decompress(data[1:], MAX_BYTES)
        if not stream.eof:
            raise ValueError("too large, or cut off")
        return plain
    if data[:1] != _AS_IS:
        raise ValueError("not a value")
    return data[1:]


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, default=_default, strict_types=True, unicode_errors="surrogatepass")
    return packed


def _unpack(data: bytes, levels: int = _LEVELS) -> Any:
    """An extension holds a copy of all that is in it: their nesting is limited."""
    if levels == 0:
        raise ValueError("nested too deeply")
    return msgpack.unpackb(
        data,
        ext_hook=partial(_extension, levels - 1),
        strict_map_key=False,
        unicode_errors="surrogatepass",
        timestamp=1,
    )


def _default(value: Any) -> Any:
    """What msgpack does not write by itself: every type but exact None, bool, int, float, str, bytes, list, dict."""
    kind = type(value)
    if kind is tuple:
        return _extend(Code.TUPLE, list(value))
    if kind is int:  # beyond 64 bits
        return msgpack.ExtType(Code.INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if kind is complex:
        return msgpack.ExtType(Code.COMPLEX, _COMPLEX.pack(value.real, value.imag))
    if kind in (set, frozenset):
        return _extend(Code.SET if kind is set else Code.FROZENSET, list(value))
    if kind is collections.Counter:
        return _extend(Code.COUNTER, dict(value))
    if kind is collections.deque:
        return _extend(Code.DEQUE, list(value))
    if kind.__module__ == "numpy" and hasattr(value, "dtype"):
        return _numbers(value)
    for base in _PLAIN:
        if issubclass(kind, base):
            return _native(bytes(value) if base is bytearray else base(value))
    if isinstance(value, numbers.Number) or kind.__name__ == "Decimal":
        return _plain_number(value)
    if not isinstance(value, type) and hasattr(kind, "__iter__"):
        return _extend(Code.STREAM, list(itertools.islice(value, MAX_ITEMS)))
    return msgpack.ExtType(Code.OPAQUE, b"")


def _native(value: Any) -> Any:
    """``value``, of an exact plain type, as what msgpack writes by itself: it asks ``_default`` once."""
    if type(value) in (tuple, complex, set, frozenset) or (type(value) is int and value.bit_length() > 63):
        return _default(value)
    return value


def _extend(code: Code, content: Any) -> msgpack.ExtType:
    return msgpack.ExtType(code, _pack(content))


def _plain_number(value: Any) -> Any:
    """A Fraction, a Decimal or the like as the int or float that it equals: a comparison cannot tell them apart."""
    with contextlib.suppress(ArithmeticError, ValueError, TypeError):  # not a number, infinite, no order
        if abs(value) < _LARGEST:
            for plain in (int(value), float(value)):
                if plain == value:
                    return _native(plain)
    return msgpack.ExtType(Code.OPAQUE, b"")


def _numbers(value: Any) -> msgpack.ExtType:
    """A numpy array or scalar of numbers, its items as they lie in memory."""
    if value.dtype.str not in _DTYPES:
        return msgpack.ExtType(Code.OPAQUE, b"")
    shape = list(value.shape)
    return _extend(Code.ARRAY if shape else Code.SCALAR, [value.dtype.str, shape, value.tobytes()])


def _rows(value: Any) -> Any:
    """A long list of tuples as one extension, and where the tuples repeat a few strings, each of these once.

    Without that, one result of Mbpp/255 (1.7 million tuples of 77 strings) is 128 million strings to its reader.
    """
    if type(value) is not list or len(value) < _TABLE_FROM or any(type(row) is not tuple for row in value):
        return value
    strings = _few_strings(value)
    if strings is None:
        return _extend(Code.TUPLES, [list(row) for row in value])
    index = {text: number for number, text in enumerate(strings)}
    cells = bytes(map(index.__getitem__, itertools.chain.from_iterable(value)))
    return _extend(Code.TABLE, [strings, [len(row) for row in value], zlib.compress(cells, 1)])


def _few_strings(rows: list[tuple[Any, ...]]) -> list[str] | None:
    seen: set[str] = set()
    for row in rows:
        seen.update(row)
        if len(seen) > _TABLE_STRINGS:
            return None
    return sorted(seen) if all(type(item) is str for item in seen) else None


def _extension(levels: int, code: int, data: bytes) -> Any:
    if code == Code.INTEGER:
        return int.from_bytes(data, "big", signed=True)
    if code == Code.COMPLEX:
        return complex(*_COMPLEX.unpack(data))
    if code == Code.OPAQUE:
        return Opaque()
    if len(data) * (_LEVELS - levels) > _MAX_COPIES:
        raise ValueError("too large for its depth")
    return _container(Code(code), _unpack(data, levels))


def _container(code: Code, content: Any) -> Any:
    if code == Code.COUNTER:
        return collections.Counter(dict(content))
    if code in (Code.ARRAY, Code.SCALAR):
        return _read_numbers(*content)
    if code == Code.TABLE:
        return _read_table(*content)
    if type(content) is not list:
        raise ValueError("not the content of a container")
    if code == Code.TUPLES:
        return list(map(tuple, content))
    made: dict[Code, Callable[[list[Any]], Any]] = {
        Code.TUPLE: tuple, Code.SET: set, Code.FROZENSET: frozenset,
        Code.DEQUE: collections.deque, Code.STREAM: iter,
    }  # fmt: skip
    return made[code](content)


def _read_numbers(dtype: str, shape: list[int], items: bytes) -> Any:
    import numpy

    if dtype not in _DTYPES:
        raise ValueError("not an array of numbers")
    made = numpy.frombuffer(items, numpy.dtype(dtype)).reshape(shape).copy()
    return made if made.shape else made[()]


def _read_table(strings: list[str], lengths: Iterable[int], packed: bytes) -> list[tuple[str, ...]]:
    cells = zlib.decompressobj().decompress(packed, MAX_BYTES)
    items: Iterator[str] = map(strings.__getitem__, cells)
    rows = [tuple(itertools.islice(items, length)) for length in lengths]
    if not all(type(text) is str for text in strings) or next(items, None) is not None:
        raise ValueError("not a table")
    return rows
