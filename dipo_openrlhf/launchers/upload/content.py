"""Look for keys in what is about to be sent: known kinds of tokens, and values under a secret's name.

The kinds are those of detect-secrets (https://github.com/Yelp/detect-secrets). Its two detectors of high entropy are left
out, since hashes and samples of models are as random as keys, and so is the one of addresses (secrets/urls.py).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from dipo_eval.secrets.names import is_secret_name
from dipo_eval.secrets.urls import url_secrets
from dipo_openrlhf.launchers.upload.names import CODE

_KINDS = (
    "AWSKeyDetector", "AzureStorageKeyDetector", "DiscordBotTokenDetector", "GitHubTokenDetector",
    "GitLabTokenDetector", "JwtTokenDetector", "MailchimpDetector", "NpmDetector", "OpenAIDetector", "PrivateKeyDetector",
    "PypiTokenDetector", "SendGridDetector", "SlackDetector", "SquareOAuthDetector", "StripeDetector",
    "TelegramBotTokenDetector",
)  # fmt: skip
# Kinds that detect-secrets 1.5 does not know; each starts with letters of its own, which makes the search fast.
_MORE_KINDS = {
    "Hugging Face token": re.compile(r"hf_[A-Za-z0-9]{30,}"),
    "GitHub fine-grained token": re.compile(r"github_pat_[A-Za-z0-9_]{40,}"),
    "Anthropic or OpenAI key": re.compile(r"sk-(?:ant|proj|svcacct|or)-[A-Za-z0-9_-]{20,}"),
    "Google API key": re.compile(r"AIza[0-9A-Za-z_-]{35}"),
    "wandb key": re.compile(r"wandb_v1_[A-Za-z0-9_-]{20,}"),
    "private key": re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY|PuTTY-User-Key-File-\d"),
}
_LETTERS = re.compile(rb"[ -~]{16,}|\n")
_ALLOWED = re.compile(r"pragma: ?allowlist[ -]secret")
# Characters that are searched at a time, and of overlap with the next part. Some of detect-secrets' expressions take
# quadratic time in what has no blank, so that the parts are small where there is none: all takes linear time.
_PART, _SMALL_PART, _OVERLAP = 2**18, 4096, 1024
_HINT = re.compile(
    r"key|pass|pwd|secret|token|credential|auth|bearer|cookie|contrase|pat\b|webhook|://", re.IGNORECASE
)
_NAMED = re.compile(
    r"(?P<name>[A-Za-z_][\w.-]{0,63})[\"']?\s{0,8}[:=]\s{0,8}(?P<quote>[\"']?)(?P<value>[^\s\"',;#<>{}()\[\]$]{16,200})(?![\w(\[])"
)
_CODE_MARKS = frozenset("()[]{}<>\\\"'")
_EXAMPLES = frozenset((
    "password", "pass", "passwd", "pw", "pwd", "secret", "user:pass", "user:password", "user:pw", "username:password",
))  # fmt: skip


def find_key(name: str, data: bytes, *, is_data: bool, is_suspect: bool = False) -> tuple[int, str] | None:
    """(line, kind) of what looks like a key in a file; None where there is none.

    `is_data`: prompts and models, where a word such as `password` is only a word: known kinds of tokens alone.
    `is_suspect`: the file's name suggests keys, so that a line of one random word is taken for one of any kind.
    A line marked `pragma: allowlist secret` is skipped.
    """
    text = _as_text(data, is_data=is_data)
    for start, part in _parts(text):
        for match, kind in _known_kinds(part):
            place = start + match
            line = text[text.rfind("\n", 0, place) + 1 : _end_of_line(text, place)]
            if not _ALLOWED.search(line):
                return text.count("\n", 0, place) + 1, kind
    if is_data and not is_suspect:
        return None
    for number, line in enumerate(text.splitlines(), 1):
        if is_suspect and _is_random_word(line, PurePosixPath(name).suffix in CODE):
            return number, "a line of one random word, under a name that suggests keys"
        if _HINT.search(line) and not _ALLOWED.search(line):
            named = _named_value(name, line)
            if named is not None:
                return number, named
    return None


def _as_text(data: bytes, *, is_data: bool) -> str:
    """The ASCII of a file with its lines: in UTF-16, UTF-32 and binary files it is between NULs."""
    if b"\0" not in data:
        return data.decode("utf-8", errors="replace")
    data = data.translate(None, b"\0")
    if is_data:  # weights: the runs of letters in them, which are few
        data = b" ".join(_LETTERS.findall(data))
    return data.decode("latin-1")


def _is_random_word(line: str, is_code: bool) -> bool:
    word = line.strip().strip("\"',")
    if is_code and set(word) & _CODE_MARKS:  # a statement without blanks
        return False
    return 16 <= len(word) <= 4096 and _looks_random(word)


def _parts(text: str) -> Iterator[tuple[int, str]]:
    for start in range(0, len(text), _PART):
        part = text[start : start + _PART + _OVERLAP]
        if max(map(len, part.split()), default=0) <= _SMALL_PART:
            yield start, part
            continue
        for inner in range(start, min(start + _PART, len(text)), _SMALL_PART):
            yield inner, text[inner : inner + _SMALL_PART + _OVERLAP]


def _end_of_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _known_kinds(text: str) -> Iterator[tuple[int, str]]:
    for kind, pattern in _MORE_KINDS.items():
        for match in pattern.finditer(text):
            yield match.start(), kind
    for detector in _detectors(*_KINDS):
        for found in detector.analyze_string(text):
            yield max(text.find(found), 0), detector.secret_type


@functools.cache
def _detectors(*kinds: str) -> list[Any]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    classes: list[Any] = list(get_mapping_from_secret_type_to_class().values())
    known = {plugin.__name__: plugin for plugin in classes}
    return [known[kind]() for kind in kinds]


def _named_value(name: str, line: str) -> str | None:
    """The kind of a value under a secret's name in a line of code or configuration."""
    for start in range(0, len(line), _SMALL_PART):
        part = line[start : start + _SMALL_PART + _OVERLAP]
        (keywords,) = _detectors("KeywordDetector")
        for found in keywords.analyze_line(name, part):
            if _looks_random(found.secret_value) and not _is_reference(found.secret_value, part):
                return "a value under a secret's name"
        for match in _NAMED.finditer(part):
            quoted = bool(match["quote"]) or PurePosixPath(name).suffix not in CODE
            if quoted and is_secret_name(match["name"]) and _looks_random(match["value"]):
                return f"a value under the name {match['name']}"
        if any(_is_real(value) for value in url_secrets(part)):
            return "an address with a password or a key"
    return None


def _is_real(value: str) -> bool:
    """What an address holds for a password, unless it is an example's or a template's."""
    return len(value) >= 8 and value not in _EXAMPLES and not set(value) & set("{}<>$")


def _looks_random(value: str | None) -> bool:
    """Letters and digits without blanks: a word such as `required` or `your-key-here` is no key."""
    if not value or len(value) < 8 or re.search(r"\s", value):
        return False
    return bool(re.search(r"[A-Za-z]", value) and re.search(r"\d", value)) and not value.startswith(
        ("/", "./", "~")
    )


def _is_reference(value: str, line: str) -> bool:
    from detect_secrets.filters import heuristic

    return (
        heuristic.is_templated_secret(value)
        or heuristic.is_prefixed_with_dollar_sign(value)
        or heuristic.is_sequential_string(value)
        or bool(re.search(r"[(\[{]", value))
        or heuristic.is_indirect_reference(line)
    )
