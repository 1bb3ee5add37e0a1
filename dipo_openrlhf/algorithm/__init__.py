"""DiPO as pure computation on torch tensors: no OpenRLHF, no Ray, no vLLM.

Source: arXiv 2604.13902. Shapes: B batch, A action tokens, P prompts, G group size, N queued responses.
"""

from dipo_openrlhf.algorithm.advantages import (
    ReallocationResult,
    check_disjoint,
    dipo_advantages,
    group_advantages,
    reallocation_advantages,
    zero_variance_groups,
)
from dipo_openrlhf.algorithm.config import DipoConfig
from dipo_openrlhf.algorithm.correctness import correctness
from dipo_openrlhf.algorithm.metrics import Metrics, Quadrant, ppl_quantiles, quadrant_shares
from dipo_openrlhf.algorithm.perplexity import sequence_log_ppl
from dipo_openrlhf.algorithm.perplexity_queue import PerplexityQueue
from dipo_openrlhf.algorithm.reallocation import Reallocation, reallocate
from dipo_openrlhf.algorithm.threshold import Threshold, find_threshold

__all__ = [
    "DipoConfig",
    "Metrics",
    "PerplexityQueue",
    "Quadrant",
    "Reallocation",
    "ReallocationResult",
    "Threshold",
    "check_disjoint",
    "correctness",
    "dipo_advantages",
    "find_threshold",
    "group_advantages",
    "ppl_quantiles",
    "quadrant_shares",
    "reallocate",
    "reallocation_advantages",
    "sequence_log_ppl",
    "zero_variance_groups",
]
