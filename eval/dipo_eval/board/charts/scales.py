"""From data to pixels: axis ticks at round numbers, linear or logarithmic."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] in data units to [start, end] in pixels; `log` needs low > 0."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of `value`; values outside the range are clipped to its ends."""
        low, high, value = (self._forward(v) for v in (self.low, self.high, value))
        share = 0.5 if high == low else (value - low) / (high - low)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, share))

    def _forward(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.log else value


def nice_step(span: float, wanted: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that makes at most `wanted` steps of `span` > 0."""
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    return next((m * power for m in (1, 2, 5) if m * power >= raw * (1 - 1e-9)), 10 * power)


def ticks(low: float, high: float, wanted: int = 5, whole: bool = False) -> list[float]:
    """Round numbers inside [low, high]; only whole numbers where `whole`."""
    if high <= low:
        return [low]
    step = nice_step(high - low, wanted)
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten in [low, high]; over more than two decades powers of ten alone."""
    wide = high / low > 100
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [m * 10.0**d for d in decades for m in ((1,) if wide else (1, 2, 5))]
    return [mark for mark in marks if low <= mark <= high]


def rounded_range(low: float, high: float, from_zero: bool, cap: float | None = None) -> tuple[float, float]:
    """[low, high] widened to round numbers, to 0 with `from_zero` or where 0 is near; `cap` limits only the rounding."""
    top = high
    if low >= 0 and (from_zero or low < 0.3 * high):
        low = 0.0
    if high - low <= 1e-9 * abs(high):  # one value, but for rounding
        room = abs(high) * 0.1 or 1.0
        low, high = (low if low == 0 else low - room), high + room
    step = nice_step(high - low, 5)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return (low, high if cap is None or top > cap else min(high, cap))
