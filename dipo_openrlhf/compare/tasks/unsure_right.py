"""Right responses of high perplexity: nearly always right, in varied words."""

from dipo_openrlhf.compare.tasks.digits import VERBS, Skill, digits_task

_RELIABILITY = (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98)

TASK = digits_task(
    "unsure_right",
    "Does a method sharpen what is right already, where most groups have no variance?",
    {verb: Skill(r, "varied", "varied") for verb, r in zip(VERBS, _RELIABILITY, strict=True)},
)
