"""`dipo board --serve`: the page over HTTP, made again when a result changes.

Every two seconds names, times and sizes of the files are compared, which works on network file systems too, where no
notification arrives. A page that cannot be made leaves the last one in place.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dipo_eval.board import MAX_SAMPLES
from dipo_eval.board.data.load import Cache, signature
from dipo_eval.board.data.runlog import RunLog, read_run_log
from dipo_eval.board.page.render import render_page
from dipo_eval.board.table.leaderboard import BoardData, read_board
from dipo_eval.errors import UserError
from dipo_eval.printable import visible

POLL_S = 2.0
LOG_EVERY_S = 20.0
"""A training log grows with every step; the page follows it less often than it follows results."""

Log = Callable[[str], None]
Versions = tuple[str, str]
"""Hashes that change with the results, and with the training logs."""


@dataclass(frozen=True)
class Source:
    """What a served board is made from."""

    results: Path
    run_dirs: Sequence[Path] = ()
    title: str = "DiPO board"
    baseline: str | None = None
    max_samples: int = MAX_SAMPLES


@dataclass
class Shown:
    """The page as it is served, replaced as a whole: (version, HTML)."""

    page: tuple[str, bytes] = ("", b"")
    cache: Cache = field(default_factory=dict)


def versions(source: Source) -> Versions:
    """Hashes of the names, times and sizes of all files. What disappears meanwhile is seen by the next call."""
    results, logs = hashlib.sha256(), hashlib.sha256()
    for path in sorted(source.results.glob("*/*/*/results.json")):
        with contextlib.suppress(OSError):
            results.update(repr((str(path.parent), signature(path.parent))).encode(errors="replace"))
    for path in (folder / name for folder in source.run_dirs for name in ("metrics.jsonl", "recipe.yaml")):
        with contextlib.suppress(OSError):
            stat = path.stat()
            logs.update(repr((str(path), stat.st_mtime_ns, stat.st_size)).encode(errors="replace"))
    return results.hexdigest(), logs.hexdigest()


def make_page(source: Source, version: str, cache: Cache) -> bytes:
    """The served page. Without results yet, or without the named baseline, the page says so."""
    problems: list[str] = []
    runs: list[RunLog] = []
    for folder in source.run_dirs:
        try:
            runs.append(read_run_log(folder))
        except UserError as error:
            problems.append(str(error))
    try:
        data = read_board(source.results, runs, source.baseline, cache)
    except UserError as error:
        data = BoardData([], [f"nothing to show yet: {error}"], None, {}, [])
    data.problems.extend(problems)
    page = render_page(data, runs, source.title, source.max_samples, version)
    return page.encode("utf-8", errors="replace")


def refresh(source: Source, shown: Shown, seen: Versions) -> None:
    """Make the page of what is there now and show it; `seen` are the versions of the files."""
    version = hashlib.sha256("".join(seen).encode()).hexdigest()[:16]
    shown.page = (version, make_page(source, version, shown.cache))


def follow(source: Source, shown: Shown, seen: Versions, ended: threading.Event, log: Log) -> None:
    """Refresh the page until `ended`; any failure is one line, and the last page stays."""
    made = time.monotonic()
    while not ended.wait(POLL_S):
        try:
            now = versions(source)
            if now[0] == seen[0] and (now[1] == seen[1] or time.monotonic() - made < LOG_EVERY_S):
                continue
            seen = now
            refresh(source, shown, now)
            made = time.monotonic()
        except Exception as error:  # a page that cannot be made must not end the server
            log(visible(f"board: not refreshed ({type(error).__name__}: {error})", 2000))


def application(shown: Shown, host: str) -> Starlette:
    """`/` is the page, `/version` its version. Only requests by the server's own names are answered.

    Otherwise another site's page could point its name here and read the samples (DNS rebinding).
    """

    def page(request: Request) -> Response:
        version, body = shown.page
        headers = {"ETag": f'"{version}"', "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        if request.headers.get("if-none-match", "").removeprefix("W/") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="text/html", headers=headers)

    def version(request: Request) -> Response:
        return PlainTextResponse(shown.page[0], headers={"Cache-Control": "no-store"})

    names = ["*"] if host in ("0.0.0.0", "::") else [host, "localhost", "127.0.0.1", "[::1]"]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=names), Middleware(GZipMiddleware, compresslevel=3),
    ]  # fmt: skip
    return Starlette(routes=[Route("/", page), Route("/version", version)], middleware=middleware)


def serve(source: Source, host: str, port: int, log: Log) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises UserError where the port is not available."""
    listener = _listen(host, port)
    shown, ended = Shown(), threading.Event()
    try:
        seen = versions(source)
        refresh(source, shown, seen)
        threading.Thread(target=follow, args=(source, shown, seen, ended, log), daemon=True).start()
        name = f"[{host}]" if ":" in host else host
        log(f"board: http://{name}:{listener.getsockname()[1]}/ (Ctrl-C ends it)")
        config = uvicorn.Config(
            application(shown, host), log_level="error", access_log=False, lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        ended.set()
        listener.close()
    log("board: ended")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"cannot listen on {host}:{port} ({getattr(error, 'strerror', None) or error}): "
            "choose another --host or --port"
        ) from None
