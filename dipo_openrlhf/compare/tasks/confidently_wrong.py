"""Low-perplexity errors: mistakes are bare, right responses are rare and varied."""

from dipo_openrlhf.compare.tasks.digits import VERBS, Skill, digits_task

_RELIABILITY = (0.005, 0.01, 0.01, 0.02, 0.02, 0.03, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4)

TASK = digits_task(
    "confidently_wrong",
    "Does a method leave confident errors, which have the lowest perplexity?",
    {verb: Skill(r, "varied", "bare") for verb, r in zip(VERBS, _RELIABILITY, strict=True)},
)
