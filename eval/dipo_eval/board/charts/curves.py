"""A run's series, thinned to what a screen can show, and charts made of them."""

from __future__ import annotations

from collections.abc import Sequence

from dipo_eval.board import numbers
from dipo_eval.board.charts.chart import Chart, Format, Series, Values
from dipo_eval.board.data.runlog import RunLog, bucket_means, buckets

RATE_WINDOW = 10


class Curves:
    """Reads a run's series, thinned to what a screen can show."""

    def __init__(self, run: RunLog) -> None:
        self.run = run
        self.ranges = buckets(len(run.rows))
        self.xs = [float(run.rows[r[-1]]["step"]) for r in self.ranges]

    def thin(self, values: Values) -> Values:
        return bucket_means(values, self.ranges)

    def get(self, key: str) -> Values:
        return self.thin(self.run.values(key))

    def chart(
        self, title: str, unit: str, series: Sequence[Series], fmt: Format, **options: object
    ) -> list[Chart]:
        """One chart of the series that hold a number, none where no series does."""
        shown = [s for s in series if any(v is not None for v in s.values)]
        return [Chart(title, unit, self.xs, shown, fmt, **options)] if shown else []  # type: ignore[arg-type]

    def single(
        self, key: str, title: str, unit: str, fmt: Format = numbers.plain, **options: object
    ) -> list[Chart]:
        return self.chart(title, unit, [Series(title, self.get(key), "blue")], fmt, **options)


def trailing_rate(part: Values, whole: Values, window: int = RATE_WINDOW) -> Values:
    """Sum of `part` over sum of `whole` over the last `window` steps; None where `whole` sums to 0."""
    rates: Values = []
    for i in range(len(part)):
        span = slice(max(0, i - window + 1), i + 1)
        base = sum(v or 0.0 for v in whole[span])
        rates.append(sum(v or 0.0 for v in part[span]) / base if base > 0 else None)
    return rates
