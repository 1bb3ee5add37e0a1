"""The algorithm as pure computation on torch tensors; it imports torch and the standard library alone.

Source: arXiv 2604.13902; docs/algorithm.md has its equations and this project's readings of it.

Shapes, as suffixes of tensor names, here and in openrlhf_patch/:
    B  responses of a batch, P * G in group order
    A  action tokens of a response, padded on the right
    P  prompts of a batch
    G  responses to one prompt, a group
    N  responses in the perplexity queue
    T  prompt and action tokens of a response, in the reference trainer alone
"""

from dipo_openrlhf.algorithm.advantages import group_advantages, zero_variance_groups
from dipo_openrlhf.algorithm.config import DipoConfig
from dipo_openrlhf.algorithm.correctness import correctness
from dipo_openrlhf.algorithm.methods.dipo import (
    ReallocationResult,
    check_disjoint,
    dipo_advantages,
    reallocation_advantages,
)
from dipo_openrlhf.algorithm.metrics import Metrics, ppl_quantiles, quadrant_shares
from dipo_openrlhf.algorithm.perplexity import sequence_log_ppl
from dipo_openrlhf.algorithm.perplexity_queue import PerplexityQueue
from dipo_openrlhf.algorithm.reallocation import Reallocation, reallocate
from dipo_openrlhf.algorithm.threshold import Threshold, find_threshold

__all__ = [
    "DipoConfig", "Metrics", "PerplexityQueue", "Reallocation", "ReallocationResult", "Threshold", "check_disjoint",
    "correctness", "dipo_advantages", "find_threshold", "group_advantages", "ppl_quantiles", "quadrant_shares",
    "reallocate", "reallocation_advantages", "sequence_log_ppl", "zero_variance_groups",
]  # fmt: skip
