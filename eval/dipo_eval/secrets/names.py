"""Whether the name of a variable, a setting or a URL's parameter is that of a secret."""

from __future__ import annotations

import re

_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")

# One such word makes the name a secret's.
_SECRET_WORDS = frozenset((
    "secret", "secrets", "password", "passwords", "passwd", "passphrase", "passcode", "credential", "credentials",
    "creds", "bearer", "authorization", "oauth", "jwt", "webhook", "cookie", "cookies", "sas",
))  # fmt: skip
# Without a separator: PGPASSWORD, APIKEY, hftoken.
_SECRET_ENDS = re.compile(
    r"(password|passwd|passphrase|secret|credentials?|(api|access|private|secret|auth|signing|account)keys?"
    r"|(api|auth|access|refresh|session|bearer|bot|git|gh|hf|wandb)tokens?)"
)
# Last words of names whose value is about the secret: its place, its lifetime.
_NOT_THE_VALUE = frozenset((
    "file", "files", "path", "paths", "dir", "directory", "folder", "sock", "socket", "home", "name", "names", "type",
    "url", "uri", "endpoint", "host", "port", "prefix", "suffix", "count", "counts", "len", "length", "limit", "ttl",
    "expiry", "expires", "expiration", "timeout", "enabled", "provider", "version", "format", "mode", "scheme", "ref",
    "mean", "level", "per", "prob", "probs", "entropy", "loss", "budget", "parallelism", "backend", "store", "manager",
    "region", "domain", "method", "strategy", "class", "service", "server", "user", "username", "email", "audience",
    "issuer", "scope", "scopes", "size", "days", "required", "disabled", "policy", "algorithm", "status", "command",
    "helper", "plugin",
))  # fmt: skip
_KEYS_OF_DATA = frozenset((
    "input", "label", "output", "image", "images", "audio", "video", "metric", "prompt", "answer", "question",
    "response", "sort", "primary", "foreign", "public", "dict", "group", "partition", "cache", "row", "map", "lookup",
    "routing", "shard", "index", "hot", "best", "score", "reward", "message", "field", "column", "feature", "item",
    "sample", "data", "dataset", "text", "json", "yaml", "config", "order", "search", "registry", "state", "template",
    "id", "any",
))  # fmt: skip
_KEYS_TO_DOORS = frozenset((
    "api", "access", "secret", "private", "auth", "account", "service", "signing", "encryption", "master", "license",
    "ssh", "gpg", "deploy", "client", "db", "database", "host", "storage", "subscription", "aws",
))  # fmt: skip
_TOKENS_OF_TEXT = frozenset((
    "eos", "bos", "pad", "unk", "sep", "cls", "mask", "special", "stop", "max", "min", "new", "num", "n", "per",
    "first", "last", "next", "end", "start", "image", "video", "audio", "think", "thinking", "prompt", "prompts",
    "response", "input", "output", "extra", "added", "total", "mean", "any", "sub",
))  # fmt: skip
_PASSES = frozenset((
    "single", "two", "first", "second", "last", "forward", "backward", "one", "multi", "n", "num", "max", "min",
))  # fmt: skip


def is_secret_name(name: str) -> bool:
    """Whether the value under this name is a key, a token or a password.

    HF_TOKEN, hf-token and hfToken are the same. Names of text and tables (max_tokens, eos_token, label_key) and of a
    secret's place (SSH_AUTH_SOCK, KEY_FILE) are none.
    """
    return any(_is_secret(part) for part in name.split("."))


def _is_secret(name: str) -> bool:
    words = [word.lower() for word in _PART.findall(name)]
    if not words:
        return False
    if "webhook" in words:  # its address is the secret
        return True
    if words[-1] in _NOT_THE_VALUE:
        return False
    if words[-2:] == ["connection", "string"]:
        return True
    return any(_counts(word, words[:place], words[place + 1 :]) for place, word in enumerate(words))


def _counts(word: str, before: list[str], after: list[str]) -> bool:
    """Whether this word, in its context, makes the name that of a secret."""
    previous = before[-1] if before else ""
    if word in _SECRET_WORDS or _SECRET_ENDS.search(word):
        return True
    if word in ("token", "key"):
        harmless = _TOKENS_OF_TEXT if word == "token" else _KEYS_OF_DATA
        is_last = not after or word == "token" or previous in _KEYS_TO_DOORS
        return is_last and previous not in harmless
    if word in ("tokens", "keys"):
        return not after and previous in _KEYS_TO_DOORS
    if word == "pwd":
        return not after and bool(before)
    return word in ("pass", "pat", "auth") and not after and previous not in _PASSES
