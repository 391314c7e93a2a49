"""The native dataset folder: dataset.yaml, images.csv, landmarks.csv, images/, a second reading."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from lmkit.config import InputError, nearest
from lmkit.declare import declared
from lmkit.files import read_yaml
from lmkit.tables import (
    NO_SIDE,
    SPLITS,
    Tables,
    check_keys,
    names_of,
    number,
    plain_name,
    rows_of,
)

KEYS = ("name", "landmarks", "sides", "mirror_pairs", "citation", "licence", "measurements")
OPTIONAL = ("split", "spacing_x_mm", "spacing_y_mm")


def read_native(folder: Path) -> Tables:
    """dataset.yaml, images.csv, landmarks.csv, images/; second_reading.csv where there is one."""
    path = folder / "dataset.yaml"
    about = read_yaml(path)
    check_keys(path, about, KEYS)
    names, sides = names_of(path, about.get("landmarks")), _sides(path, about.get("sides"))
    pairs = _mirror_pairs(path, about.get("mirror_pairs") or [], names)
    images, paths, rows = _native_images(folder)
    landmarks = _native_landmarks(folder / "landmarks.csv", names, sides, paths)
    second = folder / "second_reading.csv"
    labelled = set(landmarks["image"])
    for row, image in zip(rows, images["image"], strict=True):
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
        measurements=declared(path, about.get("measurements"), names),
        second_reading=_native_landmarks(second, names, sides, paths) if second.exists() else None,
    )


def _sides(path: Path, sides: object) -> tuple[str, ...]:
    if sides not in (None, [], ["left"], ["right"], ["left", "right"], ["right", "left"]):
        raise InputError(f"{path}: sides: expected [left, right] or [], got {sides!r}")
    return tuple(sorted(sides or []))  # type: ignore[call-overload]


def _mirror_pairs(path: Path, pairs: object, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    whole = isinstance(pairs, list) and all(isinstance(p, list) and len(p) == 2 for p in pairs)
    if not whole:
        raise InputError(f"{path}: mirror_pairs: expected [[name, name], ...], got {pairs!r}")
    found = tuple((str(a), str(b)) for a, b in pairs)  # type: ignore[attr-defined]
    for name in (name for pair in found for name in pair if name not in names):
        raise InputError(
            f"{path}: mirror_pairs: expected landmark names, got {name!r}{nearest(name, names)}"
        )
    return found


def _native_images(folder: Path) -> tuple[pd.DataFrame, dict[str, Path], list[int]]:
    """images.csv, the file of each image, and the line of each image in images.csv."""
    path, records, paths, lines = folder / "images.csv", [], {}, []
    for row, cells in rows_of(path, ("image", "patient"), OPTIONAL):
        where, image = f"{path} row {row}", cells["image"]
        if image in paths:
            raise InputError(f"{where}: image: expected each image once, got {image!r} again")
        paths[image] = _inside(folder / "images", image, where)
        if not cells["patient"]:
            raise InputError(f"{where}: patient: expected a number or name, got nothing")
        split = cells.get("split", "")
        if split not in (*SPLITS, ""):
            raise InputError(f"{where}: split: expected train | val | test, got {split!r}")
        spacing = {}
        for axis in ("spacing_x_mm", "spacing_y_mm"):
            spacing[axis] = number(cells[axis], axis, where) if cells.get(axis) else math.nan
            if spacing[axis] <= 0:
                raise InputError(f"{where}: {axis}: expected > 0, got {spacing[axis]:g}")
        records.append({"image": image, "patient": cells["patient"], "split": split} | spacing)
        lines.append(row)
    frame = pd.DataFrame(records)
    for patient, splits in frame[frame["split"] != ""].groupby("patient")["split"].unique().items():
        if len(splits) > 1:
            raise InputError(
                f"{path}: split: expected one split per patient, got patient {patient} in "
                f"{' and '.join(splits)}"
            )
    return frame, paths, lines


def _inside(folder: Path, image: str, where: str) -> Path:
    """The file of an image, which has to lie in the images folder."""
    path = folder / image
    if not image or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{where}: image: expected a file in {folder}, got {image!r}")
    if not path.is_file():
        raise InputError(f"{where}: image: expected {path}, which is missing")
    return path


def _native_landmarks(
    path: Path, names: tuple[str, ...], sides: tuple[str, ...], paths: dict[str, Path]
) -> pd.DataFrame:
    required = ("image", "side", "landmark", "x", "y") if sides else ("image", "landmark", "x", "y")
    records, seen = [], {}
    for row, cells in rows_of(path, required, ("side",)):
        where = f"{path} row {row}"
        if not sides and cells.get("side"):
            raise InputError(
                f"{where}: side: expected nothing, for dataset.yaml has no sides, "
                f"got {cells['side']!r}"
            )
        side = cells["side"] if sides else NO_SIDE
        key = (cells["image"], side, cells["landmark"])
        if key[0] not in paths:
            raise InputError(
                f"{where}: image: expected an image of images.csv, got {key[0]!r}"
                f"{nearest(key[0], paths)}"
            )
        if sides and side not in sides:
            raise InputError(f"{where}: side: expected {' | '.join(sides)}, got {side!r}")
        if key[2] not in names:
            raise InputError(
                f"{where}: landmark: expected {' | '.join(names)}, got {key[2]!r}"
                f"{nearest(key[2], names)}"
            )
        if key in seen:
            raise InputError(
                f"{where}: expected each landmark once, got {key[2]} of {key[0]} again, first in "
                f"row {seen[key]}"
            )
        seen[key] = row
        x, y = number(cells["x"], "x", where), number(cells["y"], "y", where)
        records.append((*key, x, y))
    return pd.DataFrame(records, columns=["image", "side", "landmark", "x", "y"])
