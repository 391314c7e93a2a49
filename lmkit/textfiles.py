"""The old layout: images/<side>/*.png, annotations/<side>/<image>.txt, `x,y` per landmark.

Two or more readers: annotations_<reader>/ for each in the place of annotations/.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from lmkit.declare import declared
from lmkit.faults import STRICT, Fault, Faults
from lmkit.fields import InputError
from lmkit.limits import check_count
from lmkit.measures import Measurement
from lmkit.native import mirror_pairs_of, sides_of
from lmkit.sources import edge_px
from lmkit.tables import (
    LABELS,
    NO_SIDE,
    Tables,
    about_of,
    image_file,
    name_of,
    names_of,
    plain_name,
    shown,
    spacing_of,
)
from lmkit.textfolders import check_orphans, identity, image_files, passed_over, sides_in
from lmkit.textlines import read_points

KEYS = (
    *("name", "landmarks", "sides", "mirror_pairs", "spacing_mm", "pixel_zero", "measurements"),
    *("citation", "licence", "readers"),
)
Points = dict[tuple[str, str], list[tuple[float, float]]]  # of an image and side; NaN = not there


def read_text_files(folder: Path, faults: Faults = STRICT) -> Tables:
    """images/<side>/*.png with annotations/<side>/<image>.txt, a line `x,y` per landmark.

    A line with nothing but the comma is a landmark that is not annotated; lines of one number after
    the points are left out. The same file under both sides is one image. The patient is the file's
    name. An optional dataset.yaml gives name, landmarks (their names), spacing_mm: [x, y],
    measurements, citation, licence and, for several readers, `readers: average` (the default: the
    mean of those who marked a point) or `readers: [a, b]`: annotations_a/ are the labels,
    annotations_b/ the second reading. Further: mirror_pairs, `pixel_zero: edge` where 0.5 is to be
    taken off, and sides, which have to be those of the folders.
    """
    path = folder / "dataset.yaml"
    about: dict[str, Any] = {}
    with faults.of():
        about = about_of(path, KEYS) if path.exists() else {}
    readers = _readers(folder, about)
    readings, names, paths, notes = _readings(folder, readers, about, faults)
    unread = _unread(folder, readers)
    landmarks, second = _combined(readings, about)
    landmarks = landmarks[landmarks["image"].isin(paths)]
    labelled = set(landmarks["image"])
    spacing = (math.nan, math.nan)
    sides = tuple(sorted(set(landmarks["side"]) - {NO_SIDE}))
    measurements: tuple[Measurement, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    with faults.of():
        spacing = spacing_of(path, about.get("spacing_mm"))
        pairs = mirror_pairs_of(path, about.get("mirror_pairs") or [], names)
        _check_sides(path, about, sides)
        measurements = declared(path, about.get("measurements"), names)
    images = pd.DataFrame(
        [(i, picture.stem, "", *spacing) for i, picture in paths.items() if i in labelled],
        columns=["image", "patient", "split", "spacing_x_mm", "spacing_y_mm"],
    )
    return Tables(
        name=plain_name(about.get("name") or folder.resolve().name),
        names=names,
        sides=sides,
        images=images,
        landmarks=landmarks,
        paths={image: picture for image, picture in paths.items() if image in labelled},
        citation=str(about.get("citation") or ""),
        licence=str(about.get("licence") or ""),
        mirror_pairs=pairs,
        measurements=measurements,
        second_reading=second,
        skipped=tuple(Fault(i, f"{i}: no point") for i in paths if i not in labelled),
        notes=notes + unread,
        remarks=unread,
    )


def label_folders(folder: Path) -> list[Path]:
    """The folder or folders of label files: annotations/, or annotations_<reader>/ by name."""
    plain = folder / "annotations"
    return (
        [plain] if plain.is_dir() else sorted(p for p in folder.glob("annotations_*") if p.is_dir())
    )


def _readers(folder: Path, about: dict[str, Any]) -> dict[str, Path]:
    """The label folders that count, by reader, the first one first. Raises: InputError."""
    found = {p.name.removeprefix("annotations").lstrip("_"): p for p in label_folders(folder)}
    wanted = about.get("readers", "average")
    if wanted == "average":
        return found
    if not isinstance(wanted, list) or len(wanted) != 2 or any(r not in [*found] for r in wanted):
        raise InputError(
            f"{folder / 'dataset.yaml'}: readers: expected average, or two of "
            f"{', '.join(found)}, got {shown(wanted)}"
        )
    return {reader: found[reader] for reader in wanted}


def _unread(folder: Path, readers: dict[str, Path]) -> tuple[str, ...]:
    """What to say of label folders that do not count."""
    counted = " and ".join(labels.name for labels in readers.values())
    others = [p for p in sorted(folder.glob("annotations*")) if p.is_dir()]
    return tuple(
        f"{place.name}: expected labels that count, as {counted}, got another reader, who is not "
        "read; name two under readers, or take a plain annotations/ away"
        for place in others
        if place not in readers.values()
    )


def _readings(
    folder: Path, readers: dict[str, Path], about: dict[str, Any], faults: Faults
) -> tuple[list[pd.DataFrame], tuple[str, ...], dict[str, Path], tuple[str, ...]]:
    """Each reader's landmarks, their names, each image's file, notes of what was left out."""
    readings: list[pd.DataFrame] = []
    names: tuple[str, ...] = ()
    paths: dict[str, Path] = {}
    notes: tuple[str, ...] = ()
    off = 0.0
    with faults.of():
        off = edge_px(folder / "dataset.yaml", about, edge=False)
    for labels in readers.values():
        points, files, found, classed = _read_labels(folder, labels, faults)
        names, paths = _check_counts(points, files, about, labels, faults), paths | found
        readings.append(_landmarks(points, names, off))
        if classed:
            n, first = len(classed), classed[0]
            notes += (f"lines of one number after the points of {n} files, first {first}",)
    return readings, names, paths, notes


def _read_labels(
    folder: Path, labels: Path, faults: Faults
) -> tuple[Points, dict[tuple[str, str], Path], dict[str, Path], list[Path]]:
    """One reader's points and label files by image and side, each image's file, and the label
    files that have classes after their points."""
    points: Points = {}
    files, paths, classed = {}, {}, []
    sides = sides_in(folder, labels)
    for remark in passed_over(folder, labels) if sides else ():
        faults.remark(remark)
    for side in sides or ("",):
        pictures = image_files(folder / "images" / side)
        with faults.of():
            check_orphans(labels / side, pictures)
        for picture in pictures:
            with faults.of(picture.name):
                image_file(picture.parent, picture.name, str(picture), root=folder)
                name_of(picture.name, "image", str(picture))
                image = identity(picture, side, folder / "images", sides)
                label = labels / side / f"{picture.stem}.txt"
                points[image, side or NO_SIDE], more = read_points(label, picture)
                classed += [label] * more
                files[image, side or NO_SIDE], paths[image] = label, picture
    return points, files, paths, classed


def _landmarks(points: Points, names: tuple[str, ...], off: float) -> pd.DataFrame:
    rows = [
        (image, side, name, x - off, y - off)
        for (image, side), pairs in points.items()
        for name, (x, y) in zip(names, pairs, strict=False)
        if not math.isnan(x)
    ]
    return pd.DataFrame(rows, columns=LABELS)


def _check_sides(path: Path, about: dict[str, Any], sides: tuple[str, ...]) -> None:
    """Raises: InputError where dataset.yaml states other sides than the folders'."""
    if "sides" in about and (wanted := sides_of(path, about["sides"])) != sides:
        got = " and ".join(f"images/{side}" for side in sides) or "images/ without left and right"
        raise InputError(
            f"{path}: sides: expected a folder of images and labels for each of "
            f"{shown(list(wanted))}, got {got}"
        )


def _combined(
    readings: list[pd.DataFrame], about: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The labels, and the second reading where it is kept apart."""
    if len(readings) == 2 and about.get("readers", "average") != "average":
        return readings[0], readings[1]
    if len(readings) == 1:
        return readings[0], None
    every = pd.concat(readings)
    return every.groupby(LABELS[:3], sort=False, as_index=False)[["x", "y"]].mean(), None


def _check_counts(
    points: Points,
    files: dict[tuple[str, str], Path],
    about: dict[str, Any],
    labels: Path,
    faults: Faults,
) -> tuple[str, ...]:
    """The landmarks' names. All label files must have that number of lines; those that do not are
    taken out of `points`.
    """
    usual = Counter(len(rows) for rows in points.values()).most_common(1)
    n_lines = usual[0][0] if usual else 0
    if n_lines == 0:
        raise InputError(f"{labels}: expected lines of x,y, got empty files")
    check_count(n_lines, str(labels))
    path = labels.parent / "dataset.yaml"
    names = names_of(path, about.get("landmarks") or [*range(1, n_lines + 1)])
    for key, rows in list(points.items()):
        with faults.of(key[0]):
            if len(rows) != len(names):
                del points[key]
                raise InputError(
                    f"{files[key]}: expected {len(names)} lines of x,y, one per landmark, "
                    f"got {len(rows)}"
                )
    return names
