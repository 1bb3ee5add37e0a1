"""Keys inside files that travel: found by kind and line, and ordinary code passes."""

from __future__ import annotations

import json
import random
import shutil
import string
import subprocess
import time
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.launchers.upload import stage as upload
from dipo_openrlhf.launchers.upload.choice import choose
from dipo_openrlhf.launchers.upload.content import find_key

ROOT = Path(__file__).parents[2]


def word(length: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(random.Random(7).choices(letters, k=length))


# Put together here, so that no file of this project looks as if it held one.
TOKENS = {
    "AWS": "AKIA" + word(16, string.ascii_uppercase + "23456"), "GitHub": "ghp_" + word(36),
    "GitHub, fine-grained": "github_" + "pat_" + word(70), "GitLab": "glpat-" + word(20),
    "Hugging Face": "hf_" + word(34),
    "Anthropic": "sk-" + "ant-" + word(40), "OpenAI": "sk-" + "proj-" + word(40), "Google": "AIza" + word(35),
    "Slack": "xoxb-" + "123456789012-" + word(24), "Stripe": "sk_" + "live_" + word(24),
    "PyPI": "pypi-" + "AgEIcHlwaS5vcmc" + word(80), "npm": "//registry.npmjs.org/:_authToken=npm_" + word(36),
    "wandb": "wandb_" + "v1_" + word(40), "private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "encrypted private key": "-----BEGIN ENCRYPTED " + "PRIVATE KEY-----",
}  # fmt: skip
RANDOM = word(40)
NAMED = [
    ("a.py", f'password = "{RANDOM}"'), ("a.py", f"HF_TOKEN = '{RANDOM}'"), ("a.py", f'client(api_key="{RANDOM}")'),
    ("a.yaml", f"wandb_key: {RANDOM}"), ("a.yaml", f"  token: '{RANDOM}'"), ("a.json", f'{{"accessKey": "{RANDOM}"}}'),
    ("a.toml", f'secret = "{RANDOM}"'), ("a.ini", f"auth_token={RANDOM}"), ("a.sh", f'export GH_TOKEN="{RANDOM}"'),
    ("a.txt", f"WANDB_API_KEY={RANDOM}"), ("a.py", f'url = "https://me:{RANDOM}@host/x"'),
    ("a.md", f"https://host/x?X-Amz-Signature={RANDOM}"), ("a.json", " " * 100_000 + f'"password": "{RANDOM}"'),
]  # fmt: skip
HARMLESS = [
    'token = tokenizer.decode(ids)', 'api_key = os.environ["OPENAI_API_KEY"]', 'key = "input"',
    "password: str | None = None", 'headers = {"Authorization": f"Bearer {key}"}',
    'eos_token: "<|im_end|>"', "token: ${HF_TOKEN}", 'secret = getpass.getpass("your secret: ")', "label_key: answer_2",
    f'sha256 = "{word(64, "0123456789abcdef")}"', "http://user:password@host",
    'API_KEY = "your-api-key-here"', "max_new_tokens: 1024", 'url = f"https://host/x?key={API_KEY}"',
]  # fmt: skip


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("is_data", [True, False])
def test_tokens_are_known_by_their_kind(kind, is_data):
    line = f'some text "{TOKENS[kind]}" and more\n'
    found = find_key("a.jsonl", b"first\n\n" + line.encode() + b"last\n", is_data=is_data)
    assert found is not None
    assert found[0] == 3
    assert TOKENS[kind] not in found[1]


@pytest.mark.parametrize(("name", "line"), NAMED)
def test_values_under_a_secrets_name_are_found(name, line):
    found = find_key(name, f"x = 1\n{line}\n".encode(), is_data=False)
    assert found is not None
    assert found[0] == 2
    assert RANDOM not in found[1]
    assert find_key(name, f"{line}  # pragma: allowlist secret\n".encode(), is_data=False) is None


@pytest.mark.parametrize("line", HARMLESS)
@pytest.mark.parametrize("name", ["a.py", "a.yaml"])
def test_ordinary_lines_pass(name, line):
    assert find_key(name, line.encode(), is_data=False) is None


def test_other_encodings_and_binaries_are_searched():
    line = f'token: "{TOKENS["GitHub"]}"'
    assert find_key("a.txt", line.encode("utf-16"), is_data=False) is not None
    assert find_key("a.txt", b"\xff\xfa" + line.encode(), is_data=False) is not None
    for encoding in ("utf-16-le", "utf-16-be", "utf-32"):
        assert find_key("a.txt", line.encode(encoding), is_data=False) is not None
        assert find_key("a.bin", line.encode(encoding), is_data=True) is not None
    marked = b"\xff\xfe# not UTF-16\n" + line.encode() + b"\0"
    assert find_key("a.py", marked, is_data=False) == (2, "GitHub Token")
    assert find_key("a.jsonl", f"1\n2\n{line}".encode("utf-16"), is_data=True) == (3, "GitHub Token")
    for place in (0, 3, len(line) - 10):
        one_nul = b"first\n" + line[:place].encode() + b"\0" + line[place:].encode()
        found = find_key("a.py", one_nul, is_data=False)
        assert found is not None
        assert found[0] == 2
        assert find_key("a.bin", bytes(range(256)) + one_nul, is_data=True) is not None
    assert find_key("a.bin", b"\0\0" + bytes(range(256)) * 10, is_data=True) is None


def test_this_project_passes():
    """All of its code, recipes, documents and tests: over 500 files without a false alarm."""
    endings = {".py", ".yaml", ".json", ".toml", ".cfg", ".md", ".sh", ".txt", ".j2"}
    folders = [
        ROOT / name
        for name in ("dipo_openrlhf", "eval", "docs", "benchmarks", "ci", "launchers", "requirements")
    ]
    files = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in endings and path.is_file()
    ]
    alarms = {
        str(path): found
        for path in files
        if "__pycache__" not in path.parts
        and (found := find_key(path.name, path.read_bytes(), is_data=False))
    }
    assert len(files) > 300
    assert alarms == {}


def test_a_job_is_submitted_from_a_clone_of_this_project(tmp_path):
    """README.md's reader works in one. Its code travels as the installed packages, and the rest is of no use there."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "my_reward.py").write_text("def reward_func(queries, prompts, labels):\n    return [0.0]\n")
    chosen = choose(tmp_path, [])
    upload.check_upload(chosen, {})
    assert "my_reward.py" in chosen.files
    assert not any(name.startswith(("tests/", "dipo_openrlhf/", "eval/")) for name in chosen.files)


def test_a_statement_without_blanks_is_no_random_word():
    for line in ("@cache(maxsize=1024)", 'r"[A-Za-z][A-Za-z0-9+.-]{0,30}",'):
        assert find_key("secrets/values.py", line.encode(), is_data=False, is_suspect=True) is None
    assert find_key("secrets/values.py", RANDOM.encode(), is_data=False, is_suspect=True) is not None


def test_a_long_line_takes_linear_time():
    for unit in ('"password": ', "http://a:", "key=", "token: 'a1", "eyJ", "AC", "a" * 32):
        seconds = []
        for size in (50_000, 200_000):
            text = (unit * (size // len(unit))).encode()
            start = time.perf_counter()
            find_key("a.json", text, is_data=False)
            seconds.append(time.perf_counter() - start)
        assert seconds[1] < 10 * seconds[0] + 1, unit  # 16 times were it quadratic


def test_a_file_with_a_key_stops_the_upload(tmp_path):
    (tmp_path / "notes.md").write_text(f"to do\n\nlog in with {TOKENS['Hugging Face']}\n")
    chosen = choose(tmp_path, [])
    with pytest.raises(
        UserError, match=r"^notes\.md:3: looks like a key \(Hugging Face token\), and nothing was sent"
    ):
        upload.check_upload(chosen, {})
    upload.check_upload(choose(tmp_path, [], ["notes.md"], []), {})


def test_a_file_whose_name_suggests_keys_is_searched_more_closely():
    """Data with a line that is one random word, or a value under a secret's name: no kind of token is needed."""
    for text in (RANDOM, f"user\n  {RANDOM}\n", f'["a",\n"{RANDOM}",\n"b"]', f'{{"token": "{RANDOM}"}}'):
        assert find_key("a.json", text.encode(), is_data=True) is None
        assert find_key("my_token.json", text.encode(), is_data=True, is_suspect=True) is not None
    for text in ('{"input": "Who is the secret santa of Bob?"}\n', "token\npassword\nsecret\n", '{"a": 1}'):
        assert find_key("token.json", text.encode(), is_data=True, is_suspect=True) is None


def test_prompts_may_mention_passwords_and_hold_no_token(tmp_path):
    row = {"input": f"Bob's password = 'abc12345{RANDOM}'. How long is it?", "label": "48"}
    (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
    chosen = choose(tmp_path, [("data.prompt_dataset", "data.jsonl")], [], [])
    upload.check_upload(chosen, {})
    with pytest.raises(UserError, match=r"data\.jsonl holds the value of MY_TOKEN"):
        upload.check_upload(chosen, {"MY_TOKEN": (RANDOM,)})
