"""Command-line options declared once, as the fields of a dataclass. Imports little, so that `dipo --help` stays quick."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def takes_options(declared: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose last parameter, `options: declared`, becomes one typer option for each field of that dataclass.

    A field is `NAME: Annotated[TYPE, typer.Option(...)] = DEFAULT`.
    """
    hints = get_type_hints(declared, include_extras=True)
    added = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=[] if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(declared)
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            options = declared(**{parameter.name: given.pop(parameter.name) for parameter in added})
            command(**given, options=options)

        signature = inspect.signature(command, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]
        parameters = [*(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own), *added]
        with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {one.name: one.annotation for one in parameters}
        return with_options

    return decorate
