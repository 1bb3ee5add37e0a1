"""Values across a jail's wall: they come back as they were, and nothing else comes back."""

from __future__ import annotations

import ast
import collections
import datetime
import decimal
import fractions
import pickle
import random
import zlib
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dipo_eval.code_runner
from dipo_eval.code_runner import wire

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False)
    | st.text(st.characters()) | st.binary()
)  # fmt: skip
HASHABLE = st.recursive(
    SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=5
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(HASHABLE, inner) | st.sets(HASHABLE)
        | st.lists(inner).map(collections.deque) | st.dictionaries(HASHABLE, st.integers()).map(collections.Counter)
    ),
    max_leaves=20,
)  # fmt: skip
CLOSED_SET = (
    type(None), bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, collections.Counter,
    collections.deque, np.ndarray, np.generic, wire.Opaque, type(iter([])),
)  # fmt: skip


@given(VALUES)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    back = wire.load(wire.dump(value))
    assert back == value
    assert shape_of(back) == shape_of(value)


def shape_of(value: Any) -> Any:
    """The types of a value and of all that is in it."""
    if isinstance(value, dict):
        return type(value), [(shape_of(key), shape_of(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | collections.deque):
        return type(value), [shape_of(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(shape_of(item)) for item in value)
    return type(value)


@pytest.mark.parametrize(
    "value",
    [
        10**400, -(10**400), 2**63, 2**64, -(2**63) - 1, "\ud800", "x" * 200_000, float("inf"), -0.0,
        [("Red", "Green")] * 5000, [("a", "b"), ()] * 3000, [(1, 2.5)] * 5000, [(str(n),) for n in range(5000)],
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_large_and_odd_values_come_back(value: Any) -> None:
    back = wire.load(wire.dump(value))
    assert back == value
    assert type(back) is type(value)
    assert repr(back)[:100] == repr(value)[:100]


class AnyInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class AnyObject:
    def __eq__(self, other: object) -> bool:
        return True

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit",))


def test_values_of_other_classes_lose_their_ways() -> None:
    assert wire.load(wire.dump(AnyInt(7))) != 8
    assert wire.load(wire.dump([AnyInt(7)])) == [7]
    for opaque in (AnyObject(), len, int, datetime.date(2026, 1, 1)):
        assert type(wire.load(wire.dump(opaque))) is wire.Opaque
    assert wire.Opaque() not in (None, 1, True, wire.Opaque())
    assert wire.load(wire.dump(collections.namedtuple("P", "x y")(1, 2))) == (1, 2)
    assert wire.load(wire.dump(collections.defaultdict(lambda: 0, a=1))) == {"a": 1}
    assert wire.load(wire.dump(bytearray(b"x"))) == b"x"
    stream = wire.load(wire.dump(n for n in (1, 2)))
    assert stream != [1, 2]
    assert set(stream) == {1, 2}
    assert set(wire.load(wire.dump(range(10**12)))) == set(range(wire.MAX_ITEMS))


def test_other_numbers_are_the_plain_number_that_they_equal_or_nothing() -> None:
    for number in (fractions.Fraction(1, 2), decimal.Decimal("0.5")):
        assert wire.load(wire.dump(number)) == 0.5
    assert wire.load(wire.dump(fractions.Fraction(10**30))) == 10**30
    for number in (
        fractions.Fraction(1, 3),
        decimal.Decimal("0.1"),
        decimal.Decimal("1e999999"),
        decimal.Decimal("nan"),
    ):
        assert type(wire.load(wire.dump(number))) is wire.Opaque


def test_numbers_of_numpy_keep_their_kind() -> None:
    back = wire.load(wire.dump(np.float32(0.5)))
    assert (back, type(back)) == (np.float32(0.5), np.float32)
    array = wire.load(wire.dump(np.array([[1, 2], [3, 4]])))
    assert array.tolist() == [[1, 2], [3, 4]]
    assert type(wire.load(wire.dump(np.array([object()])))) is wire.Opaque
    assert type(wire.load(wire.dump(np.array(["2026-01-01"], dtype="M8[D]")))) is wire.Opaque


# What the result channel took before: a pickle that makes every comparison of a Fraction true, and one that lends an
# array's type an address to read from.
PATCHES_A_CLASS = b"cfractions\nFraction\n(N}S'__eq__'\ncbuiltins\nstr\nstb."
LENDS_AN_ADDRESS = (
    b"cdipo_eval.code_runner.values\narray\n(S'f8'\nccollections\nOrderedDict\n(tR}S'__array_interface__'\n"
    b"}(S'data'\n(I4096\nI00\ntS'shape'\n(I1\ntS'typestr'\nS'<f8'\nS'version'\nI3\nusbtR."
)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(AnyObject()), PATCHES_A_CLASS, LENDS_AN_ADDRESS, b"cos\nsystem\n(S'true'\ntR.", b"", b"garbage",
        b"\xc1",
        msgpack.packb(msgpack.ExtType(99, b"")), msgpack.packb(msgpack.ExtType(wire.Code.TUPLE, b"\x01")),
        wire.dump([1])[1:-1], b"\x91" * 100_000 + b"\xc0", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
        msgpack.packb([msgpack.ExtType(wire.Code.COUNTER, msgpack.packb([1]))]),
        msgpack.packb(msgpack.ExtType(wire.Code.ARRAY, msgpack.packb(["O", [1], b"\0" * 8]))),
        msgpack.packb(msgpack.ExtType(wire.Code.ARRAY, msgpack.packb(["<f8", [10**9], b"\0" * 8]))),
        msgpack.packb(msgpack.ExtType(wire.Code.ARRAY, msgpack.packb(["f8,O", [1], b"\0" * 16]))),
        msgpack.packb(msgpack.ExtType(wire.Code.TABLE, msgpack.packb([["a"], [-1], zlib.compress(b"\0")]))),
        msgpack.packb(msgpack.ExtType(wire.Code.TABLE, msgpack.packb([[[]], [1], zlib.compress(b"\0")]))),
    ],
)  # fmt: skip
def test_anything_else_is_not_read(data: bytes) -> None:
    for tag in (b"-", b"z", b""):
        with pytest.raises((ValueError, TypeError, RecursionError, MemoryError)):
            wire.load(tag + data)
    assert fractions.Fraction(1, 2) != 1


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(b"\0" * (wire.MAX_BYTES + 1), 9)
    assert len(bomb) < 1_000_000
    with pytest.raises(ValueError, match="too large"):
        wire.load(b"z" + bomb)


def test_only_the_closed_set_comes_out_of_changed_bytes() -> None:
    draw = random.Random(0)
    seeds = [
        wire.dump(value)[1:]
        for value in (
            [1, 2.5, "text", None, True], (1, [2, {3: {4}}]), {"a": (1,), 2: b"x"}, collections.Counter("aab"), 10**40,
            1 + 2j, np.arange(4.0), np.int8(3), collections.deque([1]), frozenset({1}), iter([1]), wire.Opaque,
            [("a", "b")] * 5000,
        )
    ]  # fmt: skip
    read = 0
    for _ in range(20_000):
        try:
            value = wire.load(b"-" + mutate(draw, draw.choice(seeds)))
        except (ValueError, TypeError, RecursionError, MemoryError):
            continue
        read += 1
        assert all(isinstance(part, CLOSED_SET) for part in parts_of(value))
    assert read > 1000


def mutate(draw: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed) + 1)
        changed[at : at + draw.randint(0, 2)] = draw.randbytes(draw.randint(0, 3))
    return bytes(changed)


def parts_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value, *(part for pair in value.items() for item in pair for part in parts_of(item))]
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return [value, *(part for item in value for part in parts_of(item))]
    return [value]


def test_nothing_that_can_build_objects_is_imported_on_the_way_of_a_result() -> None:
    folder = Path(dipo_eval.code_runner.__file__).parent
    files = [*folder.glob("*.py"), folder.parent / "harness" / "evalplus_worker.py"]
    assert len(files) > 10
    for file in files:
        imported = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
        }
        assert not imported & {"pickle", "marshal", "shelve", "dill", "cloudpickle", "copyreg"}, file
