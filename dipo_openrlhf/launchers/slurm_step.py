"""Run a command as a step of a Slurm job that outlives the notice of a preemption.

python -m dipo_openrlhf.launchers.slurm_step [--tell PID] COMMAND...

At the beginning of the grace time Slurm sends SIGTERM to every process of a job's steps and none to its script
(https://slurm.schedmd.com/preempt.html, GraceTime). Ray's processes would end, and with them the step that the grace time
is to save. So the command starts with SIGTERM blocked, which its children inherit, and the job's script is told by
SIGUSR1. The script starts this program with SIGTERM ignored, since Python takes a while to start: a notice in that time
is missed, when there is nothing to save. What ends a step for good is SIGKILL, by Slurm or by an srun that is ended.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys


def run_step(command: list[str], tell: int | None) -> int:
    """Run `command` to its end; its exit status. `tell`: process that gets SIGUSR1 at the first SIGTERM."""
    waited_for = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what is ignored would be so in all children
    # Ray reads the end of its own children by SIGCHLD.
    child = subprocess.Popen(
        command, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    )
    while (status := child.poll()) is None:
        if signal.sigwait(waited_for) == signal.SIGTERM and tell is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(tell, signal.SIGUSR1)
            tell = None
    return status if status >= 0 else 128 - status


def main(arguments: list[str]) -> int:
    """The command's exit status."""
    parser = argparse.ArgumentParser(description="Run a command that SIGTERM does not end.")
    parser.add_argument("--tell", type=int, help="process that gets SIGUSR1 at the first SIGTERM")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    return run_step(options.command, options.tell)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
