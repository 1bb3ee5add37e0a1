"""Every key of a recipe with its type, default, range and meaning: what reference.py writes out."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dipo_openrlhf.algorithm import DipoConfig, methods
from dipo_openrlhf.recipe.defaults import COMMON_DEFAULTS, CPU_DEFAULTS, method_defaults
from dipo_openrlhf.recipe.meanings import MEANINGS
from dipo_openrlhf.recipe.openrlhf_args import CPU_CHOICES, OWN_CHOICES, openrlhf_actions
from dipo_openrlhf.recipe.ranges import RANGES, WORDS, Range
from dipo_openrlhf.recipe.schema import SECTIONS

# What add_paths, add_engines and the clock decide.
_COMPUTED = {
    "reward.remote_url": "math",
    "ckpt.path": "ckpt in run.dir",
    "ckpt.output_dir": "final in run.dir",
    "vllm.num_engines": "what fits",
    "logger.wandb.run_name": "the run's name",
}


@dataclass(frozen=True)
class Key:
    """One key. `kind`: of one value. `count`: values of a list, 0 for any number; None: no list.

    `default`: as a YAML value, unless `computed` describes it. `on_cpu`: the default of a CPU run, where it is another.
    """

    name: str
    kind: type
    meaning: str
    default: Any = None
    count: int | None = None
    choices: tuple[str, ...] = ()
    allowed: Range | None = None
    computed: str = ""
    on_cpu: Any = None


def all_keys() -> list[Key]:
    """Ours first, then OpenRLHF's, each in its own order."""
    return [*_own_keys(), *_dipo_keys(), *(_openrlhf_key(name) for name in openrlhf_actions())]


def _own_keys() -> Iterator[Key]:
    for section, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            kind, choices, count = _parts(field.annotation)
            limits = {
                key: getattr(one, key) for one in field.metadata for key in ("ge", "le") if hasattr(one, key)
            }
            allowed = Range(limits["ge"], limits.get("le", float("inf"))) if limits else None
            default = field.get_default(call_default_factory=True)
            meaning = _one_line(field.description or "")
            yield Key(f"{section}.{name}", kind, meaning, default, count, choices, allowed)


def _dipo_keys() -> Iterator[Key]:
    hints, meanings = get_type_hints(DipoConfig), _docstrings(DipoConfig)
    for field in dataclasses.fields(DipoConfig):
        kind, choices, _ = _parts(hints[field.name])
        if field.name == "method":
            choices = tuple(methods.names())
        limits = DipoConfig.LIMITS.get(field.name)
        allowed = limits and Range(limits.low, limits.high, above=limits.open, below=limits.open)
        yield Key(f"dipo.{field.name}", kind, meanings[field.name], field.default, None, choices, allowed)


def _openrlhf_key(name: str) -> Key:
    action = openrlhf_actions()[name]
    kind = bool if action.nargs == 0 else action.type if isinstance(action.type, type) else str
    ours = {**method_defaults(DipoConfig().method), **COMMON_DEFAULTS}
    default = False if kind is bool else action.default
    return Key(
        name,
        kind,
        MEANINGS.get(name) or _one_line(action.help or ""),
        ours.get(name, default),
        count=action.nargs if isinstance(action.nargs, int) and action.nargs else 0 if action.nargs else None,
        choices=(
            *(action.choices or WORDS.get(name, ())),
            *OWN_CHOICES.get(name, ()),
            *CPU_CHOICES.get(name, ()),
        ),
        allowed=RANGES.get(name),
        computed=_COMPUTED.get(name, ""),
        on_cpu=CPU_DEFAULTS.get(name),
    )


def _parts(annotation: Any) -> tuple[type, tuple[str, ...], int | None]:
    """(type of one value, its choices, values of a list) of a field's annotation."""
    if get_origin(annotation) is Literal:
        return str, get_args(annotation), None
    if get_origin(annotation) is list:
        return get_args(annotation)[0], (), 0
    if get_origin(annotation) is types.UnionType:
        return get_args(annotation)[0], (), None
    return annotation, (), None


def _docstrings(declared: type) -> dict[str, str]:
    """Field -> the docstring below it."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(declared))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = _one_line(ast.literal_eval(below.value))  # type: ignore[attr-defined]
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
