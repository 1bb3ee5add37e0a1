"""`dipo board --serve`: the page over HTTP, made again when a result changes.

The folder is looked at every two seconds by name, time and size of its files, which works on network file systems too,
where no notice of a change arrives. A page is shown only once it is whole; one that cannot be made leaves the last.
"""

from __future__ import annotations

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

from dipo_eval.board.data.load import Cache, signature
from dipo_eval.board.data.runlog import RunLog, read_run_log
from dipo_eval.board.page.render import render_page
from dipo_eval.board.page.samples import MAX_SAMPLES
from dipo_eval.board.table.leaderboard import BoardData, read_board
from dipo_eval.errors import UserError

POLL_S = 2.0
LOG_EVERY_S = 20.0
"""A training log grows with every step; the page follows it less often than it follows results."""

Say = Callable[[str], None]


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


def results_version(source: Source) -> str:
    """A hash of the names, times and sizes of all result files: another one means that a result has changed."""
    digest = hashlib.sha256()
    for path in sorted(source.results.glob("*/*/*/results.json")):
        try:
            digest.update(repr((str(path.parent), signature(path.parent))).encode(errors="replace"))
        except OSError:
            continue  # withdrawn just now: the next look sees what came of it
    return digest.hexdigest()


def logs_version(source: Source) -> str:
    """The same for the training logs."""
    digest = hashlib.sha256()
    for path in (folder / name for folder in source.run_dirs for name in ("metrics.jsonl", "recipe.yaml")):
        try:
            about = path.stat()
        except OSError:
            continue
        digest.update(repr((str(path), about.st_mtime_ns, about.st_size)).encode(errors="replace"))
    return digest.hexdigest()


def make_page(source: Source, version: str, cache: Cache) -> bytes:
    """The served page. A folder without results yet, or without the named baseline, gives a page that says so."""
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


def refresh(source: Source, shown: Shown, seen: tuple[str, str]) -> None:
    """Make the page of what is there now and show it; `seen` are the versions of results and logs."""
    version = hashlib.sha256("".join(seen).encode()).hexdigest()[:16]
    shown.page = (version, make_page(source, version, shown.cache))


def follow(source: Source, shown: Shown, seen: tuple[str, str], ended: threading.Event, say: Say) -> None:
    """Look at the folder until `ended`; any failure is one line, and the last page stays."""
    made = time.monotonic()
    while not ended.wait(POLL_S):
        try:
            now = (results_version(source), logs_version(source))
            if now[0] == seen[0] and (now[1] == seen[1] or time.monotonic() - made < LOG_EVERY_S):
                continue
            seen = now
            refresh(source, shown, now)
            made = time.monotonic()
        except Exception as error:  # a page that cannot be made must not end the server
            say(f"board: not refreshed ({type(error).__name__}: {error})".splitlines()[0])


def application(shown: Shown, host: str) -> Starlette:
    """`/` is the page, `/version` its version. Only requests by the server's own names are answered.

    Otherwise a page of another site could have its name point here, and read the samples.
    """

    def page(request: Request) -> Response:
        version, body = shown.page
        headers = {"ETag": f'"{version}"', "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        if request.headers.get("if-none-match", "").removeprefix("W/") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="text/html", headers=headers)

    def version(request: Request) -> Response:
        return PlainTextResponse(shown.page[0], headers={"Cache-Control": "no-store"})

    everywhere = host in ("0.0.0.0", "::")
    names = ["*"] if everywhere else [host, "localhost", "127.0.0.1", "[::1]"]
    return Starlette(
        routes=[Route("/", page), Route("/version", version)],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=names),
            Middleware(GZipMiddleware, compresslevel=3),
        ],
    )


def serve(source: Source, host: str, port: int, say: Say) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises UserError where the port cannot be had."""
    listener = _listen(host, port)
    shown, ended = Shown(), threading.Event()
    try:
        seen = (results_version(source), logs_version(source))
        refresh(source, shown, seen)
        threading.Thread(target=follow, args=(source, shown, seen, ended, say), daemon=True).start()
        name = f"[{host}]" if ":" in host else host
        say(f"board: http://{name}:{listener.getsockname()[1]}/ (Ctrl-C ends it)")
        config = uvicorn.Config(
            application(shown, host),
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        ended.set()
        listener.close()
    say("board: ended")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(
            f"--port {port}: {host} cannot be listened on ({error}): choose another port"
        ) from None
    return listener
