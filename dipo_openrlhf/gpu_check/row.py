"""One row of the table: what was compared, what was found, and what it means where it fails."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """passed: None where it is not measured here. meaning: of a failure, and what to do; or why it is not measured."""

    name: str
    passed: bool | None
    found: str
    limit: str
    meaning: str = ""
    figures: dict[Any, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return {True: "pass", False: "FAIL", None: "not measured here"}[self.passed]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "result": self.word}
