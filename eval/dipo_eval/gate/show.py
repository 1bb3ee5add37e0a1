"""A gate's outcome on the terminal."""

from __future__ import annotations

import contextlib

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dipo_eval.gate import report as gate_report
from dipo_eval.gate.verdict import EXIT_CODES, GateVerdict, SuiteGate
from dipo_eval.printable import visible

_COLOURS: dict[GateVerdict, str] = {
    "pass": "green",
    "regression": "red",
    "inconclusive": "yellow",
    "infrastructure": "magenta",
}


class _Console(Console):
    """A closed pipe (`| head -1`) ends the printing, and changes neither the reports nor the status."""

    def on_broken_pipe(self) -> None:
        with contextlib.suppress(SystemExit):
            super().on_broken_pipe()


def print_verdict(
    candidate: str, baseline: str, suites: list[SuiteGate], verdict: GateVerdict, notes: list[str]
) -> None:
    """The table of the suites, the reasons below it, and the verdict with its exit status."""
    console = _Console()
    if not console.is_terminal:
        console = _Console(width=160)
    title = Text(f"{candidate} against {baseline}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for name in gate_report.COLUMNS:
        table.add_column(name, overflow="fold")
    for gate in suites:
        table.add_row(
            Text(gate.suite),
            Text(gate_report.WORDS[gate.verdict].lower(), _COLOURS[gate.verdict]),
            *gate_report.figures(gate),
            Text("see below" if gate.verdict == "infrastructure" else gate.reason),
        )
    console.print(table)
    # On lines of their own: a path that a table has folded can be neither searched for nor copied.
    for gate in suites:
        if gate.verdict == "infrastructure":
            _line(console, f"not judged: {gate.suite}: {gate.reason}")
        elif gate.differing:
            _line(console, f"not alike: {gate.suite}: {gate_report.differing(gate)}")
    for note in notes:
        _line(console, f"note: {note}")
    word = gate_report.WORDS[verdict].lower()
    console.print(Text(f"gate: {word} (exit status {EXIT_CODES[verdict]})", _COLOURS[verdict]))


def _line(console: Console, text: str) -> None:
    console.print(Text(visible(text, 2000)), soft_wrap=True)
