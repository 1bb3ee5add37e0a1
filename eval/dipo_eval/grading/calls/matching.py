"""Which answer belongs to which gold: a largest matching in a bipartite graph."""

from __future__ import annotations


def largest_matching(fits: list[list[bool]]) -> list[int | None]:
    """For each row of ``fits`` the column given to it, each column at most once, as many rows as possible.

    By augmenting paths (Kuhn), O(rows x edges); breadth first, so that no input recurses deeply.
    """
    columns = len(fits[0]) if fits else 0
    row_of: list[int | None] = [None] * columns
    column_of: list[int | None] = [None] * len(fits)
    for start in range(len(fits)):
        came_from: dict[int, int] = {}
        queue = [start]
        end: int | None = None
        while queue and end is None:
            row = queue.pop(0)
            for column, fit in enumerate(fits[row]):
                if not fit or column in came_from:
                    continue
                came_from[column] = row
                owner = row_of[column]
                if owner is None:
                    end = column
                    break
                queue.append(owner)
        while end is not None:
            row = came_from[end]
            row_of[end], column_of[row], end = row, end, column_of[row]
    return column_of
