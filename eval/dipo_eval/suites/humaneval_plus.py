"""HumanEval+: 164 functions with EvalPlus's tests (Chen et al. 2021; Liu et al. 2023)."""

from dipo_eval.suites.evalplus import code_suite

SUITE = code_suite("humaneval+", "humaneval", "evalplus/humanevalplus_release v0.1.10")
