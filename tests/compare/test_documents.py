"""docs/compare.md's own comparison is one, and its tasks are those there are."""

from __future__ import annotations

import re
from pathlib import Path

from dipo_openrlhf.compare.read import read_comparison
from dipo_openrlhf.compare.tasks import task_names

TEXT = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")


def test_its_yaml_is_a_comparison(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(block)
    found = read_comparison(str(path))
    assert found.entry("dipo_strong").dipo.alpha == 0.3
    assert found.tune is not None


def test_it_lists_every_task():
    section = TEXT[TEXT.index("## Tasks") : TEXT.index("## Results")]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == task_names()


TABLES = Path(__file__).parents[2] / "benchmarks" / "compare"


def accuracies_of(name):
    """Task -> method -> (mean, low, high) in percent, as text, of a comparison's table.md."""
    found, task = {}, ""
    for line in (TABLES / f"{name}.md").read_text(encoding="utf-8").splitlines():
        task = line.removeprefix("## ") if line.startswith("## ") else task
        row = re.match(r"\| (\w+) \| ([\d.]+)% \(([\d.]+)% to ([\d.]+)%\)", line)
        if row:
            found.setdefault(task, {})[row[1]] = row.groups()[1:]
    return found


def test_its_main_table_has_the_measured_figures():
    tasks = accuracies_of("methods")
    section = TEXT[TEXT.index("## Results") : TEXT.index("**Verdicts**")]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    columns = re.findall(r"`(\w+)`", re.search(r"^\| method \|.*$", section, re.MULTILINE)[0])
    assert {name for name, _ in rows} == set(tasks["mixed"]) == set(read_comparison("methods").methods)
    assert set(columns) == set(tasks)
    for name, cells in rows:
        shown = re.findall(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)", cells)
        assert shown == [tasks[task][name] for task in columns]


def test_the_verdicts_it_tells_are_those_of_the_table():
    text = (TABLES / "methods.md").read_text(encoding="utf-8")
    for task, pair, difference, low, high in [
        ("mixed", "dipo - grpo", "+1.7", "-3.5", "+6.8"),
        ("mixed", "dipo - dipo_off", "+1.2", "-4.6", "+7.0"),
        ("confidently_wrong", "dipo - grpo", "-1.8", "-6.9", "+3.3"),
        ("unsure_right", "dipo - dipo_off", "-0.2", "-1.4", "+1.0"),
    ]:
        section = text[text.index(f"\n## {task}\n") :]
        assert f"| {pair} | {difference} | {low} to {high} |" in section
        assert re.search(
            rf"{re.escape(difference)}[, (]+(points \()?{re.escape(low)} to {re.escape(high)}", TEXT
        )
    worse = [
        name
        for name in ("dace", "cde")
        for _ in re.findall(rf"\| {name} - \w+ \|[^|]+\|[^|]+\| worse|- {name} \|[^|]+\|[^|]+\| better", text)
    ]
    assert (worse.count("dace"), worse.count("cde")) == (9, 5)
