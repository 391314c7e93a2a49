"""What one model sees: a row per picture it is shown, with the points it has to find.

`side=right` shows every image that has right landmarks; `both` shows it a second time, mirrored,
with the left landmarks in the place of the right ones; `joint` asks for all of them at once.
With `pool_sides` a model of one side is trained on such mirrored images as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lmkit.data import Dataset
from lmkit.fields import InputError
from lmkit.tables import LEFT_RIGHT, NO_SIDE, SPLITS

OPPOSITE = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Samples:
    """N pictures for a model with L heatmaps.

    Attributes:
        index: (N,) number of the image in the dataset.
        mirrored: (N,) shown mirrored left to right.
        points: (N, L, 2) xy, pixels of the source image as stored; NaN = not annotated.
        sides: (N, L) side that each point belongs to.
        landmarks: (L,) names; the same name twice for `joint`.
        splits, patients, images: (N,).
        spacing_mm: (N, 2) x, y.
        partner: (L,) the map that each map becomes in a mirrored image; None where a mirrored
            image is not one of this kind, as with one side alone.
    """

    index: np.ndarray
    mirrored: np.ndarray
    points: np.ndarray
    sides: np.ndarray
    landmarks: tuple[str, ...]
    splits: np.ndarray
    patients: np.ndarray
    images: np.ndarray
    spacing_mm: np.ndarray
    partner: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray) -> Samples:
        """The samples of some rows: numbers, or a mask."""
        whole = ("landmarks", "partner")
        per_row = {name: value[rows] for name, value in vars(self).items() if name not in whole}
        return replace(self, **per_row)

    def split(self, name: str) -> Samples:
        """The samples of train, val or test. Raises: InputError when there are none."""
        chosen = self.splits == name
        if not chosen.any():
            have = {split: int((self.splits == split).sum()) for split in SPLITS}
            raise InputError(
                f"split {name}: expected images with landmarks of this side, got none; images by "
                f"split: {have}; see the split column of images.csv, or split_fractions"
            )
        return self.take(chosen)


def run_side(dataset: Dataset, side: str) -> str:
    """The folder and the meaning of `side` for this dataset: itself, or 'all' without sides.

    Raises: InputError for a side that the dataset does not have.
    """
    if not dataset.sides:
        return NO_SIDE
    wanted = LEFT_RIGHT if side in ("both", "joint") else (side,)
    missing = [name for name in wanted if name not in dataset.sides]
    if missing:
        raise InputError(
            f"side: expected a side of {dataset.name} ({', '.join(dataset.sides)}), got {side!r}"
        )
    return side


def _partner(dataset: Dataset, side: str) -> np.ndarray | None:
    """(L,) the map that each map becomes in a mirrored image, or None; see `Samples`."""
    n = len(dataset.names)
    if side == "joint":
        return (np.arange(2 * n) + n) % (2 * n)
    if dataset.sides or not dataset.mirror_pairs:
        return None
    partner = np.arange(n)
    for pair in dataset.mirror_pairs:
        a, b = (dataset.names.index(name) for name in pair)
        partner[[a, b]] = b, a
    return partner


def line_up(dataset: Dataset, side: str, pool: bool = False) -> Samples:
    """The samples for `side`: left, right, both or joint; images without a point are left out.

    Args:
        pool: for left and right, the train split also shows the other side's images, mirrored so
            that they look like this side's; nothing where the dataset has no other side.
    """
    side, n = run_side(dataset, side), len(dataset.names)
    everything = np.arange(len(dataset.images))
    pool = pool and side in OPPOSITE and OPPOSITE[side] in dataset.sides
    if side == "both" or pool:
        home = "right" if side == "both" else side
        index = np.concatenate([everything, everything])
        mirrored = np.repeat([False, True], len(everything))
        points = np.concatenate([dataset.points(home), dataset.points(OPPOSITE[home])])
        sides = np.repeat([[home] * n, [OPPOSITE[home]] * n], len(everything), axis=0)
    elif side == "joint":
        index, mirrored = everything, np.zeros(len(everything), bool)
        points = np.concatenate([dataset.points(name) for name in LEFT_RIGHT], axis=1)
        sides = np.tile(np.repeat(LEFT_RIGHT, n), (len(everything), 1))
    else:
        index, mirrored = everything, np.zeros(len(everything), bool)
        points, sides = dataset.points(side), np.full((len(everything), n), side)
    frame = dataset.images
    samples = Samples(
        index=index,
        mirrored=mirrored,
        points=points,
        sides=sides,
        landmarks=dataset.names * (2 if side == "joint" else 1),
        splits=frame["split"].to_numpy(str)[index],
        patients=frame["patient"].to_numpy(str)[index],
        images=frame["image"].to_numpy(str)[index],
        spacing_mm=dataset.spacing_mm[index],
        partner=_partner(dataset, side),
    )
    kept = ~np.isnan(points).all((1, 2))
    return samples.take(kept & (samples.splits == "train") | kept & ~mirrored if pool else kept)
