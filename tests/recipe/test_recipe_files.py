"""Recipes are found by name, laid over each other in a stated order, and a mistake names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.files import (
    BUILT_IN,
    VARIANTS,
    display_name,
    find_recipe,
    merged_settings,
    recipe_names,
    summary,
    variant_names,
)
from dipo_openrlhf.recipe.yaml_lines import Setting, read_settings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of small recipes, where the commands are run."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "a": "x: a\ny: a\nz: a\n",
        "b": "y: b\nz: b\n",
        "c": "z: c\n",
        "both": "extends: [a, b]\nz: own\n",
        "turned": "extends: [b, a]\n",
        "nested": "extends: [both, c]\n",
        "diamond_left": "extends: a\nx: left\n",
        "diamond_right": "extends: a\ny: right\n",
        "diamond": "extends: [diamond_left, diamond_right]\n",
    }.items():
        Path(f"{name}.yaml").write_text(text)
    return tmp_path


def values(name: str) -> dict[str, str]:
    return {key: setting.value for key, setting in merged_settings(name)[1].items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("both", {"x": "a", "y": "b", "z": "own"}),
        ("turned", {"x": "a", "y": "a", "z": "a"}),
        ("nested", {"x": "a", "y": "b", "z": "c"}),
        ("a.yaml+b.yaml", {"x": "a", "y": "b", "z": "b"}),
        ("both.yaml+c.yaml", {"x": "a", "y": "b", "z": "c"}),
        # A parent that two share is applied twice: the later branch wins completely.
        ("diamond", {"x": "a", "y": "right", "z": "a"}),
    ],
)
def test_what_comes_later_wins_and_a_file_over_what_it_extends(folder, name, expected):
    name = name if name.endswith(".yaml") else f"{name}.yaml"
    assert values(name) == expected


def test_every_value_remembers_the_file_and_line_it_is_from(folder):
    settings = merged_settings("nested.yaml")[1]
    assert settings["x"].where.endswith("a.yaml:1")
    assert settings["y"].where.endswith("b.yaml:1")
    assert settings["z"].where.endswith("c.yaml:1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: 1\nextends: [a, nowhere]\n", ["r.yaml:2", "no recipe 'nowhere'"]),
        ("extends: [a, 3]\n", ["r.yaml:1", "extends: 3 is not a name"]),
        ("extends: true\n", ["r.yaml:1", "extends: True is not a name"]),
        ("extends: math_qwen3_4\n", ["r.yaml:1", "did you mean math_qwen3_4b?"]),
        ("extends: math_qwen3_4b+dappo\n", ["r.yaml:1", "no variant of math_qwen3_4b 'dappo'", "dapo?"]),
        ("extends: [math_qwen3_4b, hard_onli]\n", ["r.yaml:1", "did you mean hard_only?"]),
    ],
)
def test_a_parent_that_is_not_there(folder, text, words):
    Path("r.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        merged_settings("r.yaml")
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_circle_is_named_with_the_line_that_closes_it(folder):
    Path("p.yaml").write_text("extends: [a, q]\n")
    Path("q.yaml").write_text("x: 1\nextends: p\n")
    with pytest.raises(
        UserError, match=r"q\.yaml:2: `extends` is circular: p\.yaml -> .*q\.yaml -> .*p\.yaml"
    ):
        merged_settings("p.yaml")


@pytest.mark.parametrize("parents", ["r{n}", "[r{n}, r{n}]"], ids=["a long chain", "doubled in each file"])
def test_more_layers_than_anyone_needs_are_refused_at_once(folder, parents):
    for number in range(300):
        Path(f"r{number}.yaml").write_text(f"extends: {parents.format(n=number + 1)}\n")
    Path("r300.yaml").write_text("x: 1\n")
    with pytest.raises(UserError, match=r"r\d+\.yaml:1: `extends` lays more than 200 files over each other"):
        merged_settings("r0.yaml")
    Path("wide.yaml").write_text(f"extends: [{', '.join(['a'] * 300)}]\n")
    with pytest.raises(UserError, match=r"wide\.yaml:1: .* more than 200 files"):
        merged_settings("wide.yaml")


def test_a_users_recipe_takes_variants_in_extends_and_after_a_plus(folder):
    Path("mine.yaml").write_text("extends: [math_qwen3_4b, dapo, 4x8]\n")
    settings = merged_settings("mine.yaml")[1]
    assert settings["dipo.method"].where == "variants/dapo.yaml:3"
    assert settings["run.nodes"].value == 4
    source, plus = merged_settings("mine.yaml+alpha_1.0")
    assert plus["dipo.alpha"].value == 1.0
    assert source == "mine.yaml+alpha_1.0.yaml"
    assert display_name(source) == "mine+alpha_1.0"
    assert merged_settings(source)[1] == plus  # what `dipo watch` reads later


def test_names_of_runs():
    assert display_name("math_qwen3_4b+alpha_0.01+4x8") == "math_qwen3_4b+alpha_0.01+4x8"
    assert display_name("some/where/mine.yaml+dapo") == "mine+dapo"
    assert display_name(str(BUILT_IN / "quickstart.yaml")) == "quickstart"


def test_a_path_with_a_plus_is_one_file(tmp_path):
    path = tmp_path / "c++" / "r.yaml"
    path.parent.mkdir()
    path.write_text("x: 1\n")
    assert find_recipe(str(path)) == [path]
    assert display_name(str(path)) == "r"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("math_qwen2.5_7b", ["did you mean math_qwen25_7b?"]),
        ("tool_qwen25_3b", ["did you mean tools_qwen25_3b?"]),
        ("dapo", ["is a variant", "write RECIPE+dapo"]),
        ("math_qwen3_4b+8x4", ["no variant of math_qwen3_4b '8x4'", "one of 4x8,"]),
        ("math_qwen3_4b+", ["no variant of math_qwen3_4b ''"]),
        ("+dapo", ["no recipe ''"]),
    ],
)
def test_an_unknown_name_gets_the_nearest(folder, name, words):
    with pytest.raises(UserError) as caught:
        find_recipe(name)
    for word in words:
        assert word in str(caught.value)


def test_the_first_line_of_every_shipped_file_describes_it():
    paths = [BUILT_IN / f"{name}.yaml" for name in recipe_names()]
    paths += [VARIANTS / f"{name}.yaml" for name in variant_names()]
    assert len(paths) > 15
    for path in paths:
        assert 20 < len(summary(path)) < 110, path


def test_no_summary_where_there_is_no_comment(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("x: 1\n# later\n")
    assert summary(path) == ""


def test_anchors_and_merge_keys(tmp_path):
    (tmp_path / "r.yaml").write_text(
        "x-adam: &adam {lr: 2.0e-6, eps: 1.0e-7}\n"
        "actor:\n  model_name_or_path: m\n  adam:\n    <<: *adam\n    lr: 3.0e-6\n"
        "data: {prompt_dataset: d.jsonl}\n"
    )
    settings = read_settings(tmp_path / "r.yaml", "r.yaml")
    assert settings["actor.adam.lr"] == Setting(3e-6, "r.yaml:6")
    assert settings["actor.adam.eps"] == Setting(1e-7, "r.yaml:1")
    assert not any(key.startswith(("x-", "actor.adam.<<")) for key in settings)


@pytest.mark.parametrize("merged", ["3", "[1, 2]", "text"])
def test_what_cannot_be_merged(tmp_path, merged):
    (tmp_path / "r.yaml").write_text(f"actor:\n  adam:\n    <<: {merged}\n")
    with pytest.raises(UserError, match=r"^r.yaml:3: .*expected a mapping"):
        read_settings(tmp_path / "r.yaml", "r.yaml")
