"""Which images are the same picture, or nearly: a digest of the pixels, a small difference hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lmkit.images import to_uint8

BITS = 16  # the hash compares neighbours on a grid of 17 x 16 means
LEAST_STEP = 2.0  # grey levels between neighbours that are more than noise
# Share of the steps in which pictures that look the same may differ: copies after JPEG, scaling,
# noise or another brightness differ in up to 0.16, images of other patients in 0.27 and more.
NEAR = 0.2
BLOCK = 512  # hashes compared at a time


@dataclass(frozen=True)
class Look:
    """What is kept of a picture.

    Attributes:
        digest: equal where size and all pixels are.
        steps: (2, BITS, BITS) -1, 0 or 1: darker, alike or brighter than the neighbour right and
            below, on a small copy.
        blank: all pixels have one value.
    """

    digest: bytes
    steps: np.ndarray
    blank: bool


def look_at(image: np.ndarray) -> Look:
    """The digest and the difference hash of an image, (H, W) uint8 or uint16.

    Source: dHash (Krawetz 2013), with both directions and a third value for flat places.
    """
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).tobytes())
    side = BITS + 1
    grey = Image.fromarray(to_uint8(image)).resize((side, side), Image.Resampling.BOX)
    small = np.asarray(grey, float)
    low, high = small.min(), small.max()
    small = (small - low) * (255 / max(high - low, 1))  # brightness and contrast do not count
    steps = [np.diff(small, axis=1)[:BITS], np.diff(small, axis=0)[:, :BITS]]
    signs = np.sign(steps) * (np.abs(steps) > LEAST_STEP)
    return Look(digest.digest(), signs.astype(np.int8), bool(image.min() == image.max()))


def pairs(looks: Sequence[Look]) -> Iterator[tuple[int, int, bool]]:
    """(i, j, same pixels) with i < j, for every picture that looks like an earlier one.

    i is the first with the same pixels, else the one that looks most alike. Blank pictures look
    like nothing.
    """
    first: dict[bytes, int] = {}
    for start in range(0, len(looks), BLOCK):
        differ = _differ(looks[start : start + BLOCK], looks)
        for k, row in enumerate(differ):
            j = start + k
            i = first.setdefault(looks[j].digest, j)
            if i < j:
                yield i, j, True
            elif j and row[:j].min() <= NEAR:
                yield int(row[:j].argmin()), j, False


def _differ(rows: Sequence[Look], columns: Sequence[Look]) -> np.ndarray:
    """(rows, columns) share of the steps of either picture that are not the other's; 1 if blank."""
    flat = [np.stack([look.steps.reshape(-1) for look in looks]) for looks in (rows, columns)]
    a, b = (steps.astype(np.float32) for steps in flat)
    both = np.abs(a) @ np.abs(b).T
    alike = (a @ b.T + both) / 2  # a step in both, in the same direction
    either = np.abs(a).sum(1)[:, None] + np.abs(b).sum(1) - both
    blank = np.array([x.blank for x in rows])[:, None] | np.array([x.blank for x in columns])
    return np.where(blank, 1.0, 1 - alike / np.maximum(either, 1))
