"""Weight transfer from DeepSpeed to vLLM over gloo, in place of OpenRLHF's NCCL group."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

# A rank that does not join in this time has died.
TIMEOUT = timedelta(minutes=10)


class GlooGroup:
    """The one method of vLLM's PyNcclCommunicator that OpenRLHF calls."""

    def __init__(self, group: Any) -> None:
        self.group = group

    def broadcast(self, tensor: torch.Tensor, src: int, stream: object = None) -> None:
        """Send `tensor` from rank `src` to all others, in place. Raises RuntimeError after TIMEOUT."""
        options = dist.BroadcastOptions()
        options.rootRank = src
        options.rootTensor = 0
        self.group.broadcast([tensor], options).wait()


def init_gloo_group(
    master_address: str, master_port: int, rank: int, world_size: int, device: object
) -> GlooGroup:
    """In place of openrlhf/utils/distributed_util.py, stateless_init_process_group, with the same arguments."""
    store = dist.TCPStore(master_address, master_port, world_size, is_master=rank == 0, timeout=TIMEOUT)
    return GlooGroup(dist.ProcessGroupGloo(dist.PrefixStore("dipo_sync", store), rank, world_size, TIMEOUT))
