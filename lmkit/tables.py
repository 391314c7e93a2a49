"""The tables of a dataset, and reading cells with errors that say where.

Every error names the file, the row (counted from 1, the header being row 1), expected and got.
"""

from __future__ import annotations

import csv
import math
import os
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lmkit.faults import Fault, one_line
from lmkit.fields import LONGEST_NAME, InputError, is_name, is_number, nearest
from lmkit.files import read_yaml
from lmkit.limits import check_count, check_spacing, check_whole
from lmkit.measures import Measurement
from lmkit.pixels import point_for_comma

NOTHING = "–"  # in a table to read, what is not known
NO_SIDE = "all"  # the side of a dataset without sides
LEFT_RIGHT = ("left", "right")  # the sides of a dataset with sides: the patient's own
SPLITS = ("train", "val", "test")
LABELS = ["image", "side", "landmark", "x", "y"]  # the columns of a table of landmarks
SHOWN = reprlib.Repr()
SHOWN.maxstring = SHOWN.maxother = 80
NUMBERS = ("x", "y", "x_was", "y_was", "spacing_x_mm", "spacing_y_mm", "spacing_mm")
DECIMAL = re.compile(r"^([+-]?\d+),(\d+)$")  # a number with a decimal comma


@dataclass(frozen=True)
class Tables:
    """What a dataset folder says, checked.

    Attributes:
        images: image, patient, split ('' = not stated), spacing_x_mm, spacing_y_mm (NaN = unknown).
        landmarks: image, side, landmark, x, y; source pixels.
        paths: image -> file.
        measurements: what the landmarks are for.
        second_reading: as landmarks, by another reader or on another day; None = there is none.
        corrections: rows of corrections.csv in force, as of `lmkit.corrections.corrected`.
        skipped: what was left out: images without points, and the like.
        notes: what the format held and these tables cannot, one line each.
        remarks: what was taken for granted and may be wrong, one line each; warned of.
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
    corrections: pd.DataFrame | None = None
    skipped: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def shown(value: object) -> str:
    """A value as text for a message: short, on one line, whatever it is."""
    return SHOWN.repr(value)


def name_of(value: object, what: str, where: str) -> str:
    """A name from a file: one line, without control characters, up to `LONGEST_NAME` signs.

    Raises: InputError with `where` and `what` for another one.
    """
    text = value if isinstance(value, str) else str(value)
    if not is_name(text):
        raise InputError(
            f"{where}: {what}: expected a name on one line, up to {LONGEST_NAME} signs and none of "
            f"them a control character, got {shown(text)}; rename it"
        )
    return text


def plain_name(name: object) -> str:
    """A name as a folder name: other signs than letters, digits and -_. become _."""
    text = "".join(c if c.isalnum() or c in "-_." else "_" for c in str(name)).lstrip(".")
    return text or "dataset"


def rows_of(
    path: Path,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    numbers: Callable[[list[str]], Container[str]] = lambda _: NUMBERS,
    most: int | None = None,
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file as (line number in the file, column -> text, stripped).

    Commas separate cells; semicolons or tabs where the header has them and no comma, and a number
    may then have a decimal comma, as spreadsheets write it in many countries.

    Args:
        numbers: header -> the columns of numbers; a name such as 1,5 in another one stays.
        most: rows to read; None = all.
    Raises: InputError for an unreadable or empty file, a missing column, a column whose name is
        nearly that of an optional one, a row with too many cells, or a quote that is not closed.
    """
    rows, begun = [], 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator = _separator(file.readline())
            file.seek(0)
            # strict: a quote that is not closed would take the rest of the file into its cell
            reader = csv.DictReader(file, delimiter=separator, strict=True)
            header = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            _check_header(path, header, required, optional)
            commas = () if separator == "," else numbers(header)
            begun = reader.line_num + 1
            for cells in reader:
                row = _row(cells, commas, f"{path} row {reader.line_num}")
                if any(row.values()):
                    rows.append((reader.line_num, row))
                begun = reader.line_num + 1
                if len(rows) == most:
                    break
    except FileNotFoundError:
        raise InputError(f"{path}: expected a CSV file, found none") from None
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: expected UTF-8 text, got another encoding; save it as `CSV UTF-8`"
        ) from None
    except csv.Error as error:
        raise InputError(
            f"{path}: expected a readable CSV file, got: {error}, in the row that begins in line "
            f"{begun}; look whether a quote is not closed"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: expected a readable CSV file, got: {error}") from None
    if not rows:
        raise InputError(f"{path}: expected rows under the header, got none")
    return rows


def _row(cells: dict[Any, Any], commas: Container[str], where: str) -> dict[str, str]:
    """A row's cells, stripped, with points for decimal commas. Raises: InputError."""
    if any(cells.pop(None, [])):
        raise InputError(
            f"{where}: expected {len(cells)} cells, got more; is there a decimal comma?"
        )
    row = {name: (text or "").strip() for name, text in cells.items()}
    return {n: DECIMAL.sub(r"\1.\2", text) if n in commas else text for n, text in row.items()}


def _separator(header: str) -> str:
    """What separates the cells under this header."""
    return "," if "," in header else max(";\t", key=header.count) if header.strip() else ","


def _check_header(
    path: Path, header: list[str], required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    if any(name not in header for name in required):
        got = ", ".join(header)[:200] or "an empty file"
        raise InputError(f"{path} row 1: expected columns {', '.join(required)}, got {got}")
    twice = [name for name, times in Counter(header).items() if name and times > 1]
    if twice:
        raise InputError(f"{path} row 1: expected each column once, got {shown(twice[0])} again")
    for name in header:
        near = nearest(name, optional)
        if name not in (*required, *optional) and near:
            raise InputError(f"{path} row 1: unknown column {shown(name)}{near}")


def about_of(path: Path, known: tuple[str, ...]) -> dict[str, Any]:
    """dataset.yaml. Raises: InputError for an unreadable one, or a key that is nearly a known."""
    about = read_yaml(path, aliases=False)
    for key in about:
        near = nearest(key, known)
        if key not in known and near:
            raise InputError(f"{path}: unknown key {shown(key)}{near}")
    return about


def names_of(path: Path, names: object) -> tuple[str, ...]:
    """Landmark names from YAML. Raises: InputError unless a list of different texts or numbers."""
    given = names if isinstance(names, list) else []
    plain = all(
        isinstance(name, str | int) and not isinstance(name, bool) and str(name) for name in given
    )
    if not plain or not given or len(set(map(str, given))) < len(given):
        raise InputError(
            f"{path}: landmarks: expected a list of different names, in quotes where YAML would "
            f"read a switch, got {shown(names)}"
        )
    check_count(len(given), str(path))
    return tuple(name_of(name, "landmarks", str(path)) for name in given)


def number(text: str, what: str, where: str) -> float:
    """A finite number from text.

    Raises: InputError with `where` and `what` for anything else.
    """
    try:
        value = math.nan if "_" in text else float(text)  # Python reads 1_5 as 15
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{where}: {what}: expected a number, got {shown(text)}{point_for_comma(text)}"
        )
    return value


def spacing_of(path: Path, value: object) -> tuple[float, float]:
    """x, y in mm from a number or a pair; NaN when not stated. Raises: InputError for others."""
    pair: list[Any] = value if isinstance(value, list) else [value, value]
    if value is None:
        return math.nan, math.nan
    if len(pair) != 2 or not all(is_number(v) and v > 0 for v in pair):
        to_do = point_for_comma(str(value))
        raise InputError(
            f"{path}: spacing_mm: expected one or two numbers > 0, got {shown(value)}{to_do}"
        )
    x, y = (check_spacing(v, "spacing_mm", str(path)) for v in pair)
    check_whole(pair, "spacing_mm", str(path))
    return x, y


def image_file(folder: Path, image: str, where: str, root: Path | None = None) -> Path:
    """The file of an image, which has to lie in `root`: no way out by .. or by a link.

    Args:
        folder: that `image` is relative to.
        root: None = `folder`.
    Raises: InputError naming `where`.
    """
    path, root = folder / image, root or folder
    try:
        inside = bool(image) and path.resolve().is_relative_to(root.resolve())
        there = inside and path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, links in a circle
        got = f"{shown(image)}: {getattr(error, 'strerror', None) or one_line(error)}"
        raise InputError(f"{where}: image: expected a file in {folder}, got {got}") from None
    if not inside:
        linked = bool(image) and Path(os.path.normpath(path)).is_relative_to(root)
        got = f"{shown(image)}, which a link leads out of it" if linked else shown(image)
        raise InputError(f"{where}: image: expected a file in {root}, got {got}")
    if not there:
        raise InputError(f"{where}: image: expected {one_line(path)}, which is missing")
    return path


def patients_in_two(images: pd.DataFrame) -> dict[str, list[str]]:
    """The patients with images in several splits, and which."""
    found = images[images["split"] != ""].groupby("patient")["split"].unique()
    return {str(patient): list(splits) for patient, splits in found.items() if len(splits) > 1}


def two_splits(where: object, patient: str, splits: list[str]) -> str:
    """What to say of such a patient."""
    got = f"patient {patient} in {' and '.join(splits)}"
    return f"{where}: split: expected one split per patient, got {got}"
