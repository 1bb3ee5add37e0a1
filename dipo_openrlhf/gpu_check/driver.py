"""The driver of a training run with the trainer and actor of observe.py.

python -m dipo_openrlhf.gpu_check.driver RUN_DIR/launch.json
"""

from __future__ import annotations

import sys
from typing import Any

from dipo_openrlhf.openrlhf_patch import driver
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu


def run_observed(path: str, actor_class: str) -> int:
    """Exit status of the driver. `actor_class`: a class of observe.py."""
    cpu.install()  # before anything imports OpenRLHF
    from dipo_openrlhf.gpu_check import observe
    from dipo_openrlhf.openrlhf_patch import actor, trainer

    # The driver imports both from their modules when it replaces OpenRLHF's.
    replaced: tuple[tuple[Any, str, type], ...] = (
        (trainer, "DiPOTrainer", observe.ObservedTrainer),
        (actor, "DiPOPolicyActor", getattr(observe, actor_class)),
    )
    for module, name, ours in replaced:
        setattr(module, name, ours)
    return driver.main(path)


if __name__ == "__main__":
    sys.exit(run_observed(sys.argv[1], "ObservedActor"))
