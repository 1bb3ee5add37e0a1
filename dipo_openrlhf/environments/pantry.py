"""A pantry whose stock must reach given counts: the smallest environment, to copy (docs/adding_an_environment.md).

A row: {"input": "The pantry has 2 jars of rice. Make it 5 of rice and 1 of salt.",
        "label": {"environment": "pantry", "stock": {"rice": 2}, "wanted": {"rice": 5, "salt": 1}}}
"""

from __future__ import annotations

from typing import Any

from dipo_openrlhf.environments.environment import Environment

SHELF = 20


class Pantry(Environment):
    """Correct where the stock is exactly the wanted one; half a point where only some counts are."""

    def __init__(self, task: dict[str, Any]) -> None:
        super().__init__(task)
        self._stock: dict[str, int] = dict(task["stock"])

    def count(self, item: str) -> int:
        """How many jars of an item there are."""
        return self._stock.get(item, 0)

    def add(self, item: str, jars: int) -> str:
        """Put jars of an item on the shelf, which holds 20 jars in all."""
        if jars <= 0:
            raise ValueError("jars must be positive")
        if sum(self._stock.values()) + jars > SHELF:
            raise ValueError(f"the shelf holds {SHELF} jars, {sum(self._stock.values())} are on it")
        self._stock[item] = self.count(item) + jars
        return f"{self._stock[item]} jars of {item}"

    def take(self, item: str, jars: int) -> str:
        """Take jars of an item from the shelf."""
        if not 0 < jars <= self.count(item):
            raise ValueError(f"there are {self.count(item)} jars of {item}")
        self._stock[item] -= jars
        return f"{self._stock[item]} jars of {item}"

    def reward(self, answer: str) -> float:
        """1 for the wanted stock, 0.5 where one wanted count at least is right, else 0."""
        wanted: dict[str, int] = self.task["wanted"]
        if all(self.count(item) == wanted.get(item, 0) for item in self._stock.keys() | wanted):
            return 1.0
        return 0.5 if any(self.count(item) == jars for item, jars in wanted.items()) else 0.0


ENVIRONMENT = Pantry
