"""Points and the straight lines through two of them: heights, places between lines, angles.

Image frame: y runs down. NaN in, NaN out; what a figure cannot say (the height of a vertical line)
is NaN as well, without a warning.
"""

from __future__ import annotations

import numpy as np


def height_at(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Where the line through a and b is at x.

    Args:
        a, b: (..., 2) xy. x: (...).
    Returns: (...) y; NaN for a vertical line.
    """
    run = b[..., 0] - a[..., 0]
    slope = (b[..., 1] - a[..., 1]) / np.where(run == 0, np.nan, run)
    return a[..., 1] + slope * (x - a[..., 0])


def between(
    point: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where a point lies between two lines: 0 on the first, 1 on the second, at the point's x.

    Args:
        point: (..., 2) xy. first, second: (..., 2, 2), two points of each line.
    Returns: (...) place, without a unit and the same for any spacing; (...) gap, the second line's
        y less the first's there. The gap is negative where the lines have crossed on the way to
        that x, so the second is above the first; where they cross exactly, both are NaN.
    """
    start = height_at(first[..., 0, :], first[..., 1, :], point[..., 0])
    gap = height_at(second[..., 0, :], second[..., 1, :], point[..., 0]) - start
    gap = np.where(gap == 0, np.nan, gap)
    return (point[..., 1] - start) / gap, gap


def height_over(
    point: np.ndarray, a: np.ndarray, b: np.ndarray, perpendicular: bool = False
) -> np.ndarray:
    """How far a point lies above the line through a and b; below it, negative.

    Args:
        point, a, b: (..., 2) xy in a frame with one unit, such as mm.
        perpendicular: the shortest distance to the line instead of the one along y.
    Returns: (...), unit of the frame; NaN for a vertical line, which has no above.
    """
    height = height_at(a, b, point[..., 0]) - point[..., 1]
    if not perpendicular:
        return height
    along = b - a
    length = np.hypot(along[..., 0], along[..., 1])
    return height * np.abs(along[..., 0]) / np.where(length == 0, np.nan, length)


def angle_deg(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The angle between two directions.

    Args:
        u, v: (..., 2) in a frame with one unit.
    Returns: (...) degrees from 0 to 180, the same in a mirror; NaN for a direction of no length.
    """
    cross = u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
    dot = (u * v).sum(-1)
    angle = np.degrees(np.arctan2(np.abs(cross), dot))
    return np.where((cross == 0) & (dot == 0), np.nan, angle)
