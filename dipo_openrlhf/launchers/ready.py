"""Wait until a Ray cluster that is just starting has all its nodes and GPUs.

python -m dipo_openrlhf.launchers.ready HOST:PORT --nodes 2 --gpus 16 --timeout 600
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable


def wait_until_ready(
    state: Callable[[], tuple[int, int]], nodes: int, gpus: int, timeout: float, poll: float = 2.0
) -> str:
    """Ask `state`, which gives (live nodes, GPUs) or raises, until it is enough; "" or what is missing."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            found_nodes, found_gpus = state()
            seen = f"{found_nodes} of {nodes} nodes, {found_gpus} of {gpus} GPUs"
            if found_nodes >= nodes and found_gpus >= gpus:
                return ""
        except Exception as error:  # Ray raises many kinds while its head comes up
            seen = f"no answer ({type(error).__name__})"
        if time.monotonic() > deadline:
            return f"the Ray cluster was not ready after {timeout:.0f} s: {seen}"
        time.sleep(poll)


def cluster_state(address: str) -> tuple[int, int]:
    """(live nodes, GPUs) of a cluster. Raises what Ray raises while it is not there."""
    import ray

    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return len(nodes), int(sum(node["Resources"].get("GPU", 0) for node in nodes))


def main(arguments: list[str]) -> int:
    """Exit status: 0 ready, 1 not ready in time (the message says what is missing)."""
    parser = argparse.ArgumentParser(description="Wait until a Ray cluster is ready.")
    parser.add_argument("address")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--timeout", type=float, default=600.0)
    options = parser.parse_args(arguments)
    problem = wait_until_ready(
        lambda: cluster_state(options.address), options.nodes, options.gpus, options.timeout
    )
    print(f"error: {problem}" if problem else f"Ray is ready at {options.address}", flush=True)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
