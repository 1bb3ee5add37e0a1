"""A reward that is an address: whether a server answers there, and with what training needs.

In a run OpenRLHF asks each five times, notes at level INFO what failed, and goes on without a reward
(openrlhf/utils/agent.py, SingleTurnAgentExecutor._fetch_rewards_via_http).
"""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from dipo_eval.errors import UserError, one_line
from dipo_eval.secrets.masking import mask_text
from dipo_openrlhf.algorithm.config import CorrectFrom
from dipo_openrlhf.rewards.returned import key_problem, problem_of, scale_problem

_KEY = "reward.remote_url"
CONNECT_SECONDS, SECONDS = 5.0, 120.0


def addresses(url: str | None) -> list[str]:
    """The addresses among what reward.remote_url names, joined by commas."""
    parts = [one.strip() for one in (url or "").split(",")]
    return [one for one in parts if urlsplit(one).scheme in ("http", "https")]


def unanswered(url: str | None) -> str:
    """Which address has no server, and why; empty where all have one."""
    for one in addresses(url):
        parts = urlsplit(one)
        place = f"{_KEY}: {mask_text(one)!r}"
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
        except ValueError:
            return f"{place}: its port is no number from 0 to 65535"
        except OSError as error:
            return f"{place}: no server answers there ({error.strerror or one_line(error)}): start it first"
    return ""


def check_servers(
    url: str | None, samples: list[tuple[str, str, str, Any]], correct_from: CorrectFrom
) -> None:
    """Raise UserError unless each server scores every sample: (place, query, prompt, label), a row each."""
    for one in addresses(url):
        place, first = f"{_KEY}: {mask_text(one)!r}", None
        for row, query, prompt, label in samples:
            try:
                value = _ask(one, query, prompt, label)
            except (OSError, ValueError) as error:
                raise UserError(
                    f"{place}: for {row} its answer is none ({one_line(error)}): OpenRLHF posts "
                    '{"query": [...], "prompts": [...], "labels": [...]} and reads JSON'
                ) from None
            if problem := problem_of(value) or scale_problem(value, correct_from):
                raise UserError(f"{place}: for {row} it answered {problem}")
            first = first or (row, value)
            if problem := key_problem(first[1], first[0], value):
                raise UserError(f"{place}: for {row} it answered {problem}")


def _ask(address: str, query: str, prompt: str, label: Any) -> Any:
    """As OpenRLHF asks: one sample at a time, and past no proxy."""
    body = json.dumps({"query": [query], "prompts": [prompt], "labels": [label]}, default=str).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=SECONDS) as answer:
        return json.loads(answer.read(1 << 24))
