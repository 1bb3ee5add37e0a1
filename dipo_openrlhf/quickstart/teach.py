"""Make the small model of a lesson, or find it, and print its folder: for `actor.model_name_or_path`.

python -m dipo_openrlhf.quickstart.teach NAME     a file of dipo_openrlhf/quickstart/lessons
"""

from __future__ import annotations

import sys

from dipo_eval.errors import UserError, one_line
from dipo_openrlhf.quickstart.lessons import lesson_named
from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.record.user_cache import cache_dir


def main(arguments: list[str]) -> int:
    """Exit status."""
    try:
        if len(arguments) != 1:
            raise UserError("give the name of one lesson, such as pantry")
        print(pretrained_model(cache_dir(), progress=sys.stderr.isatty(), lesson=lesson_named(arguments[0])))
    except (UserError, OSError) as error:  # the latter: a full disk, a cache folder of another user
        print(f"error: {error if isinstance(error, UserError) else one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
