"""A comparison's YAML: what is wrong with it is one line with key and line."""

from __future__ import annotations

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.compare.choose import chosen
from dipo_openrlhf.compare.read import read_comparison, shipped
from dipo_openrlhf.compare.spec import Comparison, SeedsSection, entry_of

GOOD = "tasks: [mixed]\nmethods: {grpo: {}, dipo: {alpha: 0.2, lr: 3.0e-4}}\n"


def read(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return read_comparison(str(path))


def test_a_comparison_has_its_files_name_and_the_switches_of_its_entries(tmp_path):
    found = read(tmp_path, GOOD)
    assert found.name == "mine"
    dipo = found.entry("dipo")
    assert (dipo.dipo.method, dipo.dipo.alpha, dipo.lr) == ("dipo", 0.2, 3e-4)
    assert found.entry("grpo").lr is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (GOOD + "tusks: 1\n", "mine.yaml:3: unknown key 'tusks': did you mean 'tasks'?"),
        (GOOD + "train: {lr: 0}\n", "mine.yaml:3: train.lr: 0: must be greater than 0"),
        (GOOD + "train:\n  lrr: 1\n", "mine.yaml:4: train: unknown key 'lrr': did you mean 'lr'?"),
        (GOOD + "seeds:\n  least: 6\n  most: 4\n", "mine.yaml:5: seeds.most: 4: must be at least seeds.least = 6"),
        (GOOD + "baseline: gpro\n", "mine.yaml:3: baseline: unknown entry of methods 'gpro': did you mean 'grpo'?"),
        ("methods: {grpo: {}}\n", "mine.yaml:1: tasks: is missing"),
        ("tasks: [mixed]\nmethods: {grpo: {}}\n", "mine.yaml:2: methods: one method has nothing to be compared with"),
        (
            GOOD + "evaluate: {items: 100000}\n",
            "mine.yaml:3: evaluate.items: 100000: mixed: the test split has only",
        ),
        (
            "tasks: [mixt]\nmethods: {grpo: {}, dipo: {}}\n",
            "mine.yaml:1: tasks.0: unknown task 'mixt': did you mean 'mixed'?",
        ),
        (
            "tasks: [mixed]\nmethods:\n  grpo: {}\n  dipp: {}\n",
            "mine.yaml:4: methods.dipp: 'dipp' is no method; did you mean 'dipo'?; an entry of another name has a key "
            "method",
        ),
        (
            "tasks: [mixed]\nmethods:\n  grpo: {}\n  dipo: {alfa: 1}\n",
            "mine.yaml:4: methods.dipo: dipo.alfa = 1: no such key; did you mean 'alpha'?",
        ),
        (
            "tasks: [mixed]\nmethods:\n  grpo: {}\n  ../up: {method: grpo}\n",
            "mine.yaml:4: methods.../up: '../up': must have letters, digits, . _ and - alone",
        ),
        (
            GOOD + "tune:\n  seeds: [1]\n  options: {grpo: [{lr: 0.1}]}\n",
            "mine.yaml:4: tune.seeds: 1 is a seed of the comparison: tune on others",
        ),
        (
            GOOD + "tune:\n  seeds: [100]\n  options: {grpo: [{lr: 0.1}], dipo: [{lr: 0.1}, {lr: 0.2}]}\n",
            "mine.yaml:5: tune.options.grpo: 1 options, where another entry has 2: each gets as many",
        ),
        ("[1]\n", "mine.yaml: must hold keys with values"),
        ("", "mine.yaml: must hold keys with values"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(tmp_path, text, line):
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path}/{line}")
    assert "\n" not in str(error.value)


def test_every_shipped_comparison_can_be_read():
    assert shipped()
    for name in shipped():
        found = read_comparison(name)
        assert found.question
        for entry in found.methods:
            assert found.entry(entry).dipo.method in methods.names()


def test_an_unknown_comparison_names_the_nearest():
    with pytest.raises(UserError, match="unknown comparison 'quik': did you mean 'quick'"):
        read_comparison("quik")


def test_looks_go_from_the_least_to_the_most_seeds():
    assert SeedsSection(least=4, step=2, most=9).looks() == [4, 6, 8, 9]
    assert SeedsSection(least=3, step=5, most=3).looks() == [3]


def test_options_alone_make_a_comparison():
    found = chosen([], "grpo,dipo", "mixed,separable", 6, 1000)
    assert list(found.methods) == ["grpo", "dipo"]
    assert (found.tasks, found.seeds.most, found.budget_tokens) == (["mixed", "separable"], 6, 1000)


def test_options_change_a_comparison():
    found = chosen(["quick"], "dipo,maxrl", None, 3, None)
    assert list(found.methods) == ["dipo", "maxrl"]
    assert (found.seeds.most, found.seeds.least) == (3, 3)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (([], "grpo", None, None, None), "nothing to compare"),
        ((["quick", "main"], None, None, None, None), "unexpected argument 'main'"),
        (([], "grpo", "mixed", None, None), "methods: one method has nothing to be compared with"),
        (([], "grpo,grpo", "mixed", None, None), "--methods 'grpo,grpo': names something twice"),
        (([], ",", "mixed", None, None), "--methods ',': give names"),
        (([], "gppo,dipo", "mixed", None, None), "methods.gppo: 'gppo' is no method; did you mean"),
    ],
)
def test_a_mistake_in_the_options_is_one_line(arguments, line):
    with pytest.raises(UserError) as error:
        chosen(*arguments)
    assert str(error.value).startswith(line)


def test_an_entry_may_not_have_a_rate_that_is_none():
    for rate in (0, -1, "a", True, 2):
        with pytest.raises(ValueError, match=r"lr = .*: must be a number above 0"):
            entry_of("grpo", {"lr": rate})


def test_defaults_are_a_comparison():
    assert Comparison(tasks=["mixed"], methods={"grpo": {}}).seeds.looks() == [4, 6, 8, 10]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("grpo: {alpha: 0.1}, dipo: {}", "methods.grpo: alpha does nothing with method grpo: leave it out"),
        (
            "g: {method: grpo, pick: random}, dipo: {}",
            "methods.g: pick does nothing with method grpo: leave it out",
        ),
        ("grpo: {refill_cap: 2.0}, dipo: {}", "methods.grpo: refill_cap does nothing with method grpo"),
        ("grpo: {lr: 1e-3}, dipo: {}", "lr = '1e-3': must be a number above 0 and at most 1; write 0.001"),
        ("grpo: {}, dipo: {alpha: 1" + "0" * 400 + "}", "alpha"),
        ("grpo: {}, " + "d" * 101 + ": {method: dipo}", "must have at most 100 bytes"),
    ],
)
def test_a_mistake_in_an_entry_is_one_line(tmp_path, text, line):
    with pytest.raises(UserError) as error:
        read(tmp_path, f"tasks: [mixed]\nmethods: {{{text}}}\n")
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tune: {seeds: [101], options: {grpo: [], dipo: []}}", "mine.yaml:3: tune.options.grpo: is empty"),
        ("tune: {seeds: [101, 101], options: {grpo: [{}], dipo: [{}]}}", "tune.seeds: names a seed twice"),
        ("tune: {seeds: [-1], options: {grpo: [{}], dipo: [{}]}}", "tune.seeds.0: -1"),
        ("seeds: {most: 1000000000}", "mine.yaml:3: seeds.most: 1000000000"),
        ("evaluate: {samples: 1000000000000}", "evaluate.samples"),
        ("train: {n_samples_per_prompt: 1000000000000000}", "train.n_samples_per_prompt"),
        ("name: ../../escaped", "mine.yaml:3: name: '../../escaped': must have letters"),
        ("budget_tokens: 30", "mine.yaml:3: budget_tokens: 30: is under one step, 256 responses"),
        ("train: {lr: 1.25e-5x}", "train.lr: '1.25e-5x': must be a valid number"),
        ("train: {lr: 12e-6}", "must be a valid number: write 1.2e-05"),
        ("train: {lr: 125e-7}", "must be a valid number: write 1.25e-05"),
        ("train: {lr: 1e-5}", "must be a valid number: write 1.0e-05"),
        ("budget_tokens: 4e5", "budget_tokens: '4e5': must be a valid integer: write 400000"),
        ("train: {mini_batches: 3}\nstack: openrlhf", "train.mini_batches: 3: must divide the 256 responses"),
    ],
)
def test_a_mistake_in_its_numbers_is_one_line(tmp_path, text, line):
    with pytest.raises(UserError) as error:
        read(tmp_path, f"{GOOD}{text}\n")
    assert line in str(error.value)


def test_a_task_twice_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"mine.yaml:1: tasks.1: mixed is named twice"):
        read(tmp_path, GOOD.replace("[mixed]", "[mixed, mixed]"))


def test_options_are_applied_before_the_file_is_judged(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("tasks: [mixed]\nmethods: {dapo: {}, dipo: {keep_and_refill: true}}\n")
    with pytest.raises(UserError, match="stack: openrlhf does"):
        read_comparison(str(path))
    assert chosen([str(path)], None, None, None, None, "openrlhf").stack == "openrlhf"
