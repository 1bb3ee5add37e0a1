"""One of two ranks that gather a large and a small parameter of ZeRO 3 and look at once (test_cpu_changes.py).

python zero_3_gather.py RANK PORT     prints how often the large one was not there yet
"""

# ruff: noqa: E402  # the changes for CPU come before what they change
from __future__ import annotations

import os
import sys

RANK, PORT = sys.argv[1:]
os.environ |= {"DIPO_CPU": "1", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
os.environ |= {
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": PORT,
    "RANK": RANK,
    "WORLD_SIZE": "2",
    "LOCAL_RANK": RANK,
}

from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu

cpu.install()

import deepspeed
import torch

deepspeed.init_distributed("gloo", dist_init_required=True)
with deepspeed.zero.Init(config_dict_or_path={"train_batch_size": 2, "zero_optimization": {"stage": 3}}):
    large, small = torch.nn.Linear(4096, 4096, bias=False), torch.nn.Linear(2, 2, bias=False)
for parameter in (large.weight, small.weight):
    parameter.ds_tensor.fill_(7)
missing = 0
for _ in range(5):
    with torch.no_grad(), deepspeed.zero.GatheredParameters([large.weight, small.weight]):
        # The last rows arrive last.
        missing += not bool((large.weight[-64:] == 7).all() and (large.weight[:64] == 7).all())
        torch.distributed.barrier()
        large.weight.data.zero_()  # this memory is given out again: what it holds must not pass for what was gathered
print("missing", missing)
