"""A process that holds no data and forks the jails, so that a solution finds no expected result in its memory."""

from __future__ import annotations

import os
import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any

from dipo_eval.code_runner import jail, kernel, probe
from dipo_eval.code_runner.record import Part, record

_LENGTH = struct.Struct(">Q")


@dataclass(frozen=True)
class Job:
    """``part`` None: do not run anything but find out which limits hold."""

    part: Part | None
    seconds: float


class Zygote:
    """The judge's end: ``run`` sends a job and waits for what the jail wrote."""

    def __init__(self, limits: jail.Limits, folder: str, *, namespaces: bool) -> None:
        mine, theirs = socket.socketpair()
        if os.fork() == 0:
            mine.close()
            _serve(theirs, limits, folder, namespaces)
        theirs.close()
        self._socket = mine

    def run(self, job: Job) -> jail.Outcome:
        """Raises EOFError where the zygote is gone."""
        _send(self._socket, job)
        reply = _receive(self._socket)
        if not isinstance(reply, jail.Outcome):
            raise EOFError("the process that makes the jails is gone")
        return reply


def _serve(channel: socket.socket, limits: jail.Limits, folder: str, namespaces: bool) -> None:
    """Serve jobs until the judge is gone. Its messages are its own: the one place where a pickle is trusted."""
    try:
        kernel.die_with_parent()
        while (job := _receive(channel)) is not None:
            _send(channel, _run(job, limits, folder, namespaces))
    finally:
        os._exit(0)


def _run(job: Job, limits: jail.Limits, folder: str, namespaces: bool) -> jail.Outcome:
    part = job.part

    def inmate(descriptor: int) -> None:
        if part is None:
            probe.report(descriptor, limits, __file__)
        else:
            record(part, descriptor)

    try:
        return jail.run_jailed(inmate, job.seconds, limits, folder, namespaces=namespaces)
    except OSError as error:
        return jail.Outcome(b"", "jail", f"{type(error).__name__}: {error}")


def _send(channel: socket.socket, message: Any) -> None:
    data = pickle.dumps(message)
    channel.sendall(_LENGTH.pack(len(data)) + data)


def _receive(channel: socket.socket) -> Any:
    header = _exactly(channel, _LENGTH.size)
    if header is None:
        return None
    data = _exactly(channel, _LENGTH.unpack(header)[0])
    return None if data is None else pickle.loads(data)


def _exactly(channel: socket.socket, count: int) -> bytes | None:
    chunks = bytearray()
    while len(chunks) < count:
        chunk = channel.recv(min(count - len(chunks), 1 << 20))
        if not chunk:
            return None
        chunks += chunk
    return bytes(chunks)
