"""What an environment is: one class whose public methods are tools and whose `reward` judges the end.

An instance lives for one question of the executor: the episode so far is played again on a fresh one, in a worker process
(worker.py). So what happens may depend on the task and the calls alone: no clock, no network, no unseeded random numbers.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, get_type_hints

import pydantic

from dipo_eval.discovery import unknown
from dipo_eval.errors import UserError, one_line, short_repr
from dipo_eval.grading.calls.dispatch import Dispatcher

Message = dict[str, Any]
"""As a chat template takes it: role and content."""


class Environment:
    """One task. A subclass's public methods are the tools, except those that are defined here.

    A tool's docstring is its description, its type hints are the JSON schema of its arguments, which are checked strictly
    before it is called. What it returns is shown to the model as text, and what it raises as an error's message.
    `__init__` makes the state from `task`, the row's label.
    """

    max_turns: ClassVar[int] = 16
    """Messages of the model in an episode."""
    max_seconds: ClassVar[float] = 600.0
    """For an episode, sampling included."""
    call_seconds: ClassVar[float] = 10.0
    """For the calls of one message, after those of all earlier ones; and for the reward."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task

    def messages(self, prompt: str) -> list[Message]:
        """The first messages. `prompt`: the row's, as text."""
        return [{"role": "user", "content": prompt}]

    def reply(self, text: str) -> list[Message]:
        """The user's next messages after one of the model without calls; [] where the episode is over."""
        return []

    def reward(self, answer: str) -> float:
        """Of the final state, 0 to 1; 1 alone counts as correct. `answer`: the model's last message without thoughts."""
        raise NotImplementedError

    def tools(self) -> list[dict[str, Any]]:
        """The tools as a chat template takes them."""
        return [tool_schema(getattr(type(self), name)) for name in self.tool_names()]

    def run(self, calls: Sequence[str]) -> list[str]:
        """The results of one message's calls, each given as text, in order."""
        return Dispatcher({name: _checked(getattr(self, name)) for name in self.tool_names()}).run(calls)

    @classmethod
    def tool_names(cls) -> list[str]:
        """The methods that a call may name."""
        found = inspect.getmembers(cls, inspect.isfunction)
        return [name for name, _ in found if not name.startswith("_") and not hasattr(Environment, name)]


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that checks its arguments by their type hints, and says of wrong ones which and why."""
    strictly = pydantic.validate_call(config=pydantic.ConfigDict(strict=True))(method)

    def call(*given: Any, **named: Any) -> Any:
        try:
            return strictly(*given, **named)
        except pydantic.ValidationError as error:
            said = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            raise TypeError("; ".join(said)) from None

    return call


def tool_schema(method: Callable[..., Any]) -> dict[str, Any]:
    """A method as a tool. Raises TypeError where a parameter has no type hint."""
    hints = get_type_hints(method)
    properties, required = {}, []
    for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
        if name not in hints:
            raise TypeError(
                f"{method.__qualname__}: parameter {name!r} has no type hint, its schema is unknown"
            )
        properties[name] = pydantic.TypeAdapter(hints[name]).json_schema()
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
    parameters = {"type": "object", "properties": properties, "required": required}
    description = inspect.getdoc(method) or ""
    function = {"name": method.__name__, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def check_environment(found: Any) -> None:
    """Raise UserError for what is no environment: no class of one, without a reward, or with a tool without hints."""
    if not (isinstance(found, type) and issubclass(found, Environment)):
        raise UserError(
            f"{short_repr(found)} is no environment: give the class, one that derives from Environment"
        )
    if found.reward is Environment.reward:
        raise UserError(f"{found.__name__} has no method reward(self, answer), which judges the end")
    try:
        for name in found.tool_names():
            tool_schema(getattr(found, name))
    except (TypeError, NameError, pydantic.PydanticUserError) as error:
        raise UserError(f"{found.__name__}: {one_line(error)}") from None


def names() -> list[str]:
    """The environments of this package."""
    package = importlib.import_module("dipo_openrlhf.environments")
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return sorted(name for name in modules if name not in _OTHERS and not name.startswith("_"))


_OTHERS = ("environment", "from_verifiers", "worker")


def get(name: str) -> type[Environment]:
    """The environment of the file NAME.py. Raises UserError for an unknown name."""
    if name not in names():
        raise unknown("environment", name, names())
    found: type[Environment] = importlib.import_module(f"dipo_openrlhf.environments.{name}").ENVIRONMENT
    return found
