"""What the dataset check finds without a look at pixels: points, spacings, sizes, no labels."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from lmkit.faults import Faults

SPACING = ["spacing_x_mm", "spacing_y_mm"]
ODD_Z = 8.0  # robust deviations of the log spacing, and
ODD_RATIO = 1.5  # times the median, beyond which a spacing is odd
SAME = 0.01  # difference of logs below which spacings are equal
NO_SPACING = (  # training needs one: see `lmkit.data.open_for`
    "add the columns spacing_x_mm and spacing_y_mm, write spacing_mm in dataset.yaml, or give "
    "every notebook -p spacing_mm X; with -p spacing_mm 1 each mm in tables and figures is a pixel"
)


class Found(TypedDict, total=False):
    """A row of the table of problems."""

    problem: str
    image: str
    file: str
    row: str
    expected: str
    got: str
    to_do: str
    stops: bool


def outside(landmarks: pd.DataFrame, sizes: dict[str, tuple[int, int]]) -> list[Found]:
    """Points outside their image, whose pixels reach from -0.5 to W - 0.5 and H - 0.5.

    Args:
        sizes: (H, W) of the images whose size is known.
    """
    found = []
    for row in landmarks.itertuples():
        if row.image not in sizes:
            continue
        height, width = sizes[row.image]
        if not (-0.5 <= row.x <= width - 0.5 and -0.5 <= row.y <= height - 0.5):
            name = row.landmark if row.side == "all" else f"{row.side} {row.landmark}"
            found.append(
                Found(
                    problem="point outside the image", image=row.image,
                    expected=f"{name} in {width} x {height} pixels",
                    got=f"x {row.x:.1f}, y {row.y:.1f}",
                    to_do="look whether x and y, the image or the scale are another one's",
                )
            )  # fmt: skip
    return found


def unlabelled(tables: Any, stray: list[Path], faults: Faults) -> list[Found]:
    """Images that no label names or that have no point, and label sets with a point missing."""
    named = {fault.image for fault in faults.found} | {Path(f.image).name for f in faults.found}
    left_out = {fault.image for fault in getattr(tables, "skipped", ())}
    names = [path.name for path in stray if path.name not in named | left_out]
    found = [
        Found(
            problem="image without labels", image=name, expected="its landmarks", got="none",
            to_do="label it, or take it out of the folder",
        )
        for name in sorted({*names, *(left_out - named)})
    ]  # fmt: skip
    wanted = list(tables.names)
    for (image, side), rows in tables.landmarks.groupby(["image", "side"], sort=False):
        there = set(rows["landmark"])
        lacking = [name for name in wanted if name not in there]
        if lacking:
            where = "" if side == "all" else f", {side}"
            found.append(
                Found(
                    problem="points missing", image=image, expected=f"{len(wanted)} points{where}",
                    got=f"{len(rows)}, without {', '.join(lacking)}",
                    to_do="nothing, if they cannot be seen: they count as not annotated",
                )
            )  # fmt: skip
    return found


def remarked(tables: Any) -> list[Found]:
    """What a reader took for granted and may be wrong."""
    remarks = getattr(tables, "remarks", ())
    return [Found(problem="taken for granted", image="", got=remark) for remark in remarks]


def alike_patients(images: pd.DataFrame) -> list[Found]:
    """Patients whose names differ in capitals, spaces or width alone, and may be one."""
    spellings: dict[str, dict[str, None]] = {}
    for patient in images["patient"].astype(str):
        plain = " ".join(unicodedata.normalize("NFKC", patient).casefold().split())
        spellings.setdefault(plain, {}).setdefault(patient)
    return [
        Found(
            problem="patients alike", image="", expected="one spelling of each patient",
            got=" and ".join(map(repr, names)),
            to_do="write them alike if they are one, or both splits may have them",
        )
        for names in spellings.values()
        if len(names) > 1
    ]  # fmt: skip


def odd_sizes(sizes: dict[str, tuple[int, int]]) -> list[Found]:
    """Images turned by 90 degrees against nearly all others, or of less than half their size.

    Args:
        sizes: (H, W) of the images whose size is known.
    """
    if len(sizes) < 5:
        return []
    hw = np.array(list(sizes.values()), float)
    usual = np.median(hw, axis=0)
    lying = np.sign(np.log(hw[:, 1] / hw[:, 0]).round(2))
    most = np.sign(lying.sum()) if abs(lying.sum()) >= 0.8 * len(lying) else 0
    found = []
    for (image, (height, width)), way in zip(sizes.items(), lying, strict=True):
        ratio = np.sqrt(height * width / usual.prod())
        if most and way == -most:
            why, to_do = "size: turned", "turn the image and its points, if it is"
        elif not 0.5 <= ratio <= 2:
            why, to_do = "size: unusual", "look whether it is a thumbnail or another kind of image"
        else:
            continue
        expected = f"about {usual[1]:.0f} x {usual[0]:.0f} pixels"
        found.append(
            Found(
                problem=why, image=image, expected=expected, got=f"{width} x {height}", to_do=to_do
            )
        )
    return found


def spacing_rows(images: pd.DataFrame) -> list[Found]:
    """Spacings that are missing, which stops training, far from the others, or exchanged in x and
    y."""
    table = images.set_index("image")[SPACING].astype(float)
    known = table.dropna()
    if known.empty and len(table):
        first = f"none for {len(table)} images"
        return [
            Found(
                problem="spacing missing", image="", expected="mm per pixel in x and y", got=first,
                to_do=NO_SPACING, stops=True,
            )
        ]  # fmt: skip
    found = [
        Found(
            problem="spacing missing", image=image, expected="mm per pixel in x and y", got="none",
            to_do=f"as for the others, {NO_SPACING}", stops=True,
        )
        for image in table.index.difference(known.index, sort=False)
    ]  # fmt: skip
    return found if known.empty else found + _odd(known)


def _odd(known: pd.DataFrame) -> list[Found]:
    """Of the spacings that are stated, those that do not fit the others."""
    logs = np.log(known.to_numpy())
    usual = np.median(logs, axis=0)
    spread = 1.4826 * np.median(np.abs(logs - usual), axis=0)
    ratio, usual_ratio = logs[:, 0] - logs[:, 1], usual[0] - usual[1]
    found = []
    for image, log, own in zip(known.index, logs, ratio, strict=True):
        off = np.abs(log - usual)
        stated = f"{np.exp(log[0]):g}, {np.exp(log[1]):g}"
        expected = f"about {np.exp(usual[0]):.4g}, {np.exp(usual[1]):.4g} mm (x, y)"
        if abs(usual_ratio) > SAME and abs(own + usual_ratio) < SAME < abs(own - usual_ratio):
            to_do = "exchange the two: x is along a row; DICOM and NIfTI state y first"
            problem = "spacing: x and y exchanged"
        elif (off > np.maximum(ODD_Z * spread, np.log(ODD_RATIO))).any():
            to_do = "look whether it is in mm per pixel, and of this image"
            problem = "spacing: odd"
        elif abs(own - usual_ratio) > np.log(ODD_RATIO):
            to_do, problem = (
                "look whether one axis is another image's",
                "spacing: odd shape of pixel",
            )
        else:
            continue
        found.append(
            Found(problem=problem, image=image, expected=expected, got=stated, to_do=to_do)
        )
    return found
