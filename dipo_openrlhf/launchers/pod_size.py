"""Cores and memory that a pod requests: what the recipe's estimate says, unless the user gives another size."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate.host import cores, host_memory, least_cores
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.workload import GIB, workload_of
from dipo_openrlhf.recipe.placement import Needs
from dipo_openrlhf.recipe.recipe import Recipe

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([kKMGTP]i?)?", re.ASCII)
_MOST = 1024**6  # bytes, 1 EiB: above all machines
_STEP = 8  # GiB to which the memory is rounded up


def quantity_bytes(text: str) -> float:
    """Bytes of a Kubernetes quantity, such as 128Gi. Raises UserError, for none and for more than 1 EiB too."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise UserError(f"--memory {text!r}: write a quantity of Kubernetes, such as 512Gi")
    number, unit = found.groups()
    base = 1024 if (unit or "").endswith("i") else 1000
    size = float(number) * base ** ("kMGTP".index(unit[0].replace("K", "k")) + 1 if unit else 0)
    if not 0 < size <= _MOST:
        raise UserError(f"--memory {text!r}: no machine has this: write a quantity such as 512Gi")
    return size


def pod_size(
    recipe: Recipe,
    needs: Needs,
    given_cores: int | None,
    given_memory: str | None,
    warn: Callable[[str], None],
) -> tuple[int, str]:
    """(cores, memory) of each pod; `warn` gets a line for a size below the estimate.

    Raises UserError for fewer cores than Ray asks for, and without --memory for a model that is not known here.
    """
    return _cores(recipe, needs, given_cores, warn), _memory(recipe, needs, given_memory, warn)


def _cores(recipe: Recipe, needs: Needs, given: int | None, warn: Callable[[str], None]) -> int:
    estimate, least = cores(recipe, needs.layout), least_cores(recipe, needs.layout)
    if given is None:
        return int(estimate.value)
    if given < least:
        raise UserError(
            f"--cpus {given}: Ray takes a core with each GPU, one for the trainer and the watcher's: at least {least}, "
            "else the run waits forever"
        )
    if given < estimate.value:
        warn(
            f"--cpus {given} is below the estimate, {estimate.value:.0f}: {estimate.how}; slow graders leave samples "
            "undecided"
        )
    return given


def _memory(recipe: Recipe, needs: Needs, given: str | None, warn: Callable[[str], None]) -> str:
    size = quantity_bytes(given) if given is not None else 0.0
    assume = Assumptions()
    try:
        found = host_memory(recipe, needs.layout, workload_of(recipe, assume), assume)
    except UserError as error:  # a model whose shape is not known on this machine
        if given is None:
            raise UserError(f"--memory is missing, and cannot be estimated: {error}") from None
        return given
    estimate = math.ceil(found.total.value / GIB / _STEP) * _STEP
    if given is None:
        return f"{estimate}Gi"
    if size < found.total.value:
        parts = " + ".join(f"{line.what} {line.value / GIB:.0f}" for line in found.lines)
        warn(f"--memory {given} is below the estimate, {estimate}Gi: {parts}; the pod may be killed")
    return given
