"""Statistics of an evaluation: pure functions over plain numbers, each citing where it comes from.

Values are per-sample scores in [0, 1]; `clusters` names the problem a sample belongs to, since samples of one
problem are not independent. Every interval is two-sided unless its name says otherwise.
"""

from dipo_eval.statistics.means import (
    carrying_degrees,
    carrying_items,
    clustered_mean,
    clustered_proportion,
    wilson,
)
from dipo_eval.statistics.paired import (
    Moments,
    PairedDifference,
    holm,
    mcnemar,
    paired_difference,
    paired_interval,
)
from dipo_eval.statistics.paired_binary import drop_p_value, lower_bound
from dipo_eval.statistics.power import minimum_detectable_effect
from dipo_eval.statistics.scores import majority_at_k, pass_at_k

__all__ = [
    "Moments",
    "PairedDifference",
    "carrying_degrees",
    "carrying_items",
    "clustered_mean",
    "clustered_proportion",
    "drop_p_value",
    "holm",
    "lower_bound",
    "majority_at_k",
    "mcnemar",
    "minimum_detectable_effect",
    "paired_difference",
    "paired_interval",
    "pass_at_k",
    "wilson",
]
