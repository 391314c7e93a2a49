"""Label tables as arrays: one row per image and side, both sides in one frame, gaps known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lmkit.audit_shape import TooFew
from lmkit.tables import LABELS, LEFT_RIGHT, NO_SIDE

LEAST_IMAGES = 40
SIDES = (*LEFT_RIGHT, NO_SIDE)
MM = ("spacing_x_mm", "spacing_y_mm")
Size = tuple[int, int] | Mapping[str, tuple[int, int]] | None


@dataclass(frozen=True)
class LabelSets:
    """Label sets of a dataset, one per image and side.

    Attributes:
        images, sides: (N,) names.
        names: landmarks, length L, in the order of their first mention.
        points: (N, L, 2) xy, px of the image; NaN = not annotated.
        centre: (N, 2) xy, px, the middle of the picture or between both sides, height 0 if unknown.
        line: (N,) x, px, what a mirror image turns about.
        guessed: (N,) sets whose line is the one that brings the set to the usual place.
        unit: (N, 2) size of a pixel; mm, or 1 where px are compared.
        turned: (N,) sets that are mirrored to lie with the others.
        partner: (N,) row of the same image's other side, -1 = none.
    """

    images: np.ndarray
    sides: np.ndarray
    names: tuple[str, ...]
    points: np.ndarray
    centre: np.ndarray
    line: np.ndarray
    guessed: np.ndarray
    unit: np.ndarray
    turned: np.ndarray
    partner: np.ndarray

    def frame(self, points: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Image px to the common frame: from the midline outwards, in units; (..., L, 2) xy."""
        out = (points - self.centre[rows, None]) * self.unit[rows, None]
        out[..., 0] *= np.where(self.turned[rows], -1.0, 1.0)[:, None]
        return out

    def moved(self, rows: np.ndarray, points: np.ndarray) -> LabelSets:
        """The same sets with other points (len(rows), L, 2) in some rows."""
        everything = self.points.copy()
        everything[rows] = points
        return replace(self, points=everything)


def read_sets(
    landmarks: pd.DataFrame, images: pd.DataFrame | None = None, size: Size = None
) -> LabelSets:
    """The label sets of a table; see `lmkit.audit.audit_labels` for the arguments and errors."""
    table = _checked(landmarks)
    names = tuple(table["landmark"].unique())
    keys = pd.MultiIndex.from_frame(table[["image", "side"]]).unique()
    row = keys.get_indexer(pd.MultiIndex.from_frame(table[["image", "side"]]))
    points = np.full((len(keys), len(names), 2), np.nan)
    points[row, pd.Index(names).get_indexer(table["landmark"])] = table[["x", "y"]].to_numpy(float)
    image, side = (keys.get_level_values(k).to_numpy(dtype=object) for k in (0, 1))
    whole = np.isfinite(points[..., 0]).sum(1) >= 2
    image, side, points = image[whole], side[whole], points[whole]
    if len(names) < 2:
        raise TooFew(f"landmarks: expected >= 2 landmarks, got {list(names)}; add the others")
    count = len(set(image))
    if count < LEAST_IMAGES:
        raise TooFew(
            f"landmarks: expected >= {LEAST_IMAGES} images with two or more points, got {count}; "
            "a robust shape needs more label sets"
        )
    both = set(side) == {*LEFT_RIGHT}
    where = {key: k for k, key in enumerate(zip(image, side, strict=True))}
    other = {"left": "right", "right": "left"}
    pairs = zip(image, side, strict=True)
    partner = np.array([where.get((i, other.get(s)), -1) for i, s in pairs])
    partner = partner if both else np.full(len(image), -1)
    centre = _centre(image, points, partner, size)
    x = np.nanmean(points[..., 0], axis=1)
    guessed = np.full(len(image), size is None and not both)
    sets = LabelSets(
        image, side, names, points, centre, np.where(guessed, (x + np.median(x)) / 2, centre[:, 0]),
        guessed, np.ones((len(image), 2)), _turned(side, points) if both else side == "", partner,
    )  # fmt: skip
    return sets if images is None else _in_better_unit(sets, images)


def _checked(landmarks: pd.DataFrame) -> pd.DataFrame:
    """The annotated rows with a side, or an error."""
    table = landmarks if "side" in landmarks.columns else landmarks.assign(side=NO_SIDE)
    lacking = [c for c in LABELS if c not in table.columns]
    if lacking:
        raise ValueError(
            f"landmarks: expected columns {LABELS} (side may be absent), got none named "
            f"{lacking}; rename them"
        )
    strange = ~table["side"].isin(SIDES)
    if strange.any():
        got = table.loc[strange, "side"].iloc[0]
        raise ValueError(
            f"landmarks: side: expected {' | '.join(SIDES)}, got {got!r}; rename it, or leave the "
            "column out where there are no sides"
        )
    table = table.assign(landmark=[str(name) for name in table["landmark"]])  # repairs are texts
    twice = table.duplicated(["image", "side", "landmark"])
    if twice.any():
        first = table.loc[twice, ["image", "side", "landmark"]].iloc[0].tolist()
        raise ValueError(
            "landmarks: expected one row for each image, side and landmark, got "
            f"{int(twice.sum())} repeated, first {first}; keep one"
        )
    return table[np.isfinite(table[["x", "y"]].to_numpy(dtype=float)).all(1)]


def _turned(side: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N,) the sets of the side that lies on the left of the pictures."""
    x = np.nanmedian(points[..., 0], axis=1)
    low = min(LEFT_RIGHT, key=lambda s: np.median(x[side == s]))
    return side == low


def _centre(image: np.ndarray, points: np.ndarray, partner: np.ndarray, size: Size) -> np.ndarray:
    """(N, 2) px: the picture's middle where its size is known, else the midline of the data."""
    x = np.nanmean(points[..., 0], axis=1)
    paired = partner >= 0
    midline = np.median((x[paired] + x[partner[paired]]) / 2) if paired.any() else np.median(x)
    centre = np.tile([float(midline), 0.0], (len(image), 1))
    if size is None:
        return centre
    for k, name in enumerate(image):
        hw = size.get(name) if isinstance(size, Mapping) else size
        if hw is None:
            raise ValueError(f"size: expected (H, W) of every image, got none for {name}; add it")
        if np.shape(hw) != (2,) or not (np.asarray(hw, float) > 0).all():
            raise ValueError(f"size: expected (H, W), px > 0, got {hw} for {name}; correct it")
        centre[k] = (hw[1] - 1) / 2, (hw[0] - 1) / 2
    return centre


def _in_better_unit(sets: LabelSets, images: pd.DataFrame) -> LabelSets:
    """In mm where the label sets' sizes agree better in mm than in px, else as they are.

    Raises: ValueError for a table without images, or with one twice.
    """
    if "image" not in images.columns:
        raise ValueError(f"images: expected a column image, got {list(images.columns)}; add it")
    if not set(MM) <= set(images.columns):
        return sets
    twice = images.duplicated("image")
    if twice.any():
        first = images.loc[twice, "image"].iloc[0]
        raise ValueError(f"images: expected one row for each image, got {first} again; keep one")
    unit = images.set_index("image")[list(MM)].reindex(sets.images).to_numpy(dtype=float)
    if not (np.isfinite(unit).all() and (unit > 0).all()):
        return sets
    scaled = replace(sets, unit=unit)
    spread = []
    for candidate in (sets, scaled):
        xy = candidate.frame(candidate.points)
        extent = np.log(np.maximum(np.ptp(xy[~np.isnan(xy).any((1, 2))], axis=1).max(1), 1e-9))
        spread.append(np.median(np.abs(extent - np.median(extent))) if len(extent) else 0.0)
    return scaled if spread[1] < spread[0] else sets
