"""The rules of grading in grading_rules.tsv, each with an answer that it accepts and a near miss that stays wrong.

python tests/eval/grading_rules.py    writes them into docs/grading.md
"""

from __future__ import annotations

import csv
from itertools import groupby
from operator import itemgetter
from pathlib import Path

TABLE = Path(__file__).with_suffix(".tsv")
DOCUMENT = Path(__file__).parents[2] / "docs" / "grading.md"
_LINE = "\u23ce"
"""Stands for a new line in the table."""


def rules() -> list[dict[str, str]]:
    """The rows: section, rule, gold, and responses that are graded correct and wrong."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [{name: text.replace(_LINE, "\n") for name, text in row.items()} for row in rows]


def render() -> str:
    """The rules as tables in Markdown."""
    made = []
    for section, rows in groupby(rules(), key=itemgetter("section")):
        made += [f"### {section}", "", "| rule | gold | correct | wrong |", "|---|---|---|---|"]
        made += [
            f"| {row['rule']} | {' | '.join(_code(row[name]) for name in ('gold', 'correct', 'wrong'))} |"
            for row in rows
        ]
        made.append("")
    return "\n".join(made)


def _code(text: str) -> str:
    return f"`` {text} ``".replace("|", "\\|").replace("\n", f" {_LINE} ")


def replaced(document: str) -> str:
    """``document`` with the tables between its two marks."""
    head, _, rest = document.partition("<!-- rules -->\n")
    _, _, tail = rest.partition("<!-- end of rules -->\n")
    return f"{head}<!-- rules -->\n{render()}\n<!-- end of rules -->\n{tail}"


if __name__ == "__main__":
    DOCUMENT.write_text(replaced(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
