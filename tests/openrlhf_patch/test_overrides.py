"""The table of overrides is complete and has no stale entry, and another release of OpenRLHF is refused."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import dipo_openrlhf.openrlhf_patch as package
from dipo_eval.errors import UserError
from dipo_openrlhf.openrlhf_patch import overrides
from dipo_openrlhf.openrlhf_patch.driver import engine_dtype
from dipo_openrlhf.openrlhf_patch.overrides import OVERRIDES, Override, resolve

SOURCES = [ast.parse(path.read_text()) for path in sorted(Path(package.__file__).parent.rglob("*.py"))]


def our_modules() -> list[Any]:
    names = [each.name for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [importlib.import_module(name) for name in names]


def is_openrlhfs(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "openrlhf"


def overridden(cls: type) -> set[tuple[type, str]]:
    """(OpenRLHF's class, method) of each method of `cls` that one of our classes defines before OpenRLHF's in the MRO."""
    found = set()
    for place, ours in enumerate(cls.__mro__):
        if ours.__module__.startswith(package.__name__):
            for name, value in vars(ours).items():
                is_method = inspect.isroutine(value) or isinstance(value, property)
                owners = [
                    base for base in cls.__mro__[place + 1 :] if is_openrlhfs(base) and name in vars(base)
                ]
                if is_method and owners:
                    found.add((owners[0], name))
    return found


def all_overridden(modules: list[Any]) -> set[tuple[type, str]]:
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and any(map(is_openrlhfs, value.__mro__))
    }
    assert len(classes) >= 12
    return set().union(*map(overridden, classes))


def listed(table: tuple[Override, ...]) -> dict[tuple[type, str], Override]:
    """The table's methods by the class that defines them."""
    found = {}
    for override in table:
        owner_path, _, name = override.path.rpartition(".")
        owner = resolve(owner_path) if ":" in owner_path else None
        if inspect.isclass(owner):
            definer = next(base for base in owner.__mro__ if name in vars(base))
            found[definer, name] = override
    return found


def missing(modules: list[Any], table: tuple[Override, ...]) -> list[str]:
    known = listed(table)
    return [f"{cls.__name__}.{name}" for cls, name in all_overridden(modules) if (cls, name) not in known]


def called() -> set[str]:
    """Names of all functions and methods that our modules call, `x.name.remote()` included, or set in a module."""
    calls = [node.func for tree in SOURCES for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls += [func.value for func in calls if isinstance(func, ast.Attribute) and func.attr == "remote"]
    names = {func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in calls}
    assigned = [
        node.targets[0] for tree in SOURCES for node in ast.walk(tree) if isinstance(node, ast.Assign)
    ]
    return names | {target.attr for target in assigned if isinstance(target, ast.Attribute)}


def stale(modules: list[Any], table: tuple[Override, ...]) -> list[str]:
    ours = all_overridden(modules)
    used = called()
    methods = {override.path: key for key, override in listed(table).items()}
    return [
        override.path
        for override in table
        if methods.get(override.path) not in ours
        and override.path.replace(":", ".").rsplit(".", 1)[-1] not in used
    ]


def test_every_overridden_method_is_listed() -> None:
    assert missing(our_modules(), OVERRIDES) == []


def test_an_override_that_is_not_listed_is_found() -> None:
    without = tuple(
        each for each in OVERRIDES if not each.path.endswith("PolicyModelActor.__ray_actor_class__.fit")
    )
    assert len(without) == len(OVERRIDES) - 1
    assert missing(our_modules(), without) == ["PolicyModelActor.fit"]


def test_no_entry_is_stale() -> None:
    assert stale(our_modules(), OVERRIDES) == []


def test_a_stale_entry_is_found() -> None:
    more = Override("openrlhf.trainer.ppo_trainer:BasePPOTrainer._compute_rollout_stats", ("self",), "test")
    assert stale(our_modules(), (*OVERRIDES, more)) == [more.path]


def test_every_imported_function_of_openrlhf_is_listed() -> None:
    paths = {override.path for override in OVERRIDES}
    imported = {
        f"{node.module}:{alias.name}"
        for tree in SOURCES
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("openrlhf.")
        for alias in node.names
    }
    functions = {path for path in imported if inspect.isfunction(resolve(path))}
    assert functions
    assert functions <= paths


def test_no_method_is_listed_twice() -> None:
    assert len({override.path for override in OVERRIDES}) == len(OVERRIDES)


def test_the_installed_release_is_the_one_that_was_checked() -> None:
    overrides.check_version()
    overrides.check_overrides()


@pytest.mark.parametrize("found", ["0.11.1", "0.11.3", "0.12.0", "0.11.2.post1"])
def test_another_release_is_refused(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: found)
    with pytest.raises(UserError, match=rf"OpenRLHF {found} is installed.*0\.11\.2"):
        overrides.check_version()


def test_a_missing_openrlhf_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", raises)
    with pytest.raises(UserError, match="not installed"):
        overrides.check_version()


@pytest.mark.parametrize(
    "override",
    [
        Override("openrlhf.trainer.ppo_trainer:BasePPOTrainer.no_such_method", ("self",), "test"),
        Override("openrlhf.trainer.ppo_trainer:BasePPOTrainer.train_step", ("self", "other"), "test"),
    ],
)
def test_a_changed_method_is_named(monkeypatch: pytest.MonkeyPatch, override: Override) -> None:
    monkeypatch.setattr(overrides, "OVERRIDES", (override,))
    with pytest.raises(UserError, match=override.path.rsplit(".", 1)[-1]):
        overrides.check_overrides()


@pytest.mark.parametrize(
    ("argv", "dtype"),
    [
        ([], {}),
        (["--ds.param_dtype", "bf16"], {}),
        (["--ds.param_dtype", "fp16"], {"dtype": "float16"}),
        (["--train.async_enable", "--ds.param_dtype", "fp32"], {"dtype": "float32"}),
        (["--ds.param_dtype", "bf16", "--ds.grad_accum_dtype", "fp32"], {}),
    ],
)
def test_engines_have_the_type_of_the_trained_weights(argv, dtype):
    assert engine_dtype(argv) == dtype
