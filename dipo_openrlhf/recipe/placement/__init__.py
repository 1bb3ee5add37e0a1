"""What sits on which GPU of which node: the one place that counts GPUs, by OpenRLHF's own placement rules.

parts.py: the placement groups that OpenRLHF asks Ray for, and who sits in each. nodes.py: on which nodes Ray puts them.
needs.py: what a launcher requests. cluster.py: engines that fit `run.nodes`, and what is refused.
"""

from dipo_openrlhf.recipe.placement.cluster import add_engines, check_cluster
from dipo_openrlhf.recipe.placement.needs import Needs, gpus_to_start, needs_of
from dipo_openrlhf.recipe.placement.nodes import Layout, layout
from dipo_openrlhf.recipe.placement.parts import (
    ACTOR,
    ENGINE,
    REFERENCE,
    WATCHER,
    Placement,
    actor_gpus,
    placement,
    shares_gpus,
)

__all__ = [
    "ACTOR", "ENGINE", "REFERENCE", "WATCHER", "Layout", "Needs", "Placement", "actor_gpus", "add_engines",
    "check_cluster", "gpus_to_start", "layout", "needs_of", "placement", "shares_gpus",
]  # fmt: skip
