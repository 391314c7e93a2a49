"""The native dataset folder: dataset.yaml, images.csv, landmarks.csv, images/, a second reading."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lmkit.declare import declared
from lmkit.faults import STRICT, Faults
from lmkit.fields import InputError, nearest
from lmkit.limits import check_coordinate, check_count, check_spacing
from lmkit.measures import Measurement
from lmkit.tables import (
    LABELS,
    LEFT_RIGHT,
    NO_SIDE,
    SPLITS,
    Tables,
    about_of,
    image_file,
    name_of,
    names_of,
    number,
    patients_in_two,
    plain_name,
    rows_of,
    shown,
    spacing_of,
    two_splits,
)

KEYS = (
    *("name", "landmarks", "sides", "mirror_pairs", "spacing_mm", "citation", "licence"),
    *("measurements", "pixel_zero"),
)
OPTIONAL = ("split", "spacing_x_mm", "spacing_y_mm", "spacing_source")


def read_native(folder: Path, faults: Faults = STRICT) -> Tables:
    """dataset.yaml, images.csv, landmarks.csv, images/; second_reading.csv where there is one."""
    path = folder / "dataset.yaml"
    about: dict[str, Any] = {}
    names: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    measurements: tuple[Measurement, ...] = ()
    with faults.of():
        about = about_of(path, KEYS)
        if about.get("pixel_zero", "centre") != "centre":
            raise InputError(
                f"{path}: pixel_zero: expected centre, as landmarks.csv always has it, got "
                f"{shown(about['pixel_zero'])}; take 0.5 off its x and y, and the line out"
            )
        names, sides = names_of(path, about.get("landmarks")), sides_of(path, about.get("sides"))
        pairs = mirror_pairs_of(path, about.get("mirror_pairs") or [], names)
        measurements = declared(path, about.get("measurements"), names)
    if not names:  # dataset.yaml is at fault: the dataset check goes on with what the rows say
        names, sides = _names_in(folder / "landmarks.csv", faults)
    images, paths, rows = _native_images(folder, faults)
    with faults.of():  # for images whose own columns are empty
        spacing = spacing_of(path, about.get("spacing_mm"))
        usual = dict(zip(("spacing_x_mm", "spacing_y_mm"), spacing, strict=True))
        images = images.fillna(usual) if about.get("spacing_mm") is not None else images
    landmarks = landmark_rows(folder / "landmarks.csv", names, sides, paths, faults)
    path, second = folder / "second_reading.csv", None
    if path.exists():
        second = landmark_rows(path, names, sides, paths, faults)
    labelled = set(landmarks["image"])
    for row, image in zip(rows, images["image"], strict=True):
        with faults.of(image):
            if image not in labelled:
                raise InputError(
                    f"{folder / 'images.csv'} row {row}: expected landmarks of {image} in "
                    "landmarks.csv, got none; annotate the image or take the row out"
                )
    return Tables(
        name=plain_name(about.get("name") or folder.resolve().name),
        names=names,
        sides=sides,
        images=images,
        landmarks=landmarks,
        paths=paths,
        mirror_pairs=pairs,
        citation=str(about.get("citation") or ""),
        licence=str(about.get("licence") or ""),
        measurements=measurements,
        second_reading=second,
    )


def sides_of(path: Path, sides: object) -> tuple[str, ...]:
    """The sides of a dataset.yaml, sorted. Raises: InputError for anything but left and right."""
    if sides not in (None, [], ["left"], ["right"], ["left", "right"], ["right", "left"]):
        raise InputError(f"{path}: sides: expected [left, right] or [], got {shown(sides)}")
    return tuple(sorted(sides or []))


def mirror_pairs_of(
    path: Path, pairs: object, names: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Pairs of landmark names. Raises: InputError for another form, a name unknown or twice."""
    given: list[Any] = pairs if isinstance(pairs, list) else [pairs]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in given):
        raise InputError(f"{path}: mirror_pairs: expected [[name, name], ...], got {shown(pairs)}")
    found = tuple((str(a), str(b)) for a, b in given)
    seen = set()
    for name in (name for pair in found for name in pair):
        if name not in names:
            raise InputError(
                f"{path}: mirror_pairs: expected landmark names, got {name!r}{nearest(name, names)}"
            )
        if name in seen:
            raise InputError(
                f"{path}: mirror_pairs: expected each landmark in one pair, with another, got "
                f"{shown(name)} again"
            )
        seen.add(name)
    return found


def _names_in(path: Path, faults: Faults) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Landmarks and sides that landmarks.csv mentions."""
    with faults.of():
        rows = [cells for _, cells in rows_of(path, ("image", "landmark", "x", "y"), ("side",))]
        sides = {cells.get("side", "") for cells in rows} & {*LEFT_RIGHT}
        names = dict.fromkeys(name_of(c["landmark"], "landmark", str(path)) for c in rows)
        check_count(len(names), str(path))
        return tuple(names), tuple(sorted(sides))
    return (), ()


def _native_images(folder: Path, faults: Faults) -> tuple[pd.DataFrame, dict[str, Path], list[int]]:
    """images.csv, the file of each image, and the line of each image in images.csv."""
    path, records, paths, lines, table = folder / "images.csv", [], {}, [], []
    with faults.of():
        table = rows_of(path, ("image", "patient"), OPTIONAL)
    for row, cells in table:
        where, image = f"{path} row {row}", cells["image"]
        with faults.of(image):
            if image in paths:
                got = shown(image)
                raise InputError(f"{where}: image: expected each image once, got {got} again")
            file = image_file(folder / "images", image, where, root=folder)
            _check_inside(image, where)
            records.append(_image_row(cells, where))
            paths[image] = file
            lines.append(row)
    columns = ["image", "patient", *OPTIONAL]
    frame = pd.DataFrame(records, columns=columns)
    if not (frame["spacing_source"] != "").any():
        frame = frame.drop(columns="spacing_source")
    for patient, splits in patients_in_two(frame).items():
        with faults.of():
            raise InputError(two_splits(path, patient, splits))
    return frame, paths, lines


def _check_inside(image: str, where: str) -> None:
    """A name leads down from images/ only, for copies are called so too. Raises: InputError."""
    name_of(image, "image", where)
    if image.startswith("/") or ".." in image.split("/"):
        raise InputError(
            f"{where}: image: expected a file in images/, without .. or a leading /, got "
            f"{shown(image)}"
        )


def _image_row(cells: dict[str, str], where: str) -> dict[str, object]:
    """A row of images.csv, checked. Raises: InputError."""
    if not cells["patient"]:
        raise InputError(f"{where}: patient: expected a number or name, got nothing")
    name_of(cells["patient"], "patient", where)
    split = cells.get("split", "")
    if split not in (*SPLITS, ""):
        raise InputError(f"{where}: split: expected train | val | test, got {shown(split)}")
    row: dict[str, object] = {"image": cells["image"], "patient": cells["patient"], "split": split}
    for axis in ("spacing_x_mm", "spacing_y_mm"):
        text = cells.get(axis)
        row[axis] = check_spacing(number(text, axis, where), axis, where) if text else math.nan
    return row | {"spacing_source": cells.get("spacing_source", "")}


def landmark_rows(
    path: Path,
    names: tuple[str, ...],
    sides: tuple[str, ...],
    paths: dict[str, Path],
    faults: Faults,
) -> pd.DataFrame:
    """The rows of a landmarks.csv or second_reading.csv, checked. Raises: InputError."""
    required = tuple(c for c in LABELS if sides or c != "side")
    seen: dict[tuple[str, str, str], int] = {}
    records, table = [], []
    known = dict.fromkeys(names)  # found at once, however many there are
    with faults.of():
        table = rows_of(path, required, ("side",))
    for row, cells in table:
        with faults.of(cells["image"]):
            where = f"{path} row {row}"
            key = key_of(cells, where, known, sides, paths)
            if key in seen:
                raise InputError(
                    f"{where}: expected each landmark once, got {key[2]} of {key[0]} again, first "
                    f"in row {seen[key]}"
                )
            x, y = (check_coordinate(number(cells[a], a, where), a, where) for a in "xy")
            seen[key] = row
            records.append((*key, x, y))
    return pd.DataFrame(records, columns=LABELS)


def key_of(
    cells: dict[str, str],
    where: str,
    names: Collection[str],
    sides: tuple[str, ...],
    images: Mapping[str, object],
    whose: str = "images.csv",
) -> tuple[str, str, str]:
    """Image, side and landmark of a row of labels, checked; images: by name, those of `whose`.

    Raises: InputError.
    """
    if not sides and cells.get("side"):
        raise InputError(
            f"{where}: side: expected nothing, for dataset.yaml has no sides, got "
            f"{shown(cells['side'])}"
        )
    image, landmark = cells["image"], cells["landmark"]
    side = cells["side"] if sides else NO_SIDE
    if image not in images:
        raise InputError(
            f"{where}: image: expected an image of {whose}, got {shown(image)}"
            f"{nearest(image, tuple(images))}"
        )
    if sides and side not in sides:
        to_do = "add it to sides in dataset.yaml" if side in LEFT_RIGHT else "rename it in the file"
        raise InputError(f"{where}: side: expected {' | '.join(sides)}, got {shown(side)}; {to_do}")
    if landmark not in names:
        raise InputError(
            f"{where}: landmark: expected {' | '.join(names)}, got {shown(landmark)}"
            f"{nearest(landmark, names)}"
        )
    return image, side, landmark
