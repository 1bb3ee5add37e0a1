"""Perplexity tells right from wrong: right responses are bare, mistakes are varied."""

from dipo_openrlhf.compare.tasks.digits import VERBS, Skill, digits_task

_RELIABILITY = (0.01, 0.02, 0.03, 0.05, 0.3, 0.4, 0.5, 0.6, 0.9, 0.93, 0.95, 0.97)

TASK = digits_task(
    "separable",
    "Does a method do harm where perplexity already separates right from wrong? DiPO should be GRPO here.",
    {verb: Skill(r, "bare", "varied") for verb, r in zip(VERBS, _RELIABILITY, strict=True)},
)
