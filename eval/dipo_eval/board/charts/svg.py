"""SVG elements and path data. Coordinates are pixels: integers as they are, others with one digit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

Point = tuple[float, float]


def element(template: str, *values: object) -> Markup:
    """`template` with its `{}` filled in: numbers rounded, all else escaped."""
    return Markup(template).format(*(f"{v:.1f}" if isinstance(v, float) else v for v in values))


def line(css: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    return element('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>', css, x1, x2, y1, y2)


def text(css: str, x: float, y: float, words: str) -> Markup:
    return element('<text class="{}" x="{}" y="{}">{}</text>', css, x, y, words)


def dot(css: str, at: Point, radius: str) -> Markup:
    return element('<circle class="{}" cx="{}" cy="{}" r="{}"/>', css, *at, radius)


def path(css: str, data: str) -> Markup:
    return element('<path class="{}" d="{}"/>', css, data)


def runs_of_points(points: Sequence[Point | None]) -> list[list[Point]]:
    """Split at the gaps (None)."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def line_path(points: Sequence[Point | None]) -> str:
    """Path data of a polyline broken at gaps; a single point is shown by its round caps."""
    return "".join("M" + _join(run) + ("h0" if len(run) == 1 else "") for run in runs_of_points(points))


def area_path(upper: Sequence[Point | None], lower: Sequence[Point | None]) -> str:
    """Path data of the area between two polylines with the same gaps."""
    pieces = zip(runs_of_points(upper), runs_of_points(lower), strict=True)
    return "".join("M" + _join([*top, *reversed(bottom)]) + "Z" for top, bottom in pieces)


def _join(points: Iterable[Point]) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
