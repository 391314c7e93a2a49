"""The lines of a label file of the old layout: `x,y` per landmark, then perhaps classes."""

from __future__ import annotations

import math
from pathlib import Path

from lmkit.faults import one_line
from lmkit.fields import InputError
from lmkit.limits import check_coordinate
from lmkit.tables import number, shown


def read_points(path: Path, image: Path) -> tuple[list[tuple[float, float]], bool]:
    """The points of a label file, and whether classes stand after them.

    Raises: InputError naming the file and, for a line that is no point, the line; a blank line
        between points is none, for whether a landmark is missing there cannot be known.
    """
    try:
        whole = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{image}: expected its landmarks in {path}, which is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected lines of x,y, got: {one_line(error)}") from None
    points, lines = [], _before_classes(whole)
    filled = max((row for row, line in enumerate(lines, 1) if line.strip()), default=0)
    for row, line in enumerate(lines[:filled], 1):
        cells, where = line.split(","), f"{path} line {row}"
        if not line.strip():
            raise InputError(
                f"{where}: expected x,y, or a comma alone for a landmark that is not annotated, "
                "got a blank line"
            )
        if len(cells) != 2:
            raise InputError(f"{where}: expected x,y, got {shown(line.strip())}")
        if line.strip() == ",":
            points.append((math.nan, math.nan))
        else:
            x, y = (number(cell, a, where) for cell, a in zip(cells, "xy", strict=True))
            points.append((check_coordinate(x, "x", where), check_coordinate(y, "y", where)))
    return points, len(lines) < len(whole)


def _before_classes(lines: list[str]) -> list[str]:
    """The lines without those of one number each at the end, where they are two or more: classes
    that some data sets, such as that of the ISBI 2015 challenge, have there; they are no points."""
    last = max((row for row, line in enumerate(lines, 1) if "," in line), default=len(lines))
    rest = [line for line in lines[last:] if line.strip()]
    alone = len(rest) > 1 and all(line.strip().isdecimal() for line in rest)
    return lines[:last] if alone else lines
