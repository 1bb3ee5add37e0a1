"""A gate's limits: its YAML, checked so that a mistake is one line with key, line and remedy."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from dipo_eval.discovery import unknown
from dipo_eval.errors import UserError
from dipo_eval.files.yaml_file import compose_yaml, line_of, value_of
from dipo_eval.results.comparable import check_may_differ
from dipo_eval.results.store import is_safe_name
from dipo_eval.results.stored_checks import shown

MARGIN_RANGE = "must lie between 0 and 1; 0.01 is one point"
_EXPECTED = {
    "": "must hold keys with values, such as margin: 0.01",
    "margin": MARGIN_RANGE,
    "confidence": "must lie between 0.5 and 1; 0.95 is usual",
    "max_undecided": "must lie between 0 and 1; 0.05 is 5% of the samples",
    "suites": "must give each suite its limits, such as suites: {gsm8k: {margin: 0.02}}",
    "suites.*": "must hold the suite's limits, such as {margin: 0.02}, or {} for the general ones",
    "may_differ": "must be a list of settings, such as [engine, dtype]",
}


class SuiteLimits(BaseModel):
    """`suites.NAME:` of a gate's YAML."""

    model_config = ConfigDict(extra="forbid", strict=True)

    margin: float | None = Field(
        None, gt=0, lt=1, description="Largest drop that passes, a share: 0.01 is one point."
    )


class GateConfig(BaseModel):
    """A gate's YAML. With `suites`, exactly those are compared, and a missing one is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)

    margin: float = Field(0.01, gt=0, lt=1, description="Largest drop that passes where a suite names none.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="One-sided confidence of every decision.")
    max_undecided: float = Field(
        0.05, ge=0, le=1, description="Share of undecided verdicts above which a suite cannot be judged."
    )
    suites: dict[str, SuiteLimits] = Field(default_factory=dict, description="Suite -> its own limits.")
    may_differ: list[str] = Field(
        default_factory=list, description="Settings that need not agree, such as engine; they are shown."
    )
    _path: Path | None = PrivateAttr(None)
    _node: yaml.Node | None = PrivateAttr(None)

    def margin_of(self, suite: str) -> float:
        """The suite's own margin, else the general one."""
        own = self.suites.get(suite)
        return self.margin if own is None or own.margin is None else own.margin

    def where(self, *key: str | int) -> str:
        """File, line and key of a value, for a message."""
        return _place(self._path, self._node, key)

    def check_suites(self, known: Collection[str]) -> None:
        """Raises UserError for a suite that is none of the known ones, those of either side."""
        for name in self.suites:
            if known and name not in known:
                raise UserError(
                    f"{self.where('suites', name)}: neither side has it: {unknown('suite', name, sorted(known))}"
                )

    def check_may_differ(self, known: Collection[str]) -> None:
        """Raises UserError for a name that is no setting, and for one that nothing may let differ."""
        for position, name in enumerate(self.may_differ):
            try:
                check_may_differ(name, known)
            except UserError as error:
                raise UserError(f"{self.where('may_differ', position)}: {error}") from None


def read_config(path: Path | None) -> GateConfig:
    """The YAML, or the defaults without one. Raises UserError naming file, line and key."""
    if path is None:
        return GateConfig.model_validate({})
    node = compose_yaml(path, str(path))
    content = None if node is None else value_of(node, str(path))
    try:
        config = GateConfig.model_validate({} if content is None else content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, problem = _place(path, node, first["loc"]), _problem(first["type"], first["loc"])
        given = "" if first["type"] == "extra_forbidden" else f"{shown(first['input'])}: "
        raise UserError(f"{place}: {given}{problem}") from None
    config._path, config._node = path, node
    config.check_may_differ(())
    for name in config.suites:
        if not is_safe_name(name):
            raise UserError(f"{config.where('suites')}: {shown(name)} cannot be the name of a suite")
    return config


def read_limits(config: Path | None, margin: str | None) -> GateConfig:
    """The YAML's, with the margin of the command line where it has one. Raises UserError."""
    limits = read_config(config)
    if margin is None:
        return limits
    try:
        share = float(margin)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise UserError(f"--margin {shown(margin)[1:-1]}: {MARGIN_RANGE}")
    return limits.model_copy(update={"margin": share})


def _problem(kind: str, key: Sequence[str | int]) -> str:
    """What is wrong with the value of a key, and what it must be."""
    if kind == "extra_forbidden":
        model: type[BaseModel] = GateConfig if len(key) == 1 else SuiteLimits
        return str(unknown("key", str(key[-1]), model.model_fields))
    name = str(key[0]) if key else ""
    if name == "suites" and len(key) > 1:
        name = "suites.*" if len(key) == 2 else "margin"
    return _EXPECTED[name]


def _place(path: Path | None, node: yaml.Node | None, key: Sequence[str | int]) -> str:
    line = line_of(node, key) if node is not None and key else None
    named = ".".join(shown(part)[1:-1] if isinstance(part, str) else str(part) for part in key)
    return ": ".join(part for part in (f"{path or ''}{f':{line}' if line else ''}", named) if part)
