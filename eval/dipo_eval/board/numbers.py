"""Numbers for people: few digits, with their unit, in one form everywhere on the page."""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def percent(share: float | None, digits: int = 1) -> str:
    """0.6123 -> 61.2%; an en dash for None."""
    return DASH if share is None else _signed(f"{100 * share:.{digits}f}%")


def points(difference: float) -> str:
    """A difference of two shares in percentage points, always signed: 0.034 -> +3.4."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else _signed(text)


def percent_interval(low: float | None, high: float | None) -> str:
    """(0.585, 0.638) -> 58.5 to 63.8%; an en dash where either end is missing."""
    return DASH if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}%"


def p_value(p: float) -> str:
    """p = 0.04, p < 0.001."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def count(value: float | None) -> str:
    """12345 -> 12,345; an en dash for None."""
    return DASH if value is None else f"{round(value):,}"


def plain(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits, no exponent between 0.001 and a million."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return _signed(f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}")
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    return _signed(text.rstrip("0").rstrip(".") if "." in text else text)


def duration(seconds: float | None) -> str:
    """Seconds as 0.93 s, 42 s, 3.5 min or 2.1 h."""
    if seconds is None:
        return DASH
    if seconds < 90:
        return f"{plain(seconds, 2)} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plural(n: int, noun: str) -> str:
    """1 step, 2 steps, 1,200 steps."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _signed(text: str) -> str:
    return text.replace("-", MINUS)
