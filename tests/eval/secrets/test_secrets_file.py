"""A file of keys: read from an owner's file alone, and no line of it in a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipo_eval.errors import UserError
from dipo_eval.secrets.file import SECRETS_FILE, load_secrets, read_secrets_file

KEY = "feedfacefeedfacefeedfacefeedfacefeedface"  # of no account


def _file(tmp_path, text, mode=0o600):
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_of_keys(tmp_path):
    path = _file(tmp_path, f"# mine\nexport WANDB_API_KEY='{KEY}'\n\nHF_TOKEN = a=b\nEMPTY=\n")
    assert read_secrets_file(path) == {"WANDB_API_KEY": KEY, "HF_TOKEN": "a=b", "EMPTY": ""}


def test_a_file_that_others_can_read_is_refused(tmp_path):
    with pytest.raises(UserError, match="can be read by others: chmod 600"):
        read_secrets_file(_file(tmp_path, f"A={KEY}\n", 0o640))


def test_a_bad_line_is_named_by_its_number_alone(tmp_path):
    with pytest.raises(UserError, match="keys:2: not a NAME=VALUE line") as raised:
        read_secrets_file(_file(tmp_path, f"A=1\n{KEY}\n"))
    assert KEY not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot be read on this node: No such file"):
        read_secrets_file(tmp_path / "none")


_WORDS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="'\"#="), min_size=1)


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,12}", fullmatch=True), _WORDS, max_size=5))
def test_what_is_written_is_read(tmp_path_factory, values):
    path = _file(
        tmp_path_factory.mktemp("keys"), "".join(f"{name}={value}\n" for name, value in values.items())
    )
    assert read_secrets_file(path) == values


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv(SECRETS_FILE, str(_file(tmp_path, f"HF_TOKEN=file\nWANDB_API_KEY={KEY}\n")))
    monkeypatch.setenv("HF_TOKEN", "shell")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    load_secrets()
    import os

    assert (os.environ["HF_TOKEN"], os.environ["WANDB_API_KEY"]) == ("shell", KEY)
    monkeypatch.delenv("WANDB_API_KEY")
