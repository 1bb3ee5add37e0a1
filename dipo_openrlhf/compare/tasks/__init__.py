"""The tasks of `dipo compare`: a module here that defines TASK is one; nothing else is edited."""

from __future__ import annotations

import sys

from dipo_eval.discovery import defined_in, named_in
from dipo_openrlhf.compare.tasks.task import Problem, Task


def task_names() -> list[str]:
    """All tasks, sorted."""
    return sorted(defined_in(sys.modules[__name__], "TASK"))


def task_named(name: str) -> Task:
    """A task by its name. Raises UserError for an unknown one."""
    found: Task = named_in(sys.modules[__name__], "TASK", "task", name)
    return found


__all__ = ["Problem", "Task", "task_named", "task_names"]
