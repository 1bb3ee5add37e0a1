"""Data inside the page: JSON that no browser can take for markup, whatever a model wrote into it."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from markupsafe import Markup

from dipo_eval import linear

# `<`, `>` and `&` could end the script element or start a comment in it; U+2028 and U+2029 end lines in old
# JavaScript; a lone surrogate has no UTF-8; U+007F to U+009F, U+FFFE and U+FFFF are no text in HTML.
_UNSAFE = linear.bounded("[<>&\u2028\u2029\ud800-\udfff\x7f-\x9f\ufeff\ufffe\uffff]")


def safe_json(data: Any) -> str:
    """`data` as JSON that may stand in a <script type="application/json">; it parses back to equal data."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def json_script(data: Any, attribute: str, value: str) -> Markup:
    """A data block found by its `attribute` (id or class); the scripts show its data through textContent only."""
    # Markup() is right here: safe_json leaves no character that HTML would act on.
    element = Markup('<script type="application/json" {}="{}">{}</script>')
    return element.format(attribute, value, Markup(safe_json(data)))


def csp_hash(source: str) -> str:
    """The Content-Security-Policy source that allows exactly this inline script or style."""
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
