"""One CSV table with a row per image and two columns per landmark.

`image, 0_x, 0_y, 1_x, …`, `image, x1, y1, x2, …` or `file, tip_x, …, tip_y, …`, in any order, with
patient, split, side (then a row per image and side), spacing_x_mm and spacing_y_mm or spacing_mm
where they are known. Both cells empty: not annotated. Points are at pixel centres.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lmkit.faults import Faults
from lmkit.fields import InputError
from lmkit.sources import Collector
from lmkit.tables import Tables, name_of, number, rows_of, shown

IMAGE = ("image", "file", "filename", "file_name", "image_name")
KNOWN = ("patient", "split", "side", "spacing_x_mm", "spacing_y_mm", "spacing_mm", "spacing_source")
AXIS = (re.compile(r"(?P<name>.+)_(?P<axis>[xy])"), re.compile(r"(?P<axis>[xy])_?(?P<name>.+)"))


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
        if match and column not in (*IMAGE, *KNOWN):
            found.setdefault(match["name"], {})[match["axis"]] = column
    return {name: axes for name, axes in found.items() if len(axes) == 2}


def is_wide(header: list[str]) -> bool:
    """Whether a CSV file with these columns is a wide table."""
    return any(name in header for name in IMAGE) and bool(axes_in(header))


def _read(collector: Collector, path: Path) -> None:
    rows = rows_of(path, (), ())
    header = list(rows[0][1])
    image_column = next((name for name in IMAGE if name in header), None)
    axes = axes_in(header)
    if image_column is None or not axes:
        got = ", ".join(header)[:200]
        raise InputError(f"{path} row 1: expected columns image, 0_x, 0_y, ..., got {got}")
    used = {image_column, *KNOWN, *(c for pair in axes.values() for c in pair.values())}
    for column in set(header) - used - {""}:
        collector.lost[f"columns {shown(column)}"] += 1
    for name in axes:
        name_of(name, "landmark", f"{path} row 1")
        collector.order.setdefault(name)
    seen: dict[str, str] = {}
    for line, cells in rows:
        where, given = f"{path} row {line}", cells[image_column]
        with collector.faults.of(given):
            if given not in seen or not cells.get("side"):
                seen[given] = collector.image(given, where, base=path.parent, **_row(cells, where))
            for name, pair in axes.items():
                with collector.faults.of(given):
                    texts = cells[pair["x"]], cells[pair["y"]]
                    if texts == ("", ""):
                        continue
                    x, y = (
                        number(t, f"{name}: {a}", where) for t, a in zip(texts, "xy", strict=True)
                    )
                    collector.point(seen[given], name, (x, y), where, cells.get("side", ""))


def _row(cells: dict[str, str], where: str) -> dict[str, Any]:
    """What a row says of its image. Raises: InputError for a spacing that is no number."""
    row: dict[str, Any] = {key: cells.get(key) for key in ("patient", "split", "spacing_source")}
    for axis in ("spacing_x_mm", "spacing_y_mm"):
        text = cells.get(axis) or cells.get("spacing_mm")
        row[axis] = number(text, axis, where) if text else None
    return row
