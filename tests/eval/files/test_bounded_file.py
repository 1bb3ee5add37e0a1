"""Pipes, devices, sparse files and zstd bombs in the place of stored files: read by nobody, named, and all else goes on.

A reader that waits or fills the memory is stopped by the fixture `limits`, so that it fails here and hangs nothing.
"""

from __future__ import annotations

import io
import os
import resource
import runpy
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dipo_eval.board.data.load import load_results
from dipo_eval.board.data.official import read_official
from dipo_eval.board.data.runlog import read_run_log
from dipo_eval.board.data.stored import rows_at, scan
from dipo_eval.board.page.render import write_board
from dipo_eval.errors import UserError
from dipo_eval.files.bounded_file import lines, open_regular, read_limited, unpacked
from dipo_eval.files.lease import tail
from dipo_eval.results.claim import fingerprint
from dipo_eval.results.store import iter_results, load_complete, read_result, read_samples, write_suite
from dipo_eval.runner.generation_cache import records
from dipo_eval.runner.regrade import find_samples, read_stored, suite_of
from dipo_eval.subject.marker import read_json

_GATE = runpy.run_path(str(Path(__file__).parents[1] / "gate" / "test_gate_hostile.py"))
gate, not_judged = _GATE["gate"], _GATE["not_judged"]
_STORED = runpy.run_path(str(Path(__file__).parents[1] / "stored_results.py"))
store, rows_of, result_of = (_STORED[name] for name in ("store", "rows_of", "result_of"))
ROWS = rows_of({f"i{i:02}": [float(i % 2)] for i in range(60)})
DEADLINE_S = 120
MEMORY = 1 << 30


class TookTooLong(BaseException):
    """No Exception: whatever catches errors of a file must not catch this one."""


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """Two minutes and 1 GiB more than there are now for each test."""

    def stop(*_: object) -> None:
        raise TookTooLong

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    signal.alarm(DEADLINE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def _bomb(path: Path, line: bytes = bytes(1 << 20), times: int = 2 << 10) -> None:
    """2 GiB in less than a hundred kilobytes."""
    with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as packed:
        for _ in range(times):
            packed.write(line)


def _bomb_of_lines(path: Path) -> None:
    _bomb(path, b"{}\n".ljust(1024) * 1024)


def _wide_window(path: Path) -> None:
    """A frame that is to be unpacked with a window of 2 GiB, and holds one empty block."""
    path.write_bytes(bytes.fromhex("28b52ffd 00 a8 010000"))


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo, "zeros": lambda path: path.symlink_to("/dev/zero"), "sparse": _sparse(300 * 10**9),
    "endless line": _sparse(256 << 20), "folder": Path.mkdir,
    "no size": lambda path: path.symlink_to("/proc/self/pagemap"),
}  # fmt: skip
NAMES = ("results.json", "samples.jsonl", "samples.jsonl.zst")
DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    **{f"{name} {kind}": (name, make) for kind, make in KINDS.items() for name in NAMES},
    **{f"zst {make.__name__}": ("samples.jsonl.zst", make) for make in (_bomb, _bomb_of_lines, _wide_window)},
}  # fmt: skip


def damaged(results: Path, checkpoint: str, damage: str, suite: str = "gsm8k") -> Path:
    name, make = DAMAGES[damage]
    folder = Path(store(results, checkpoint, ROWS, suite))
    (folder / name.removesuffix(".zst")).unlink()
    make(folder / name)
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_gate_judges_no_such_result_and_names_it(tmp_path: Path, damage: str) -> None:
    store(tmp_path, "old", ROWS)
    damaged(tmp_path, "new", damage)
    not_judged(tmp_path, f"run/new/gsm8k/{DAMAGES[damage][0]}: ")


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_reader_waits_or_fills_the_memory_and_the_next_evaluation_is_stored(
    tmp_path: Path, damage: str
) -> None:
    folder = damaged(tmp_path, "new", damage)
    name, _ = DAMAGES[damage]
    with pytest.raises(UserError, match=rf"/{name}:") as caught:
        load_complete(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert read_result(folder) is None
    logged: list[str] = []
    assert list(iter_results(tmp_path, verify=True, left_out=logged.append)) == []
    assert len(logged) == 1
    if name == "results.json":
        assert fingerprint(folder) == ""
        assert suite_of(folder / "samples.jsonl", None) is None
    else:
        with pytest.raises(UserError, match=rf"/{name}:"):
            read_samples(folder)
        with pytest.raises(UserError, match=rf"/{name}:"):
            read_stored(find_samples(folder))
        assert list(rows_at(folder, {("i00", 0): 5 << 20})) == []
        assert scan(folder, {}).error or scan(folder, {}).broken
    if "folder" not in damage:
        write_suite(folder, ROWS, result_of(ROWS, "run", "new", "gsm8k"))
        assert len(load_complete(folder)[1]) == len(ROWS)


def test_the_board_leaves_them_out_with_a_line_each_and_shows_the_others(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, "good", ROWS)
    for number, damage in enumerate(DAMAGES):
        damaged(results, f"bad{number}", damage)
    found, problems = load_results(results)
    unread = {f"bad{i}" for i, damage in enumerate(DAMAGES) if DAMAGES[damage][0] == "results.json"}
    assert "good" in {one.checkpoint for one in found}
    assert unread.isdisjoint(one.checkpoint for one in found)
    for number, damage in enumerate(DAMAGES):
        assert [line for line in problems if line.startswith(f"run/bad{number}/")], (damage, problems)
    runs = []
    for kind, make in KINDS.items():
        (tmp_path / kind).mkdir()
        make(tmp_path / kind / "metrics.jsonl")
        runs.append(read_run_log(tmp_path / kind))
        assert any("metrics.jsonl" in line for line in runs[-1].problems), kind
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n')
    runs.append(read_run_log(tmp_path / "whole"))
    page = write_board(results, tmp_path / "board.html", runs).read_text()
    assert "good" in page
    assert "pipe/metrics.jsonl could not be read to the end: it is not a regular file" in page


@pytest.mark.parametrize("kind", KINDS)
def test_small_files_that_are_none_are_as_good_as_absent(tmp_path: Path, kind: str) -> None:
    for name in ("official_x.json", "BEST.json", "suite.0", "1.jsonl.zst"):
        KINDS[kind](tmp_path / name)
    assert read_json(tmp_path / "BEST.json") is None
    found, (problem,) = read_official(tmp_path, "hash")
    assert found == []
    assert problem.startswith("official_x.json could not be read and is left out: ")
    last = tail(tmp_path / "suite")
    assert (last.number, last.content) == (0, {})
    assert list(records(tmp_path / "1.jsonl.zst")) == []


def test_a_bomb_among_the_kept_responses_is_not_read(tmp_path: Path) -> None:
    _bomb(tmp_path / "1.jsonl.zst")
    assert list(records(tmp_path / "1.jsonl.zst")) == []


def test_limits_count_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345\n1234567\n")
    assert read_limited(path, 14) == path.read_bytes()
    with pytest.raises(OSError, match="it has 14 bytes, and 13 is the limit"):
        read_limited(path, 13)
    with open_regular(path, 14) as file:
        assert list(lines(file, 14, 8)) == [b"12345\n", b"1234567\n"]
    with open_regular(path, 14) as file, pytest.raises(OSError, match="a line has more than 7 bytes"):
        list(lines(file, 14, 7))
    with open_regular(path, 14) as file, pytest.raises(OSError, match="more than 13 bytes"):
        list(lines(file, 13, 8))
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none", 1)


@given(parts=st.lists(st.binary(max_size=5000), max_size=6), cuts=st.lists(st.integers(0, 9000), max_size=4))
def test_frames_are_unpacked_as_they_were_packed(
    tmp_path_factory: Any, parts: list[bytes], cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("z") / "f.zst"
    path.write_bytes(b"".join(zstandard.compress(part) for part in parts))
    whole = b"".join(parts)
    plain = io.BytesIO(whole)
    with path.open("rb") as raw:
        assert unpacked(raw).read() == whole
    with path.open("rb") as raw:
        assert list(lines(unpacked(raw), len(whole))) == list(plain)
    with path.open("rb") as raw:
        sought = unpacked(raw)
        for place in sorted(cuts):
            at = min(max(place, sought.tell()), len(whole))
            sought.seek(at)
            plain.seek(at)
            assert sought.readline() == plain.readline()
