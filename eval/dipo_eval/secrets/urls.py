"""Credentials in addresses: `scheme://user:password@host` and parameters such as `?token=` (RFC 3986, 3.2.1 and 3.4)."""

from __future__ import annotations

import re
from urllib.parse import unquote

from dipo_eval.secrets.names import is_secret_name

MASK = "***"
MAX_LENGTH = 4096  # characters of one user name and password, or of one parameter: linear cost

_USERINFO = re.compile(
    rf"\b([A-Za-z][A-Za-z0-9+.-]{{0,30}})://([^\s/?#\"'<>@]{{1,{MAX_LENGTH}}}(?:@[^\s/?#\"'<>@]+)*)@"
)
# An S3 key may contain a slash: user:part/of/key@bucket. A port is all digits.
_WITH_SLASH = re.compile(
    rf"\b([A-Za-z][A-Za-z0-9+.-]{{0,30}})://([^\s/?#\"'<>@:\[]{{1,256}}:(?!\d{{1,5}}/)[^\s\"'<>@?#]{{1,{MAX_LENGTH}}})@"
)
# A password that was not percent-encoded: all up to the line's last @, as whoever wrote it meant it.
_WITH_ANY = re.compile(
    rf"\b([A-Za-z][A-Za-z0-9+.-]{{0,30}})://([^\s/?#\"'<>@:\[]{{0,256}}:(?!\d{{1,5}}(?:[\s/?#:.,;|)\]}}`]|$))(?=\S)"
    rf"[^\r\n\"'<>]{{1,{MAX_LENGTH}}})@"
)
_CREDENTIALS = (_USERINFO, _WITH_SLASH, _WITH_ANY)
_PARAMETER = re.compile(rf"(?<=[?&;#])([\w.%~-]{{1,64}})=([^\s&;#\"'<>]{{1,{MAX_LENGTH}}})")
# A user name alone is no secret where the protocol has its own keys, or is that of a database.
_USER_ALONE = frozenset((
    "ssh", "sftp", "scp", "rsync", "git", "git+ssh", "svn+ssh", "postgres", "postgresql", "mysql", "mariadb",
    "mongodb", "redis", "rediss", "amqp", "ldap",
))  # fmt: skip
_PARAMETERS = frozenset((
    "sig", "signature", "credential", "code", "jwt", "otp", "pin", "pw", "googleaccessid",
))  # fmt: skip


def url_secrets(text: str) -> list[str]:
    """The secret parts of every address in `text`, as written and decoded; empty where there are none."""
    if "://" not in text:
        return []
    found = []
    for match in (one for pattern in _CREDENTIALS for one in pattern.finditer(text) if _is_credential(one)):
        user, _, password = match[2].partition(":")
        found += [password or user, match[2]]
    parameters = _PARAMETER.finditer(text)
    found += [one[2] for one in parameters if _is_secret_parameter(one[1]) and one[2] != MASK]
    return list(dict.fromkeys(form for one in found for form in (one, unquote(one))))


def _is_credential(match: re.Match[str]) -> bool:
    user, _, password = match[2].partition(":")
    if MASK in (user, password) or password.startswith(f"{MASK}@"):
        return False
    return bool(password or (user and match[1].lower() not in _USER_ALONE))


def _is_secret_parameter(name: str) -> bool:
    name = unquote(name)
    last = re.split(r"[-_.]", name.lower())[-1]
    return is_secret_name(name) or last in _PARAMETERS


def mask_urls(text: str) -> str:
    """`text` with the credentials of every address in it replaced by ***."""
    if "://" in text:
        for pattern in _CREDENTIALS:
            text = pattern.sub(lambda m: f"{m[1]}://{MASK}@" if _is_credential(m) else m[0], text)
    if "=" in text:
        text = _PARAMETER.sub(lambda m: f"{m[1]}={MASK}" if _is_secret_parameter(m[1]) else m[0], text)
    return text
