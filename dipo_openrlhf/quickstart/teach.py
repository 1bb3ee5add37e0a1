"""Make the small model of a lesson, or find it, and print its folder: for `actor.model_name_or_path`.

python -m dipo_openrlhf.quickstart.teach NAME     a file of dipo_openrlhf/quickstart/lessons
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from dipo_eval.discovery import unknown
from dipo_eval.errors import UserError
from dipo_openrlhf.quickstart import lessons
from dipo_openrlhf.quickstart.lessons.lesson import Lesson
from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.record.user_cache import cache_dir


def lesson_named(name: str) -> Lesson:
    """The lesson of the file NAME.py. Raises UserError for an unknown name."""
    known = sorted(path.stem for path in Path(lessons.__path__[0]).glob("*.py"))
    known = [one for one in known if one not in ("__init__", "lesson")]
    if name not in known:
        raise unknown("lesson", name, known)
    found: Lesson = importlib.import_module(f"{lessons.__name__}.{name}").LESSON
    return found


def main(arguments: list[str]) -> int:
    """Exit status."""
    try:
        if len(arguments) != 1:
            raise UserError("give the name of one lesson, such as pantry")
        print(pretrained_model(cache_dir(), progress=sys.stderr.isatty(), lesson=lesson_named(arguments[0])))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
