"""Secrets by name, in addresses and by value: one list for all, masked and refused in every form."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dipo_eval.errors import UserError, one_line, short_repr
from dipo_eval.secrets.masking import mask_text, mask_values
from dipo_eval.secrets.names import is_secret_name
from dipo_eval.secrets.refusing import held_secret, refuse_secrets, refuse_url_secrets
from dipo_eval.secrets.urls import mask_urls, url_secrets
from dipo_eval.secrets.values import secrets_in

KEY = "feedfacefeedfacefeedfacefeedfacefeedface"  # of no account

SECRET = (
    "WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN",
    "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD", "DB_PASS", "DB_PWD", "PGPASSWORD", "GITHUB_PAT", "GH_TOKEN", "APIKEY",
    "OPENAI_APIKEY", "api-key", "apiKey", "accessKey", "OPENAI_KEY", "OPENAI_KEY_2", "AZURE_CLIENT_SECRET",
    "clientSecret", "SSH_PRIVATE_KEY", "privateKeyPem", "CREDENTIALS", "GOOGLE_CREDENTIALS", "BEARER", "AUTH",
    "HTTP_AUTH", "AUTHORIZATION", "COOKIE", "PASSPHRASE", "my_token", "hfToken", "TOKEN", "key", "logger.wandb.key",
    "X-Amz-Security-Token", "SLACK_WEBHOOK_URL", "AZURE_STORAGE_CONNECTION_STRING", "API_KEYS", "_authToken",
    "KAGGLE_KEY",
)  # fmt: skip
OTHER = (
    "WANDB_MODE", "TOKENIZERS_PARALLELISM", "KEYBOARD", "PATH", "MONKEY", "SSH_AUTH_SOCK", "max_tokens", "max_new_tokens",
    "tokenizer", "n_tokens", "tokens_per_s", "eos_token", "pad_token_id", "token_mean", "is_correction_level",
    "data.input_key", "data.label_key", "data.image_key", "ckpt.best_metric_key", "public_key", "author", "compass",
    "DIPO_SECRETS_FILE", "KEY_PATH", "secret_name", "SECRETS_BACKEND", "AUTH_TYPE", "CREDENTIALS_DIRECTORY", "PWD",
    "OLDPWD", "single_pass", "keys", "", "1",
)  # fmt: skip


@pytest.mark.parametrize("name", SECRET)
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", OTHER)
def test_names_of_other_things(name):
    assert not is_secret_name(name)


def test_no_key_of_a_recipe_but_wandbs_is_a_secret():
    from dipo_openrlhf.recipe.load import known_keys

    assert [key for key in known_keys() if is_secret_name(key)] == ["logger.wandb.key"]


ADDRESSES = [
    ("http://me:pa%40ss@host/x?y=1", "http://***@host/x?y=1", ["pa%40ss", "pa@ss"]),
    ("https://tok@host/a", "https://***@host/a", ["tok"]),
    ("https://tok:@host/a", "https://***@host/a", ["tok"]),
    ("postgres://me:pw@db/x", "postgres://***@db/x", ["pw"]),
    ("redis://:pw@h:1", "redis://***@h:1", ["pw"]),
    ("s3://AKIA:abc/def+g@bucket/x", "s3://***@bucket/x", ["abc/def+g"]),
    ("http://me:a#b@h:1", "http://***@h:1", ["a#b"]),
    ("http://me:a?b@h:1", "http://***@h:1", ["a?b"]),
    ("http://me:a/b#c@d@h:1", "http://***@h:1", ["a/b#c@d"]),
    ("http://me:a b@h:1", "http://***@h:1", ["a b"]),
    ("redis://:a#b@h:1", "redis://***@h:1", ["a#b"]),
    ("http://a:b@c@host/", "http://***@host/", ["b@c"]),
    ("https://h/p?X-Amz-Signature=ab&X-Amz-Date=2", "https://h/p?X-Amz-Signature=***&X-Amz-Date=2", ["ab"]),
    ("https://h/p?api%5Fkey=ab#access_token=cd", "https://h/p?api%5Fkey=***#access_token=***", ["ab", "cd"]),
    ("https://h/?key=ab&sig=cd&input_key=x", "https://h/?key=***&sig=***&input_key=x", ["ab", "cd"]),
    ("jdbc:mysql://h/db?user=a&password=bcd", "jdbc:mysql://h/db?user=a&password=***", ["bcd"]),
]  # fmt: skip


@pytest.mark.parametrize(("address", "masked", "secrets"), ADDRESSES)
def test_credentials_in_addresses(address, masked, secrets):
    assert mask_urls(f'"{address}" is not there') == f'"{masked}" is not there'
    assert set(secrets) <= set(url_secrets(address))
    assert url_secrets(masked) == []
    with pytest.raises(
        UserError, match=r"--base-url: the address holds a password or a key.*; set X"
    ) as raised:
        refuse_url_secrets("--base-url", address, "set X")
    assert address not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:8000/v1", "http://host:8000/path/a@b", "ssh://git@host/x", "git@host:a/b", "postgres://me@db/x",
        "hf://datasets/a/b@main/x", "https://h/?api-version=2&max_tokens=5", "/data/a=b/token=5", "a@b:c",
        "http://head:8265, or ask me@host", "http://[::1]:8265/a@b", "http://head: ask me@host",
        "http://me:***@h and a@b", "http://host:80#a@b", "http://host:80?x=a@b",
    ],
)  # fmt: skip
def test_other_addresses_stay_as_they_are(address):
    assert (mask_urls(address), url_secrets(address)) == (address, [])


_WORDS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/?#\"'<>@"), min_size=1)


@given(_WORDS.filter(lambda text: "***" not in text), _WORDS.filter(lambda text: "***" not in text))
def test_a_password_is_found_whatever_it_is_made_of(user, password):
    address = f"https://{user.replace(':', '')}:{password}@host/x"
    assert mask_urls(address) == "https://***@host/x"
    assert password in url_secrets(address)


def test_what_counts_as_a_secret(tmp_path):
    pem = f"-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n"
    (tmp_path / "service.json").write_text(json.dumps({"type": "service_account", "private_key": pem}))
    (tmp_path / "keys").write_text(f"# mine\nexport A_TOKEN='{KEY[:20]}'\nWANDB_MODE=offline-for-now\n")
    (tmp_path / "taken-name").write_text("")
    environment = {
        "HF_TOKEN": KEY, "SHORT_KEY": "1", "HOME": KEY, "GIT_KEY": str(tmp_path), "DB_PASS": "taken-name",
        "DATABASE_URL": f"postgres://me:{KEY}@db/x", "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "service.json"),
        "DIPO_SECRETS_FILE": str(tmp_path / "keys"), "SSH_KEY": pem,
    }  # fmt: skip
    found = secrets_in(environment)
    assert found["HF_TOKEN"] == (KEY,)
    assert found["DB_PASS"] == ("taken-name",)  # the name of a file here, and a password all the same
    assert KEY in found["DATABASE_URL"]
    assert KEY in found["GOOGLE_APPLICATION_CREDENTIALS"]
    assert str(tmp_path / "service.json") not in found["GOOGLE_APPLICATION_CREDENTIALS"]
    assert KEY[:20] in found["DIPO_SECRETS_FILE"]
    assert "offline-for-now" not in found["DIPO_SECRETS_FILE"]
    assert found["SSH_KEY"] == (pem.strip(), KEY)
    assert found.keys().isdisjoint({"HOME", "SHORT_KEY", "GIT_KEY"})


def test_a_path_is_no_secret_and_a_key_with_slashes_is():
    paths = (
        "/opt/lmod/8.7/share",
        "/sw/Core:/sw/x86_64/gcc-13.2",
        "/run/credentials/@system",
        "/usr/lib/python3.12",
    )
    for path in paths[:2] + paths[3:]:
        assert secrets_in({"LMOD_KEY": path}) == {}, path
    assert secrets_in({"CREDENTIALS_DIRECTORY": paths[2]}) == {}
    for key in (
        "/hunter22hunter",
        "/9j/4AAQSkZJRgABAQ",
        "/bPxRfi/CYabcKEYk7MDENG",
        f"/opt/{KEY}",
        "/aB3dE/fG7hI9/kL",
    ):
        assert secrets_in({"MY_KEY": key}) == {"MY_KEY": (key,)}, key


@pytest.mark.parametrize(
    "value",
    ["x" * 256, "x/" * 200_000, "a\0b/" * 9, "/\udcff\udcfe" * 5, "\ud800/" * 9, "~nobody/" * 9, "line/\n" * 99, "/" * 9],
    ids=["long", "very long", "NUL", "undecodable", "lone surrogate", "tilde", "lines", "root"],
)  # fmt: skip
def test_no_value_makes_it_fail(value):
    """A value of over 255 characters was once tried as a path, and the error printed it."""
    found = secrets_in({"MY_KEY": value})
    assert (value.strip() in found.get("MY_KEY", ())) == (value != "/" * 9)
    assert held_secret(b"nothing", found) is None
    assert mask_text("nothing", found) == "nothing"


VALUES = (
    KEY, r"a.*[b](c)+\d$|^{9}?", "it's \"quoted\" \\ $HOME `x` <&>", "pässwörd-你好", "two words\nand a line of words",
    os.fsdecode(b"\xff\xfe-no-text"),
)  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_found_in_every_form(value):
    secrets = secrets_in({"MY_KEY": value})
    raw = os.fsencode(value)
    written = [raw, json.dumps({"a": value}).encode(), repr(value).encode(), base64.b64encode(raw)]
    written += [
        quote(raw).encode(),
        quote(raw, safe="").encode(),
        raw.hex().encode(),
        raw.hex().upper().encode(),
    ]
    for user in ("a:", "bo:", "bob:"):
        around = user.encode() + raw + b"/end"
        written += [base64.b64encode(around), base64.urlsafe_b64encode(around[:-4])]
    if value.isprintable():
        written.append(yaml.safe_dump({"a": value}, allow_unicode=True).encode())
    for content in written:
        assert held_secret(b"before " + content + b" after", secrets) == "MY_KEY", content
        with pytest.raises(UserError, match="the script holds the value of MY_KEY") as raised:
            refuse_secrets("the script", content, secrets)
        assert value not in str(raised.value)
        text = mask_text(content.decode("utf-8", "surrogateescape"), secrets)
        assert held_secret(text, secrets) is None
        assert "***" in text
    refuse_secrets("the script", b"nothing", secrets)


@pytest.mark.parametrize("value", [value for value in VALUES if value.isprintable()])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32-be", "utf-32"])
def test_a_value_is_found_in_wide_letters(value, encoding):
    secrets = secrets_in({"MY_KEY": value})
    basic = base64.b64encode(f"bob:{value}".encode()).decode()
    for text in (value, json.dumps(value), quote(value), basic, value.encode().hex()):
        for before in (b"", b"\xe4"):  # a wide text may start at any byte of a binary file
            content = before + f"key: {text}\n".encode(encoding)
            assert held_secret(content, secrets) == "MY_KEY", text
    assert held_secret("key: nothing\n".encode(encoding), secrets) is None


@given(
    st.text(min_size=8).filter(lambda text: len(text.strip()) >= 8 and "***" not in text),
    st.text(),
    st.text(),
)
def test_no_text_keeps_a_value(value, before, after):
    secrets = secrets_in({"MY_KEY": value})
    assert held_secret(mask_text(before + value + after, secrets), secrets) is None


def test_nested_values_are_masked_by_name_and_by_content():
    masked = mask_values(
        {
            "settings": {"db": {"password": 12345, "host": "h"}, "api_key": "", "use_token": True, "max_tokens": 5},
            "AWS_ACCESS_KEY": "abc", "MY_PASSWORD": ["abc"], "urls": ["http://u:p@h", ("x", f"a {KEY}")], KEY: 1,
        },
        {"HF_TOKEN": (KEY,)},
    )  # fmt: skip
    assert masked == {
        "settings": {"db": {"password": "***", "host": "h"}, "api_key": "", "use_token": True, "max_tokens": 5},
        "AWS_ACCESS_KEY": "***", "MY_PASSWORD": "***", "urls": ["http://***@h", ("x", "a ***")], "***": 1,
    }  # fmt: skip


def test_errors_are_shown_without_secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", KEY)
    message = f"cannot reach http://u:p@h/x?token=5 with {KEY}"
    assert str(UserError(message)) == "cannot reach http://***@h/x?token=*** with ***"
    assert one_line(OSError(message)) == "OSError: cannot reach http://***@h/x?token=*** with ***"


def test_masking_takes_time_by_length_alone():
    """Addresses without end, which a server may send: twice the text, about twice the time."""
    for unit in (
        "http://",
        "http://a:",
        "x?key=",
        "a@",
        "http://a:b/",
        "http://a:b#",
        "http://:b ",
        "://:@",
        "?token=a&",
    ):
        seconds = []
        for size in (25_000, 100_000):
            text = unit * (size // len(unit))
            start = time.perf_counter()
            mask_urls(text)
            seconds.append(time.perf_counter() - start)
        assert seconds[1] < 10 * seconds[0] + 0.5, unit  # 16 times were it quadratic


def test_there_is_one_list_of_secret_names():
    """No second list: the words of one are in `names` and in what looks into files, and nowhere else."""
    root = Path(__file__).parents[3]
    files = [*root.glob("dipo_openrlhf/**/*.py"), *root.glob("eval/dipo_eval/**/*.py")]
    lists = [path.name for path in files if '"passwd"' in path.read_text(encoding="utf-8")]
    assert sorted(lists) == ["content.py", "names.py"]


@pytest.mark.parametrize("limit", range(1, 80, 7))
def test_a_key_is_masked_before_a_message_is_cut(limit, monkeypatch):
    """Cut first, the beginning of the key would not be recognized."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    shown = str(UserError(f"field 'gold' is {short_repr({'gold': f'it is {KEY} and more'}, limit)}"))
    assert KEY[:4] not in shown


def test_no_message_cuts_a_value_by_itself():
    """`{value!r:.80}` would cut a key in two, of which the first half is then no secret any more."""
    for folder in ("dipo_openrlhf", "eval/dipo_eval"):
        for path in (Path(__file__).parents[3] / folder).rglob("*.py"):
            assert not re.search(r"!r:\.\d", path.read_text(encoding="utf-8")), path
