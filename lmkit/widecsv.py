"""One CSV table with a row per image and two columns per landmark.

`image, 0_x, 0_y, 1_x, …`, `image, x1, y1, x2, …` or `file, tip_x, …, tip_y, …`, in any order, with
patient, split, side (then a row per image and side), spacing_x_mm and spacing_y_mm or spacing_mm
where they are known. Both cells empty: not annotated. Points are at pixel centres. X and Y may be
capitals; a column that is nearly one of these, such as Patient, is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lmkit.faults import Faults
from lmkit.fields import InputError, nearest
from lmkit.sources import Collector
from lmkit.tables import NUMBERS, Tables, name_of, number, rows_of, shown

IMAGE = ("image", "file", "filename", "file_name", "image_name")
KNOWN = ("patient", "split", "side", "spacing_x_mm", "spacing_y_mm", "spacing_mm", "spacing_source")
AXIS = (
    re.compile(r"(?P<name>.+)_(?P<axis>[xyXY])"),
    re.compile(r"(?P<axis>[xyXY])_?(?P<name>.+)"),
)
NEAR = 0.8  # patient_id is nearly patient; patient_age is not, nor is size nearly side


def read_wide(folder: Path, files: list[Path], faults: Faults) -> Tables:
    """The points of wide CSV files. Columns that are none of these are left out, and noted."""
    collector = Collector(folder, faults)
    for path in files:
        with faults.of():
            _read(collector, path)
    return collector.tables()


def axes_in(header: list[str]) -> dict[str, dict[str, str]]:
    """Landmark -> axis -> column, of the columns that name one."""
    found: dict[str, dict[str, str]] = {}
    for column in header:
        match = next((m for m in (p.fullmatch(column) for p in AXIS) if m), None)
        if match and column.lower() not in (*IMAGE, *KNOWN):
            found.setdefault(match["name"], {}).setdefault(match["axis"].lower(), column)
    return {name: axes for name, axes in found.items() if len(axes) == 2}


def is_wide(header: list[str]) -> bool:
    """Whether a CSV file with these columns is a wide table; predictions.csv of a run, with a row
    for each landmark, is none."""
    known = {name.lower() for name in header}
    return bool(known & {*IMAGE}) and "landmark" not in known and bool(axes_in(header))


def lacks_images(header: list[str]) -> bool:
    """Whether a CSV file with these columns is a wide table but for the column of the images."""
    return not is_wide(header) and is_wide([*header, IMAGE[0]])


def without_images(path: Path, header: list[str]) -> str:
    """What to say of such a file."""
    return (
        f"{path} row 1: expected a column image, got {', '.join(header)[:200]}; rename the column "
        "of the images' file names to image, and those of patient, split, side and spacing_mm so, "
        "too"
    )


def _numbers(header: list[str]) -> set[str]:
    """The columns of numbers: others, such as names, keep a comma between digits."""
    return {*NUMBERS, *(column for pair in axes_in(header).values() for column in pair.values())}


def _read(collector: Collector, path: Path) -> None:
    rows = rows_of(path, (), (), _numbers)
    image_column, axes = _columns(collector, list(rows[0][1]), f"{path} row 1")
    seen: dict[str, tuple[str, str]] = {}
    for line, cells in rows:
        where, given = f"{path} row {line}", cells[image_column]
        with collector.faults.of(given):
            about = _row(cells, where)
            if given in seen and cells.get("side"):
                collector.also(seen[given][0], where, seen[given][1], **about)
            else:
                image = collector.image(given, where, base=path.parent, **about)
                seen[given] = image, f"row {line}"
            _points(collector, seen[given][0], cells, axes, where)


def _columns(
    collector: Collector, header: list[str], where: str
) -> tuple[str, dict[str, dict[str, str]]]:
    """The column of the images, and those of each landmark. Raises: InputError."""
    image_column = next((name for name in IMAGE if name in header), None)
    axes = axes_in(header)
    used = {*KNOWN, *(c for pair in axes.values() for c in pair.values())}
    wanted = KNOWN if image_column else (*IMAGE, *KNOWN)
    for column in sorted(set(header) - used - {image_column, ""}):
        near = nearest(column, wanted, NEAR)
        if near:
            raise InputError(f"{where}: unknown column {shown(column)}{near}")
        if AXIS[0].fullmatch(column):
            other = column[:-1] + ("y" if column[-1] in "xX" else "x")
            raise InputError(f"{where}: expected {column} and {other}, got {column} alone")
        collector.lost[f"columns {shown(column)}"] += 1
    if image_column is None or not axes:
        got = ", ".join(header)[:200]
        raise InputError(f"{where}: expected columns image, 0_x, 0_y, ..., got {got}")
    for name in axes:
        name_of(name, "landmark", where)
        collector.order.setdefault(name)
    return image_column, axes


def _points(
    collector: Collector,
    image: str,
    cells: dict[str, str],
    axes: dict[str, dict[str, str]],
    where: str,
) -> None:
    """The points of one row. Raises: InputError."""
    for name, pair in axes.items():
        with collector.faults.of(image):
            texts = cells[pair["x"]], cells[pair["y"]]
            if texts == ("", ""):
                continue
            x, y = (number(t, f"{name}: {a}", where) for t, a in zip(texts, "xy", strict=True))
            collector.point(image, name, (x, y), where, cells.get("side", ""))


def _row(cells: dict[str, str], where: str) -> dict[str, Any]:
    """What a row says of its image. Raises: InputError for a spacing that is no number."""
    row: dict[str, Any] = {key: cells.get(key) for key in ("patient", "split", "spacing_source")}
    for axis in ("spacing_x_mm", "spacing_y_mm"):
        text = cells.get(axis) or cells.get("spacing_mm")
        row[axis] = number(text, axis, where) if text else None
    return row
