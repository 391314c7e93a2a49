"""What the import formats share: finding an image's file, sides in names, labels to tables.

A label file names images and points one by one; a `Collector` takes them and makes `Tables`. A
dataset.yaml beside the label file may say more: name, landmarks (their order), sides, mirror_pairs,
spacing_mm, measurements, citation, licence, and pixel_zero (see `Collector`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lmkit.declare import declared
from lmkit.faults import Fault, Faults
from lmkit.fields import InputError, nearest
from lmkit.images import image_size
from lmkit.limits import check_coordinate, check_count, check_spacing
from lmkit.measures import Measurement
from lmkit.native import mirror_pairs_of, sides_of
from lmkit.places import find_image, image_name, usual_patients
from lmkit.tables import (
    LABELS,
    NO_SIDE,
    SPLITS,
    Tables,
    about_of,
    name_of,
    names_of,
    plain_name,
    shown,
    spacing_of,
)

KEYS = (
    *("name", "landmarks", "sides", "mirror_pairs", "spacing_mm", "pixel_zero", "measurements"),
    *("citation", "licence"),
)
EDGE_PX = 0.5  # where tools that measure from the image's edge have the first pixel's centre
SIDE = re.compile(r"(left|right)[ _.:/-]+(.+)", re.IGNORECASE)
IMAGE_COLUMNS = ["image", "patient", "split", "spacing_x_mm", "spacing_y_mm", "spacing_source"]
SAY_SIDE = "; rename it in the file to left or right, the patient's own side"
Point = tuple[float, float, str]  # x, y, where it stands


@dataclass
class Collector:
    """Takes images and points as a label file gives them, and makes the tables of a dataset.

    Sides: where the file states the side of each point, or every label begins with left or right
    and a sign (`left_tip`), that is the side; else the dataset has none. `sides: []` in
    dataset.yaml keeps such names whole.

    Args:
        folder: the dataset's folder; images lie in it, in its images/, or beside the label file.
        faults: what to do about errors.
        edge: the format measures from the image's edge, so that the first pixel's centre is at
            0.5. `pixel_zero: centre` in dataset.yaml says that these files do not, `edge` that
            they do.
    """

    folder: Path
    faults: Faults
    edge: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    points: dict[tuple[str, str, str], Point] = field(default_factory=dict)
    order: dict[str, None] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        path = self.folder / "dataset.yaml"
        if not path.exists():
            return
        with self.faults.of():
            self.about = about_of(path, KEYS)
            self.edge = edge_px(path, self.about, self.edge) > 0

    def image(
        self,
        name: object,
        where: str,
        *,
        base: Path | None = None,
        size: tuple[object, object] = (None, None),
        **row: object,
    ) -> str:
        """Take an image; returns its name in the dataset.

        Args:
            name: as the label file has it: a path, an address, or a path on another computer.
            base: a folder that `name` may be relative to.
            size: W and H that the labels were made for, pixels, where the file says so.
            row: patient, split, spacing_x_mm, spacing_y_mm, spacing_source, where known.
        Raises: InputError for a missing image, one outside the folder or given twice, or one of
            another size.
        """
        path = find_image(self.folder, name, where, base)
        image = name_of(image_name(self.folder, path), "image", where)
        if image in self.images:
            raise InputError(f"{where}: image: expected each image once, got {image!r} again")
        if size != (None, None):
            height, width = image_size(path)
            if size != (width, height):
                raise InputError(
                    f"{where}: expected labels for {image} of {width} x {height} pixels, got some "
                    f"for {shown(size[0])} x {shown(size[1])}; label the image that is there, or "
                    "put back the one that was labelled"
                )
        self.images[image] = _checked(row, where)
        self.paths[image] = path
        return image

    def also(self, image: str, where: str, first: str, **row: object) -> None:
        """What another row says of an image that is taken; it fills what was not known.

        Raises: InputError where it says otherwise than `first`, the row it was taken from.
        """
        for key, value in _checked(row, where).items():
            known = self.images[image].setdefault(key, value)
            if known != value:
                raise InputError(
                    f"{where}: {key}: expected {shown(known)} for {image} as in {first}, got "
                    f"{shown(value)}"
                )

    def point(
        self, image: str, label: object, xy: tuple[float, float], where: str, side: str = ""
    ) -> None:
        """Take a point.

        Args:
            label: the landmark, perhaps led by its side.
            xy: pixels, as the format has them.
            side: left or right where the file states it apart.
        Raises: InputError for a label that is no text, an unknown side, or a point given twice.
        """
        if not isinstance(label, str | int) or not str(label).strip():
            raise InputError(f"{where}: landmark: expected a name, got {shown(label)}")
        side = side.strip().lower()
        if side not in ("left", "right", ""):
            raise InputError(f"{where}: side: expected left | right, got {shown(side)}{SAY_SIDE}")
        key = (image, side, name_of(label, "landmark", where).strip())
        if key in self.points:
            raise InputError(
                f"{where}: expected each landmark once, got {key[2]} of {image} again, first in "
                f"{self.points[key][2]}"
            )
        off, named = EDGE_PX if self.edge else 0.0, f"{key[2]}: "
        x, y = (check_coordinate(v, named + a, where) for v, a in zip(xy, "xy", strict=True))
        self.order.setdefault(key[2])
        self.points[key] = (x - off, y - off, where)

    def tables(self, **more: Any) -> Tables:
        """All of it, checked; `more` are fields of `Tables` that dataset.yaml does not state.

        Raises: InputError where there is no point, a label is unknown, or dataset.yaml is wrong.
        """
        with self.faults.of():
            if not self.points:
                raise InputError(f"{self.folder}: expected labelled images, got no point in any")
        path, about = self.folder / "dataset.yaml", {**more, **self.about}
        sides, place = self._sides(about, path)
        names = tuple(dict.fromkeys(place(label)[1] for label in self.order))
        with self.faults.of():
            check_count(len(names), str(self.folder))
        spacing = (math.nan, math.nan)
        pairs: tuple[tuple[str, str], ...] = ()
        measurements: tuple[Measurement, ...] = ()
        with self.faults.of():
            spacing = spacing_of(path, about.get("spacing_mm"))
            names = names_of(path, about["landmarks"]) if "landmarks" in about else names
            pairs = mirror_pairs_of(path, about.get("mirror_pairs") or [], names)
            measurements = declared(path, about.get("measurements"), names)
        landmarks = self._landmarks(place, names, bool(sides))
        labelled = set(landmarks["image"])
        skipped = [Fault(i, f"{i}: no point") for i in self.images if i not in labelled]
        return Tables(
            name=plain_name(about.get("name") or self.folder.resolve().name),
            names=names,
            sides=sides,
            images=self._image_table(labelled, spacing),
            landmarks=landmarks,
            paths={image: path for image, path in self.paths.items() if image in labelled},
            mirror_pairs=pairs,
            citation=str(about.get("citation") or ""),
            licence=str(about.get("licence") or ""),
            measurements=measurements,
            skipped=tuple(skipped),
            notes=tuple(f"{count} {what}" for what, count in self.lost.items() if count),
        )

    def _sides(self, about: dict[str, Any], path: Path) -> tuple[tuple[str, ...], Any]:
        """The sides, and what splits a label into its side ('' = stated apart) and landmark."""
        stated = {side for _, side, _ in self.points}
        whole = stated - {""} or about.get("sides", 1) in ([], None, ())
        found = {} if whole else {label: SIDE.fullmatch(label) for label in self.order}
        if stated - {""} and "" in stated:
            lacking = next(w for (_, s, _), (_, _, w) in self.points.items() if not s)
            with self.faults.of():
                raise InputError(f"{lacking}: side: expected left | right, as others, got nothing")
        if found and all(found.values()):
            split = {label: (m[1].lower(), m[2]) for label, m in found.items() if m}
            return tuple(sorted({side for side, _ in split.values()})), split.__getitem__
        sides = tuple(sorted(stated - {""}))
        with self.faults.of():
            if "sides" in about and (wanted := sides_of(path, about["sides"])) != sides:
                got = " and ".join(sides) or "labels that name no side, such as left_"
                raise InputError(f"{path}: sides: expected {' and '.join(wanted)}, got {got}")
        return sides, lambda label: ("", label)

    def _landmarks(self, place: Any, names: tuple[str, ...], sided: bool) -> pd.DataFrame:
        rows, known = [], set(names)
        for (image, side, label), (x, y, where) in self.points.items():
            with self.faults.of(image):
                prefix, landmark = place(label)
                if landmark not in known:
                    raise InputError(
                        f"{where}: landmark: expected {' | '.join(names)}, got {shown(landmark)}"
                        f"{nearest(landmark, names)}"
                    )
                rows.append((image, (side or prefix) if sided else NO_SIDE, landmark, x, y))
        return pd.DataFrame(rows, columns=LABELS)

    def _image_table(self, labelled: set[str], spacing: tuple[float, float]) -> pd.DataFrame:
        rows, patients = [], usual_patients(i for i in self.images if i in labelled)
        for image, row in self.images.items():
            if image in labelled:
                usual = {"patient": patients[image], "split": "", "spacing_source": ""}
                mm = dict(zip(("spacing_x_mm", "spacing_y_mm"), spacing, strict=True))
                rows.append({"image": image} | usual | mm | row)
        frame = pd.DataFrame(rows, columns=IMAGE_COLUMNS)
        stated = (frame["spacing_source"] != "").any()
        return frame if stated else frame.drop(columns="spacing_source")


def edge_px(path: Path, about: dict[str, Any], edge: bool) -> float:
    """What is to be taken off coordinates, pixels, as `pixel_zero` of a dataset.yaml says.

    Args:
        edge: where it says nothing, whether the format measures from the image's edge.
    Raises: InputError for another value than edge or centre.
    """
    zero = about.get("pixel_zero", "edge" if edge else "centre")
    if zero not in ("edge", "centre"):
        raise InputError(f"{path}: pixel_zero: expected edge | centre, got {shown(zero)}")
    return EDGE_PX if zero == "edge" else 0.0


def _checked(row: dict[str, Any], where: str) -> dict[str, Any]:
    """What is known of an image: patient and split as text, spacings > 0. Raises: InputError."""
    known = {key: value for key, value in row.items() if value not in ("", None)}
    if known.get("split", "train") not in SPLITS:
        raise InputError(
            f"{where}: split: expected train | val | test, got {shown(known['split'])}"
        )
    for axis in ("spacing_x_mm", "spacing_y_mm"):
        check_spacing(known.get(axis, 1.0), axis, where)
    if "patient" in known:
        known["patient"] = name_of(known["patient"], "patient", where)
    return known


def split_in(text: str) -> str:
    """train, val or test where a name such as instances_train2017 says so, else ''."""
    words = re.split(r"[^a-z]+", text.lower())
    found = {split for split in SPLITS if split in words}
    return found.pop() if len(found) == 1 else ""
