"""Two processes of a script, RANK PORT [ARGUMENT ...], that form a gloo group: what the tests of real DeepSpeed run."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path


def run_two_ranks(script: str, *arguments: str, seconds: float) -> list[str]:
    """Run `script`, a file of this folder, as ranks 0 and 1; their outputs. Fails unless both end well in time."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    path = str(Path(__file__).with_name(script))
    ranks = [
        subprocess.Popen(
            [sys.executable, path, rank, port, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in "01"
    ]
    try:
        outputs = [rank.communicate(timeout=seconds)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], outputs[0][-3000:] + outputs[1][-3000:]
    return outputs
