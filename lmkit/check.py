"""The dataset check: all that is wrong or odd with a dataset, before anything is trained on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lmkit import lookalikes
from lmkit.check_faults import fault_rows
from lmkit.check_rows import (
    SPACING,
    Found,
    alike_patients,
    odd_sizes,
    outside,
    remarked,
    spacing_rows,
    unlabelled,
)
from lmkit.dicom import dicom_spacing, is_dicom
from lmkit.faults import Faults
from lmkit.fields import InputError
from lmkit.files import path_of
from lmkit.formats import read_dataset, stray_images
from lmkit.images import image_size, read_image
from lmkit.tables import LABELS, NO_SIDE, SPLITS, Tables

COLUMNS = ["problem", "image", "file", "row", "expected", "got", "to_do", "stops"]


@dataclass(frozen=True)
class Check:
    """What the check found.

    Attributes:
        counts: what, value; one row per count.
        problems: problem, image ('' = not one image's), file, row ('' = not a row's), expected,
            got, to_do, stops (the dataset cannot be opened, its images not read, or nothing trained
            on it); those first.
        landmarks: image, side, landmark, x, y; those that could be read.
        read: image -> (H, W) array. Raises: InputError for an image that cannot be read.
    """

    counts: pd.DataFrame
    problems: pd.DataFrame
    landmarks: pd.DataFrame
    read: Callable[[str], np.ndarray]


def check_dataset(
    source: Any, *, pixels: bool = True, spacing_mm: tuple[float, float] | None = None
) -> Check:
    """Look for problems without stopping at the first one.

    Faults that `open_dataset` refuses; corrections whose label has changed since; images without
    labels and labels without images; points that are missing or outside the image; spacings that
    are missing, odd, exchanged in x and y or other than the DICOM header's; patients whose names
    differ in capitals or spaces alone; odd sizes; blank pictures; and pictures that are the same or
    nearly so, which matters most where they are in different splits.

    Args:
        source: a dataset folder or label file in any format of `lmkit.formats`, whatever is wrong
            with it, or an opened `lmkit.data.Dataset`.
        pixels: also read every image, for unreadable, blank and repeated ones.
        spacing_mm: x, y that a run is given for images that state none, mm per pixel.
    Raises: InputError only where there is no such folder or file.
    """
    faults = Faults(collect=True)
    if isinstance(source, str | Path):
        folder = path_of(source, "dataset")
        tables = _tables(folder, faults)
        paths, read, size = tables.paths, _reader(tables), _sizer(tables)
        stray = stray_images(folder if folder.is_dir() else folder.parent, tables)
    else:
        tables, paths, read, size, stray = source, {}, source.read, source.size, []
    images, landmarks = tables.images, tables.landmarks
    sizes = _collect(images["image"], size, faults)
    found = [*outside(landmarks, sizes), *spacing_rows(_with_spacing(images, spacing_mm))]
    found += _headers(images, paths, faults)
    found += [*unlabelled(tables, stray, faults), *odd_sizes(sizes), *remarked(tables)]
    found += alike_patients(images)
    if pixels:
        found += _pictures(images, _collect(list(sizes), _looker(read), faults, threads=True))
    stops = [*fault_rows(faults.found), *fault_rows(faults.remarks, stops=False)]
    empty: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    rows = [{**empty, "stops": False, **row} for row in (*stops, *found)]
    rows.sort(key=lambda row: not row["stops"])
    return Check(_counts(tables, sizes), pd.DataFrame(rows, columns=COLUMNS), landmarks, read)


def _tables(folder: Path, faults: Faults) -> Tables:
    """What can be read; nothing where the folder is of no format. Raises: InputError if absent."""
    if not folder.exists():
        raise InputError(f"{folder}: expected a dataset folder, which is missing")
    with faults.of():
        return read_dataset(folder, faults)
    columns = ["image", "patient", "split", "spacing_x_mm", "spacing_y_mm"]
    landmarks = pd.DataFrame(columns=LABELS)
    return Tables(folder.name, (), (), pd.DataFrame(columns=columns), landmarks, {})


def _with_spacing(images: pd.DataFrame, given: tuple[float, float] | None) -> pd.DataFrame:
    """The images with the spacing that a run gives to those that state none."""
    return images if given is None else images.fillna(dict(zip(SPACING, given, strict=True)))


def _reader(tables: Tables) -> Callable[[str], np.ndarray]:
    return lambda image: read_image(tables.paths[image])


def _sizer(tables: Tables) -> Callable[[str], tuple[int, int]]:
    return lambda image: image_size(tables.paths[image])


def _looker(read: Callable[[str], np.ndarray]) -> Callable[[str], lookalikes.Look]:
    return lambda image: lookalikes.look_at(read(image))


def _collect(
    images: Any, look: Callable[[str], Any], faults: Faults, threads: bool = False
) -> dict[str, Any]:
    """What `look` says of each image that it can say something of."""
    done: dict[str, Any] = {}

    def one(image: str) -> tuple[str, Any] | None:
        with faults.of(image):
            return image, look(image)
        return None

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8) if threads else 1) as pool:
        done.update(pair for pair in pool.map(one, images) if pair is not None)
    return done


def _headers(images: pd.DataFrame, paths: dict[str, Path], faults: Faults) -> list[Found]:
    """DICOM images whose stated spacing is not their header's."""
    found = []
    for row in images.itertuples():
        if row.image not in paths or not is_dicom(paths[row.image]):
            continue
        with faults.of(row.image):
            x, y, source = dicom_spacing(paths[row.image])
            stated = np.array([row.spacing_x_mm, row.spacing_y_mm], float)
            if source and not np.allclose(stated, [x, y], rtol=1e-3):
                how = "x and y exchanged" if np.allclose(stated, [y, x], rtol=1e-3) else "another"
                found.append(
                    Found(
                        problem="spacing other than the DICOM header's", image=row.image,
                        expected=f"{x:g}, {y:g} mm (x, y; {source})",
                        got=f"{stated[0]:g}, {stated[1]:g} mm, {how}",
                        to_do="leave the columns empty to take the header's, or keep yours",
                    )
                )  # fmt: skip
    return found


def _pictures(images: pd.DataFrame, looks: dict[str, lookalikes.Look]) -> list[Found]:
    """Blank images, and those that are another one's picture."""
    names = list(looks)
    about = images.set_index("image")[["patient", "split"]].astype(str)
    found = [
        Found(
            problem="blank image", image=name, expected="a picture", got="one grey value",
            to_do="export the image again",
        )
        for name, look in looks.items()
        if look.blank
    ]  # fmt: skip
    for i, j, same in lookalikes.pairs(list(looks.values())):
        a, b = about.loc[names[i]], about.loc[names[j]]
        to_do = "keep one, or leave it if the patient has two such images"
        if a["patient"] != b["patient"]:
            to_do = "give both the same patient, or keep one: a copy in another split flatters"
        places = f" ({a['split']} and {b['split']})" if a["split"] != b["split"] else ""
        found.append(
            Found(
                problem="same picture" if same else "nearly the same picture", image=names[j],
                expected="a picture of its own", got=f"that of {names[i]}{places}", to_do=to_do,
            )
        )  # fmt: skip
    return found


def _counts(tables: Any, sizes: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """What there is, as a table of what and value."""
    images, points = tables.images, tables.landmarks
    sets = points.groupby(["image", "side"]).ngroups
    rows: list[tuple[str, object]] = [
        ("images", len(images)), ("patients", images["patient"].nunique()),
        ("landmarks", ", ".join(tables.names)), ("points", len(points)),
        ("points not annotated", sets * len(tables.names) - len(points)),
    ]  # fmt: skip
    for split in SPLITS:
        part = images[images["split"] == split]
        rows.append((f"{split}: images, patients", f"{len(part)}, {part['patient'].nunique()}"))
    rows.append(("images without a split", int((images["split"] == "").sum())))
    for side in tables.sides or (NO_SIDE,):
        labelled = points.loc[points["side"] == side, "image"].nunique()
        rows.append((f"images with labels, {side}", labelled))
    kinds = pd.Series(list(sizes.values()), dtype=object).value_counts()
    if len(kinds):
        (height, width), count = kinds.index[0], kinds.iloc[0]
        rows.append(("sizes", f"{len(kinds)}, most often {width} x {height} ({count} images)"))
    for axis in ("x", "y"):
        known = images[f"spacing_{axis}_mm"].astype(float).dropna()
        text = f"{known.min():.4g} to {known.max():.4g}" if len(known) else "not stated"
        rows.append((f"spacing in {axis}, mm", text))
    return pd.DataFrame(rows, columns=["what", "value"])
