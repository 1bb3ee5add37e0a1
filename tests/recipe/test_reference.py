"""docs/reference.md and the editors' schema are made of what checks a recipe, and say the same as it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from dipo_eval.files.yaml_file import compose_yaml, value_of
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.cli import app
from dipo_openrlhf.recipe.defaults import method_defaults
from dipo_openrlhf.recipe.files import BUILT_IN
from dipo_openrlhf.recipe.keys import Key, all_keys
from dipo_openrlhf.recipe.load import known_keys

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = DOCS / "reference.md"
KEYS = all_keys()
SHIPPED = sorted(BUILT_IN.rglob("*.yaml"))


def printed(option: str) -> str:
    result = CliRunner().invoke(app, ["recipes", option], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.fixture(scope="module")
def check() -> jsonschema.Draft202012Validator:
    schema = json.loads(printed("--schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def content(path: Path) -> Any:
    node = compose_yaml(path, path.name)
    assert node is not None
    return value_of(node, path.name)


def test_the_document_has_every_key() -> None:
    made = printed("--reference")
    assert DOCUMENT.read_text(encoding="utf-8") == made, "run dipo recipes --reference > docs/reference.md"
    assert all(f"| `{name}` |" in made for name in known_keys())


@pytest.mark.parametrize("name", methods.names())
def test_each_method_has_its_rows(name: str) -> None:
    """docs/recipes.md, "What a method sets", and docs/algorithm.md, "Other methods"."""
    found, defaults = methods.get(name), method_defaults(name)
    low, high = defaults["actor.eps_clip_low_high"]
    dynamic = "all-correct groups" if found.keeps_all_incorrect else "yes" if found.dynamic_sampling else "no"
    mode, estimator = defaults["actor.loss_agg_mode"], defaults["algo.advantage.estimator"]
    row = f"| `{name}` | {low:g} {high:g} | {mode} | {estimator} | {dynamic} |\n"
    assert row in (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert defaults["algo.kl.init_coef"] == 0
    other = f"\n| `{name}` | [{found.source.rpartition('/')[2]}]({found.source})"
    assert name == "dipo" or other in (DOCS / "algorithm.md").read_text(encoding="utf-8")


def test_every_key_has_a_meaning() -> None:
    assert [key.name for key in KEYS] == known_keys()
    assert [key.name for key in KEYS if not key.meaning or "\n" in key.meaning] == []


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_shipped_recipes_are_valid(check: jsonschema.Draft202012Validator, path: Path) -> None:
    check.validate(content(path))


@pytest.mark.parametrize(
    "recipe",
    [
        {"actor.adam.lr": 1e-6, "actor": {"adam.eps": 1e-8, "max_norm": 1}},
        {"extends": ["quickstart", "mine.yaml"], "run": {"dir": "x", "nodes": None}, "watch": None},
        {"x-rates": {"anything": [1]}, "actor": {"adam": {"<<": {"lr": 1e-6}}}},
        {"actor": {"eps_clip_low_high": [0.2, 0.28]}, "ds": {"lora": {"target_modules": "q_proj"}}},
        {"ckpt": {"save_steps": -1}, "evaluate": {"suites": "gsm8k,math500"}},
    ],
)
def test_what_a_recipe_may_say(check: jsonschema.Draft202012Validator, recipe: dict[str, Any]) -> None:
    check.validate(recipe)


@pytest.mark.parametrize(
    "recipe",
    [
        {"actor": {"adam": {"learning_rate": 1e-6}}}, {"actr.adam.lr": 1e-6}, {"lr": 1e-6}, {"run": {"directory": "x"}},
        {"dipo": {"alpha": "high"}}, {"dipo": {"alpha": -1}}, {"dipo": {"method": "ppo"}}, {"dipo": {"confidence": 1}},
        {"run": {"save_rollouts": "yes"}}, {"watch": {"nice": 20}}, {"train": {"seed": 2**32}}, {"actor": "Qwen/Q"},
        {"rollout": {"temperature": 0}}, {"actor": {"adam": {"betas": [0.9]}}}, {"rollout": {"batch_size": 1.5}},
        {"evaluate": {"suites": [1]}}, {"ckpt": {"save_steps": 0}}, {"extends": 3}, ["a"],
    ],
    ids=str,
)  # fmt: skip
def test_what_a_recipe_must_not_say(check: jsonschema.Draft202012Validator, recipe: Any) -> None:
    assert not check.is_valid(recipe)


@pytest.mark.parametrize("key", [key for key in KEYS if key.allowed], ids=lambda key: key.name)
def test_ranges_are_those_of_the_check(check: jsonschema.Draft202012Validator, key: Key) -> None:
    assert key.allowed is not None
    ends = [end for end in (key.allowed.low, key.allowed.high) if not math.isinf(end)]
    for value in [float(end + by) for end in ends for by in (-2, 0, 2)]:
        listed = [value] * (key.count or 1) if key.count is not None else value
        assert check.is_valid({key.name: listed}) == key.allowed.holds(value), value


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_type_is_held_to(check: jsonschema.Draft202012Validator, key: Key) -> None:
    assert check.is_valid({key.name: None})
    assert not check.is_valid({key.name: {"a": 1}})
    assert key.kind is str or not check.is_valid({key.name: "word"})
    assert key.kind is bool or not check.is_valid({key.name: True})
