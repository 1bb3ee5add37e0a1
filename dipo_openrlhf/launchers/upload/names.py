"""Which files of a folder may travel, by their names: what a job needs goes, what commonly holds a key never does.

Some names are those of key files, and never travel. Others only contain a word for keys: a module is searched for keys
before it travels (content.py), and so are data and text files that the user names.
"""

from __future__ import annotations

import fnmatch
import re
from pathlib import PurePosixPath

from dipo_eval.secrets.names import is_secret_name

# Every part of a path is compared in lower case. No option lets one of these through.
_KEYS = (
    ".env*", "*.env", ".netrc", "_netrc", "*.netrc", ".npmrc", ".yarnrc*", ".pypirc", ".pgpass", ".my.cnf", ".boto",
    ".s3cfg", ".htpasswd", "*.htpasswd", ".git-credentials", ".dockercfg", ".vault-token", ".terraformrc", ".authinfo*",
    ".*_history", ".cache", ".huggingface", ".kube", ".docker", ".aws", ".ssh", ".gnupg", ".azure", ".oci", ".wandb",
    ".kaggle", "gcloud", "kaggle.json", "rclone.conf", "kubeconfig*", "*.kubeconfig", "id_rsa*", "id_dsa*",
    "id_ecdsa*", "id_ed25519*", "*_rsa", "*_ed25519", "*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.jks", "*.keystore",
    "*.kdb", "*.kdbx", "*.ppk", "*.gpg", "*.pgp", "*.asc", "*.age", "*.ovpn", "*.tfstate*", "*.tfvars*", "wallet.dat",
    "hf_token", "hf_token.txt", "service*account*.json", "credentials.json", "*[_-]credentials.json",
    "client_secret*.json", "secrets.toml",
)  # fmt: skip
_WORDS = (
    "*_history", "hf_token*", "service*account*", "*secret*", "*credential*", "*passwd*", "*password*", "keys",
    "keys.txt",
)  # fmt: skip
_KEY_NAMES = re.compile("|".join(fnmatch.translate(pattern) for pattern in _KEYS))
_KEY_WORDS = re.compile("|".join(fnmatch.translate(pattern) for pattern in _WORDS))
_PRIVATE_KEY = re.compile(r"id_[^.]+")  # id_work, a user's own name for a key of ssh-keygen

CODE = frozenset((
    ".py", ".pyi", ".pyx", ".sh", ".bash", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".jinja", ".jinja2",
    ".j2", ".tmpl",
))  # fmt: skip
CONFIGURATION = frozenset({".yaml", ".yml", ".json", ".toml", ".cfg", ".ini", ".conf", ".txt", ".md"})
_ALSO_DATA = frozenset({".json", ".txt", ".md"})
_MODULES = frozenset({".py", ".pyi", ".pyx"})
_DATA = frozenset({".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".safetensors"})
LARGEST = 10 * 2**20  # bytes of a file that travels without being named: code and configuration are smaller
# Environments, caches, histories and runs: large, and of no use to a job. Their content is not listed.
_NOT_LOOKED_INTO = re.compile(r"__pycache__|venv|\.venv.*|node_modules|wandb|mlruns|.*\.egg-info")
_OWN_OUTPUT = frozenset({"runs", "results"})  # at the top of the folder


def is_key_file(name: str, *, is_folder: bool = False) -> bool:
    """Whether a part of this relative path is the name of a file or folder of keys."""
    parts = PurePosixPath(name.lower()).parts
    if any(_KEY_NAMES.fullmatch(part) for part in parts):
        return True
    return not is_folder and bool(parts) and bool(_PRIVATE_KEY.fullmatch(parts[-1]))


def may_hold_keys(name: str) -> bool:
    """Whether the path of a file contains a word for keys."""
    last = PurePosixPath(name)
    if any(_KEY_WORDS.fullmatch(part.lower()) for part in last.parts):
        return True
    # A program called token.py handles tokens, and so does a package auth; token.txt is one.
    return last.suffix.lower() not in CODE and is_secret_name(last.name.partition(".")[0])


def is_module(name: str) -> bool:
    """Whether a file's name is that of code which other code imports."""
    return PurePosixPath(name).suffix.lower() in _MODULES


def is_data_or_text(name: str) -> bool:
    """Whether a file is of a kind that can be searched for keys, and that no tool keeps its keys in."""
    return PurePosixPath(name).suffix.lower() in CODE | _ALSO_DATA | _DATA


def is_hidden(name: str) -> bool:
    """Whether the last part of the path starts with a dot."""
    return PurePosixPath(name).name.startswith(".")


def is_looked_into(folder: str) -> bool:
    """Whether a folder can hold what a job needs."""
    last = PurePosixPath(folder).name.lower()
    return not (is_hidden(folder) or _NOT_LOOKED_INTO.fullmatch(last) or folder in _OWN_OUTPUT)


def holds_data(name: str) -> bool:
    """Whether a file that the recipe names holds prompts, answers or a model rather than settings."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in _ALSO_DATA or suffix not in CODE | CONFIGURATION


def is_code_or_configuration(name: str) -> bool:
    """Whether a file travels without being named."""
    return PurePosixPath(name).suffix.lower() in CODE | CONFIGURATION
