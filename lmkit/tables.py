"""The tables of a dataset, and reading cells with errors that say where.

Every error names the file, the row (counted from 1, the header being row 1), expected and got.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lmkit.config import InputError, nearest
from lmkit.measures import Measurement

NO_SIDE = "all"  # the side of a dataset without sides
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Tables:
    """What a dataset folder says, checked.

    Attributes:
        images: image, patient, split ('' = not stated), spacing_x_mm, spacing_y_mm (NaN = unknown).
        landmarks: image, side, landmark, x, y; source pixels.
        paths: image -> file.
        measurements: what the landmarks are for.
        second_reading: as landmarks, by another reader or on another day; None = there is none.
    """

    name: str
    names: tuple[str, ...]
    sides: tuple[str, ...]
    images: pd.DataFrame
    landmarks: pd.DataFrame
    paths: dict[str, Path]
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    citation: str = ""
    licence: str = ""
    measurements: tuple[Measurement, ...] = ()
    second_reading: pd.DataFrame | None = None


def plain_name(name: object) -> str:
    """A name as a folder name: other signs than letters, digits and -_. become _."""
    text = "".join(c if c.isalnum() or c in "-_." else "_" for c in str(name)).lstrip(".")
    return text or "dataset"


def rows_of(
    path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file as (line number in the file, column -> text, stripped).

    Raises: InputError for an unreadable or empty file, a missing column, a column whose name is
        nearly that of an optional one, or a row with too many cells.
    """
    rows = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _check_header(path, list(reader.fieldnames or []), required, optional)
            for cells in reader:
                if any(cells.pop(None, [])):  # type: ignore[call-overload]
                    raise InputError(
                        f"{path} row {reader.line_num}: expected {len(reader.fieldnames or [])} "
                        "cells, got more; is there a decimal comma?"
                    )
                row = {name: (text or "").strip() for name, text in cells.items()}
                if any(row.values()):
                    rows.append((reader.line_num, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a readable CSV file, got: {error}") from None
    if not rows:
        raise InputError(f"{path}: expected rows under the header, got none")
    return rows


def _check_header(
    path: Path, header: list[str], required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    if any(name not in header for name in required):
        got = ", ".join(header) or "an empty file"
        raise InputError(f"{path} row 1: expected columns {', '.join(required)}, got {got}")
    for name in header:
        near = nearest(name, optional)
        if name not in (*required, *optional) and near:
            raise InputError(f"{path} row 1: unknown column {name!r}{near}")


def check_keys(path: Path, about: dict[str, Any], known: tuple[str, ...]) -> None:
    """Refuse keys of dataset.yaml that are nearly a known one. Raises: InputError."""
    for key in about:
        near = nearest(key, known)
        if key not in known and near:
            raise InputError(f"{path}: unknown key {key!r}{near}")


def names_of(path: Path, names: object) -> tuple[str, ...]:
    """Landmark names from YAML. Raises: InputError unless a list of different texts or numbers."""
    plain = isinstance(names, list) and all(
        isinstance(name, str | int) and not isinstance(name, bool) and str(name) for name in names
    )
    if not plain or not names or len(set(map(str, names))) < len(names):  # type: ignore[arg-type]
        raise InputError(
            f"{path}: landmarks: expected a list of different names, in quotes where YAML would "
            f"read a switch, got {names!r}"
        )
    return tuple(map(str, names))  # type: ignore[arg-type]


def number(text: str, what: str, where: str) -> float:
    """A finite number from text.

    Raises: InputError with `where` and `what` for anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {what}: expected a number, got {text!r}")
    return value
