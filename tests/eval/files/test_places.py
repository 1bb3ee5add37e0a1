"""What cannot be written is told before the work, in one line, and asking leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_eval.files.places import check_can_make_folder, check_can_write


@pytest.mark.parametrize(
    ("check", "place", "words"),
    [
        (check_can_write, ".", "is a folder; name a file in it"),
        (check_can_write, "file/new", "file is a file, not a folder"),
        (check_can_write, f"{'x' * 256}.html", "a name in it is longer than 255 bytes"),
        (check_can_write, "/proc/none/new", "nothing can be written there"),
        (check_can_make_folder, "file", "file is a file, not a folder"),
        (check_can_make_folder, "file/a/b", "file is a file, not a folder"),
        (check_can_make_folder, f"a/{'x' * 256}/b", "a name in it is longer than 255 bytes"),
        (check_can_make_folder, "/proc/none", "nothing can be written there"),
        (check_can_make_folder, "/sys/none/new", "nothing can be written there"),
    ],
)
def test_it_is_refused(tmp_path: Path, check, place, words):
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        check(tmp_path / place, "--out")
    assert str(caught.value).startswith("--out '")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_can_be_written_passes_and_nothing_is_made(tmp_path: Path):
    (tmp_path / "file").touch()
    check_can_write(tmp_path / "file", "--out")
    check_can_write(tmp_path / "new" / "deep" / "file", "--out")
    check_can_make_folder(tmp_path, "run.dir")
    check_can_make_folder(tmp_path / "new" / "deep", "run.dir")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
