"""MBPP+: 378 functions with EvalPlus's tests (Austin et al. 2021; Liu et al. 2023)."""

from dipo_eval.suites.evalplus import code_suite

SUITE = code_suite("mbpp+", "mbpp", "evalplus/mbppplus_release v0.2.0")
