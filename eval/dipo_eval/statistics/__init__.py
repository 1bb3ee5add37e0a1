"""Statistics of an evaluation: pure functions over plain numbers, each citing where it comes from.

Values are per-sample scores in [0, 1]; `clusters` names the problem a sample belongs to, since samples of one
problem are not independent. Every interval is two-sided unless its name says otherwise.
"""

from dipo_eval.statistics.crossed import (
    Components,
    CrossedMean,
    crossed_difference,
    crossed_mean,
)
from dipo_eval.statistics.means import (
    carrying_degrees,
    carrying_items,
    clustered_mean,
    clustered_proportion,
    wilson,
)
from dipo_eval.statistics.method_comparison import (
    MethodComparison,
    PairVerdict,
    Verdict,
    compare_methods,
)
from dipo_eval.statistics.outlook import detectable_difference, planned_power
from dipo_eval.statistics.paired import (
    Moments,
    PairedDifference,
    holm,
    mcnemar,
    paired_difference,
    paired_interval,
)
from dipo_eval.statistics.paired_binary import drop_p_value, lower_bound
from dipo_eval.statistics.plan import Plan
from dipo_eval.statistics.power import minimum_detectable_effect
from dipo_eval.statistics.scores import majority_at_k, pass_at_k
from dipo_eval.statistics.sequential import crossing_probability, nominal_levels, sequential_level

__all__ = [
    "Components",
    "CrossedMean",
    "MethodComparison",
    "Moments",
    "PairVerdict",
    "PairedDifference",
    "Plan",
    "Verdict",
    "carrying_degrees",
    "carrying_items",
    "clustered_mean",
    "clustered_proportion",
    "compare_methods",
    "crossed_difference",
    "crossed_mean",
    "crossing_probability",
    "detectable_difference",
    "drop_p_value",
    "holm",
    "lower_bound",
    "majority_at_k",
    "mcnemar",
    "minimum_detectable_effect",
    "nominal_levels",
    "paired_difference",
    "paired_interval",
    "pass_at_k",
    "planned_power",
    "sequential_level",
    "wilson",
]
