"""`dipo train`, with --resume where the run's folder holds a complete checkpoint: what a scheduler starts repeatedly.

python -m dipo_openrlhf.launchers.run_or_resume RECIPE [--section.key value ...]
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.record import checkpoints


def train_arguments(arguments: list[str]) -> list[str]:
    """The arguments of `dipo`. Raises UserError for a mistake in the recipe."""
    given = [word for word in arguments if word != "--resume"]
    recipe = load_recipe(given[0], parse_overrides(given[1:]))
    folder = Path(recipe.get("ckpt.path"))
    complete = folder.exists() and checkpoints.resumable_steps(folder)
    return ["train", given[0], *(["--resume"] if complete else []), *given[1:]]


def main() -> None:
    """Become `dipo train`: the scheduler's signals reach it directly."""
    # A script starts what it runs in the background with SIGINT ignored, and a program that it becomes inherits that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        arguments = train_arguments(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"dipo {' '.join(arguments[:2])}{' --resume' if '--resume' in arguments else ''}", flush=True)
    safe_path = ["-P"] if sys.flags.safe_path else []
    os.execv(sys.executable, [sys.executable, *safe_path, "-m", "dipo_openrlhf.cli", *arguments])


if __name__ == "__main__":
    main()
