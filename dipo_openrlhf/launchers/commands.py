"""What `dipo submit` does: check the options and the recipe, and hand both to the launcher."""

from __future__ import annotations

from dataclasses import MISSING, fields

from dipo_eval.errors import UserError
from dipo_openrlhf.launchers import targets
from dipo_openrlhf.launchers.launcher import Options
from dipo_openrlhf.launchers.request import make_request

_ALWAYS = ("dry_run", "resume")


def submit(recipe: str, tokens: list[str], target: str, options: Options) -> int:
    """Exit status: of the job where it is followed to its end, else 0. Raises UserError."""
    launcher = targets.find(target)
    _check_options(target, options)
    request = make_request(recipe, tokens, on_cluster=launcher.on_cluster, resume=options.resume)
    return launcher.submit(request, options)


def _check_options(target: str, options: Options) -> None:
    """An option of another launcher is a mistake of the user, not something to ignore silently."""
    launcher = targets.find(target)
    for each in fields(options):
        default = [] if each.default is MISSING else each.default
        if each.name in (*_ALWAYS, *launcher.options) or getattr(options, each.name) == default:
            continue
        name = "--no-follow" if each.name == "follow" else f"--{each.name.replace('_', '-')}"
        others = ", ".join(other for other in targets.names() if each.name in targets.find(other).options)
        hint = f"; {launcher.hints[each.name]}" if each.name in launcher.hints else ""
        raise UserError(f"{name}: does not go with --to {target}, but with {others}{hint}")
