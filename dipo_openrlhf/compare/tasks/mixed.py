"""A third of the verbs nearly always wrong, a third nearly always right, a third in between."""

from dipo_openrlhf.compare.tasks.digits import VERBS, Skill, Wording, digits_task

_RELIABILITY = (0.01, 0.02, 0.03, 0.05, 0.3, 0.4, 0.5, 0.6, 0.9, 0.93, 0.95, 0.97)
_WORDINGS: tuple[tuple[Wording, Wording], ...] = (
    ("varied", "bare"),
    ("bare", "varied"),
    ("varied", "varied"),
    ("bare", "bare"),
)

TASK = digits_task(
    "mixed",
    "Does a method learn where many groups are all incorrect or all correct, and perplexity says little?",
    {verb: Skill(_RELIABILITY[i], *_WORDINGS[i % 4]) for i, verb in enumerate(VERBS)},
)
