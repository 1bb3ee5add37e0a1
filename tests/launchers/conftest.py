"""A user's project folder with a recipe that fits two nodes of one GPU, and a key in the environment."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import ray

KEY = "feedface" * 5  # of no account

RECIPE = """\
run: {name: tiny, dir: /shared/runs/tiny, device: cpu}
actor:
  model_name_or_path: model
  adam: {lr: 1.0e-3}
data: {prompt_dataset: prompts.jsonl, max_len: 112}
rollout: {batch_size: 8, n_samples_per_prompt: 8, max_new_tokens: 48}
train: {batch_size: 64, micro_batch_size: 32}
ckpt: {save_steps: 2}
"""

BIG = """\
run: {dir: /shared/runs/big, device: gpu}
actor: {model_name_or_path: Qwen/Qwen3-4B-Base, num_nodes: 1, num_gpus_per_node: 8}
vllm: {num_engines: 4, tensor_parallel_size: 2}
data: {prompt_dataset: /shared/train.jsonl, max_len: 4096}
rollout: {batch_size: 128, n_samples_per_prompt: 8, max_new_tokens: 3072}
train: {batch_size: 1024}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; WANDB_API_KEY is set, as in a user's shell."""
    folder = tmp_path / "project"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "model" / "tokenizer.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # no tensors
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "big.yaml").write_text(BIG)
    (folder / "prompts.jsonl").write_text(json.dumps({"input": "1 + 1?", "label": "2"}) + "\n")
    monkeypatch.chdir(folder)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "DIPO_SECRETS_FILE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return folder


class Kept:
    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, bytes]] = []  # method, path, headers, body
        self.address = ""

    def bodies(self, method: str, path: str) -> list[bytes]:
        return [body for verb, where, _, body in self.requests if verb == method and where.startswith(path)]


@pytest.fixture
def server() -> Iterator[Kept]:
    kept = Kept()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kept.requests.append((self.command, self.path, str(self.headers), body))
            status, value = 200, {}
            if self.path == "/api/version":
                value = {"version": "4", "ray_version": ray.__version__, "ray_commit": "x"}
            elif self.command == "GET":
                status = 404  # no package is there yet
            elif self.path == "/api/jobs/":
                value = dict.fromkeys(("job_id", "submission_id"), json.loads(body)["submission_id"])
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        do_GET = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, *unused: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield kept
    http.shutdown()
    http.server_close()
    thread.join(10)


@dataclass
class Hidden:
    """What must appear nowhere: place -> strings. `files` are those of the folder, `links` lead out of it."""

    variables: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    links: dict[str, list[str]] = field(default_factory=dict)

    def found_in(self, content: str | bytes) -> list[str]:
        """The places whose secrets are in `content`, as they stand or as JSON escapes them."""
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        return [
            place
            for kind in (self.variables, self.files, self.links)
            for place, strings in kind.items()
            if any(
                form in data
                for text in strings
                for form in (text.encode("utf-8", "surrogateescape"), json.dumps(text)[1:-1].encode())
            )
        ]


def _pem(text: str) -> str:
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])


VARIABLES = (
    "WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MY_PASSWORD", "DB_PASS", "PGPASSWORD", "GITHUB_PAT", "GH_TOKEN",
    "APIKEY", "accessKey", "OPENAI_API_KEY", "OPENAI_KEY", "AZURE_CLIENT_SECRET", "PASSPHRASE", "COOKIE",
    "AUTHORIZATION",
)  # fmt: skip


@pytest.fixture
def hidden_variables(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hidden:
    """32 variables with secrets: long, of several lines, of every kind of syntax, in addresses, in a file."""
    chance, hidden = random.Random(14), Hidden()

    def word(length: int = 40) -> str:
        return "".join(
            chance.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=length)
        )

    def put(name: str, value: str, *strings: str) -> None:
        monkeypatch.setenv(name, value)
        hidden.variables[name] = list(strings or [value])

    for name in VARIABLES:
        put(name, word())
    for name, length in (("DEPLOY_KEY", 4000), ("JWT", 300), ("BEARER", 256)):
        put(name, word(length))
    pem = word(400)
    put("SSH_PRIVATE_KEY", _pem(pem), pem[:64], pem[64:128])
    put("REGEX_PASSWORD", r"a.*[b]({c)+\d$|^{9}?" + word(8))
    put("QUOTED_SECRET", 'it\'s "quoted" \\ $HOME `x` <&> ' + word(8))
    put("UNICODE_PASSPHRASE", "pässwörd-\u4f60\u597d-" + word(8))
    undecodable = os.fsdecode(b"\xff\xfe-no-text-" + word(20).encode())
    put("BYTES_TOKEN", undecodable, undecodable[2:])
    for name, address in (
        ("DATABASE_URL", "postgres://me:{}@db/x"),
        ("HTTPS_PROXY_OF_MINE", "http://me:{}@proxy:3128"),
        ("ENDPOINT", "https://host/path?X-Amz-Signature={}&a=1"),
    ):
        key = word()
        put(name, address.format(key), key)
    key = word()
    path = tmp_path / "service.json"
    path.write_text(json.dumps({"type": "service_account", "private_key": _pem(key * 3), "client": "me"}))
    put("GOOGLE_APPLICATION_CREDENTIALS", str(path), key)
    return hidden


FILES = (
    ".env", ".env.local", "prod.env", ".envrc", ".ENV", ".netrc", ".npmrc", ".pypirc", ".pgpass", ".git-credentials",
    ".git/config", ".cache/huggingface/token", ".huggingface/token", ".kube/config", ".docker/config.json",
    ".aws/credentials", ".ssh/config", ".gnupg/secring.gpg", ".config/gcloud/credentials.db", ".azure/accessTokens.json",
    ".streamlit/secrets.toml", "id_rsa", "id_ecdsa", "id_ed25519.bak", "tls.key", "tls.pem", "store.p12", "store.pfx",
    "store.jks", "vault.kdbx", "hf_token.txt", "my-token.txt", "API_KEY.txt", "service-account.json", "Secrets.toml",
    "SECRETS.YAML", "aws_credentials.json", "passwords.txt", "cookies.txt", "conf/auth.yaml", "conf/client_secret.json",
    "terraform.tfstate", "terraform.tfvars", "notes.docx", "dump.sql", "core", "keys",
)  # fmt: skip


@pytest.fixture
def hidden_files(project: Path, tmp_path: Path) -> Hidden:
    """47 files in which secrets are commonly kept, and links to some outside; beside them what is harmless."""
    chance, hidden = random.Random(15), Hidden()
    for number, name in enumerate(FILES):
        text = f"{chance.getrandbits(160):040x}"
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"line {number}\n{text}\n")
        hidden.files[name] = [text]
    outside = tmp_path / "outside"
    outside.mkdir()
    for name, link in (
        ("plain.txt", "linked.txt"),
        ("settings.yaml", "deep/linked.yaml"),
        ("tool.py", "folder"),
    ):
        text = f"{chance.getrandbits(160):040x}"
        (outside / name).write_text(text)
        (project / link).parent.mkdir(exist_ok=True)
        (project / link).symlink_to(outside if link == "folder" else outside / name)
        hidden.links[link] = [text]
    (project / "harmless.yaml").symlink_to(project / "SECRETS.YAML")
    (project / "helper.py").write_text("VALUE = 1\n")
    return hidden
