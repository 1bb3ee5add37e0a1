"""A task whose model is pretrained in seconds: in a file of its own, as a user's beside the real ones."""

from dataclasses import replace

from dipo_openrlhf.compare.tasks.digits import Skill, digits_task

_TASK = digits_task(
    "small", "Does anything run?", {"Keep": Skill(0.3, "bare", "varied"), "Turn": Skill(0.7, "bare")}
)
_SETTINGS = replace(
    _TASK.lesson.settings, hidden_size=32, heads=1, key_value_heads=1, mlp_size=64, demonstrations=12_800
)
TASK = replace(_TASK, lesson=replace(_TASK.lesson, settings=_SETTINGS))
