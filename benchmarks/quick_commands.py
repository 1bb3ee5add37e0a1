"""Seconds until the commands that only tell something have told it, against an interpreter that does nothing.

    python benchmarks/quick_commands.py [--repeats 5]

Each is a process of its own; its processor time counts, which other load changes least.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from common import DIPO, command, header, machine, row

ASKED = ("--version", "--help", "train --help", "submit --help", "eval --help", "recipes")


def processor_seconds(command: Sequence[str]) -> float:
    """Of one process and its children."""
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(repeats: int = 5) -> None:
    commands = {"python -c pass": [sys.executable, "-c", "pass"]}
    commands |= {f"dipo {words}": [*DIPO, *words.split()] for words in ASKED}
    rounds = [{name: processor_seconds(one) for name, one in commands.items()} for _ in range(repeats)]
    header("command", "processor s", "ratio")
    best = {name: min(each[name] for each in rounds) for name in commands}
    for name, seconds in best.items():
        row([name, f"{seconds:.2f}", f"{seconds / best['python -c pass']:.0f}x"])
    print(f"best of {repeats}; {machine()}")


if __name__ == "__main__":
    command(main, __doc__)
