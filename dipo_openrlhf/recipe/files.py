"""Recipe files: found by name, put together from several, and listed.

A name is one file or several joined by `+`: `math_qwen3_4b+dapo+4x8` is the recipe math_qwen3_4b with the variants dapo
and 4x8 laid over it. `extends:` in a file takes the same names, one or a list. What comes later wins, and a file wins
over everything that it extends. A variant with `goes_with` is refused over any recipe or variant of this package that it
does not list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dipo_eval.discovery import nearest
from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.yaml_lines import Setting, read_settings

BUILT_IN = Path(__file__).parent.parent / "recipes"
VARIANTS = BUILT_IN / "variants"
JOINT = "+"
MOST_LAYERS = 200  # files laid over each other; shipped recipes have at most a handful
GOES_WITH = "goes_with"  # key of a variant: the recipes and variants of this package that it is sized for


def recipe_names() -> list[str]:
    """Recipes of this package that can be run as they are, sorted."""
    return sorted(path.name.removesuffix(".yaml") for path in BUILT_IN.glob("*.yaml"))


def variant_names() -> list[str]:
    """Variants of this package, which are laid over a recipe, sorted."""
    return sorted(path.name.removesuffix(".yaml") for path in VARIANTS.glob("*.yaml"))


def display_name(source: str) -> str:
    """What a run is called by default: the names of its files, without folders and endings."""
    parts = [source] if os.path.isfile(source) else source.split(JOINT)
    return JOINT.join(Path(part).name.removesuffix(".yaml") for part in parts)


def find_recipe(name: str, beside: Path | None = None, place: str = "") -> list[Path]:
    """The files that a name stands for, in the order in which they are laid over each other.

    beside: a folder that is looked in first, for `extends`. place: where the name was written, for the message.
    Raises UserError with the nearest known name.
    """
    if (whole := _file_of(name, beside)) is not None:
        return [whole]
    parts = name.split(JOINT)
    return [
        _file_of(part, beside) or _variant(part, place, name, as_first=index == 0 and beside is None)
        for index, part in enumerate(parts)
    ]


def _file_of(name: str, beside: Path | None) -> Path | None:
    """A file beside the one that names it, one as written, or a recipe or part of this package."""
    if not name:
        return None
    stem = name.removesuffix(".yaml")
    candidates = [Path(name), BUILT_IN / f"{stem}.yaml"]
    if beside is not None:
        candidates.insert(0, beside / f"{stem}.yaml")
    return next((path for path in candidates if os.path.isfile(path)), None)


def _variant(name: str, place: str, whole: str, *, as_first: bool = False) -> Path:
    start = f"{place}: " if place else ""
    stem = name.removesuffix(".yaml")
    known = variant_names()
    if stem in known and not as_first:
        return VARIANTS / f"{stem}.yaml"
    if stem in known:
        raise UserError(
            f"{start}{stem!r} is a variant, laid over a recipe: write RECIPE{JOINT}{stem}, RECIPE one of "
            f"{', '.join(recipe_names())}"
        )
    kind = "recipe"
    if JOINT in whole and name != whole.split(JOINT)[0]:
        kind = f"variant of {whole.split(JOINT)[0]}"
    else:
        known = recipe_names() if as_first else [*recipe_names(), *known]
    if name.endswith((".yaml", ".yml")):
        folder = Path(name).parent
        beside = sorted(str(one) for one in folder.glob("*.y*ml")) if folder.is_dir() else []
        hint = f": did you mean {other}?" if (other := nearest(name, beside)) else ""
        raise UserError(f"{start}{name!r}: no such file{hint}")
    near = nearest(Path(stem).name, known)
    hint = f"did you mean {near}? " if near else ""
    raise UserError(f"{start}no {kind} {name!r}: {hint}a YAML file, or one of {', '.join(known)}")


def merged_settings(name: str) -> tuple[str, dict[str, Setting]]:
    """(the source under which the recipe is found again, its settings with everything it extends).

    Raises UserError naming file and line.
    """
    settings: dict[str, Setting] = {}
    layers = list(_layers(name))
    for _, own in layers:
        settings.update(own)
    if settings.pop(GOES_WITH, None):
        _check_combination(layers)
    paths = find_recipe(name)
    # A source ends in .yaml, by which `dipo watch` tells a recipe from a folder.
    source = str(paths[0]) if len(paths) == 1 else f"{name.removesuffix('.yaml')}.yaml"
    return source, settings


def _check_combination(layers: list[tuple[Path, dict[str, Setting]]]) -> None:
    names = {path.stem: path for path, _ in layers if path.parent in (BUILT_IN, VARIANTS)}
    for path, own in layers:
        if GOES_WITH not in own:
            continue
        listed = own[GOES_WITH].value
        for other in names:
            if other != path.stem and other not in listed:
                raise UserError(
                    f"{own[GOES_WITH].where}: {path.stem} is sized for {', '.join(listed)}, not for {other}: set what "
                    "you want of it in a recipe of your own"
                )


def own_files(name: str) -> list[Path]:
    """The user's own files that a recipe is made of, with everything it extends, each once."""
    built_in = BUILT_IN.resolve()
    return list(
        dict.fromkeys(path for path, _ in _layers(name) if not path.resolve().is_relative_to(built_in))
    )


def _layers(name: str) -> Iterator[tuple[Path, dict[str, Setting]]]:
    """Each file that a name stands for and its own settings, after those it extends: what comes later wins.

    A file that is reached twice is laid twice, so the number of layers can double with each file: MOST_LAYERS is the
    limit, beyond which UserError is raised.
    """
    return _Layers().of(name)


class _Layers:
    """The files met so far, each read once, and how many layers they make."""

    def __init__(self) -> None:
        self.read: dict[Path, dict[str, Setting]] = {}
        self.count = 0

    def of(
        self, name: str, above: tuple[Path, ...] = (), place: str = ""
    ) -> Iterator[tuple[Path, dict[str, Setting]]]:
        """above: the files that led here by `extends`, written at place."""
        for path in find_recipe(name, above[-1].parent if above else None, place):
            if path.resolve() in [other.resolve() for other in above]:
                circle = " -> ".join(_shown(one) for one in (*above, path))
                raise UserError(f"{place}: `extends` is circular: {circle}")
            self.count += 1
            if self.count > MOST_LAYERS:
                raise UserError(
                    f"{place or _shown(path)}: `extends` lays more than {MOST_LAYERS} files over each other: name each "
                    "file once"
                )
            settings = self._settings(path)
            if base := settings.get("extends"):
                for parent in _parent_names(base):
                    yield from self.of(parent, (*above, path), base.where)
            yield path, {key: setting for key, setting in settings.items() if key != "extends"}

    def _settings(self, path: Path) -> dict[str, Setting]:
        if path not in self.read:
            self.read[path] = read_settings(path, _shown(path))
        return self.read[path]


def _parent_names(base: Setting) -> list[str]:
    names = base.value if isinstance(base.value, list) else [base.value] if base.value is not None else []
    for name in names:
        if not isinstance(name, str) or not name:
            raise UserError(
                f"{base.where}: extends: {name!r} is not a name: give a recipe's name or file, or a list of them"
            )
    return names


def _shown(path: Path) -> str:
    """A file of this package by its place among the recipes, any other as it was named."""
    return str(path.relative_to(BUILT_IN)) if path.is_relative_to(BUILT_IN) else str(path)


def summary(path: Path) -> str:
    """What a recipe is, in one line: its first line of comment. Empty where there is none."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            return line.lstrip("# ").rstrip()
        if line.strip():
            break
    return ""
