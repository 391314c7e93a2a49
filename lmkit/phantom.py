"""A deterministic phantom of panoramic radiographs with five landmarks per side.

Seed and index give the picture. It is synthetic: its point statistics and its error pattern follow
real data (see `phantom_shape`), its pictures only look the part, and nothing clinical follows from
it. The landmarks are exact, because the teeth are constructed from them.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from lmkit import phantom_draw, phantom_layout
from lmkit.phantom_layout import Anatomy
from lmkit.phantom_shape import HW, MEASUREMENTS, NAMES, SIDES, beside_real, to_side
from lmkit.phantom_side import DIFFICULTY, Difficulty
from lmkit.tables import LABELS

__all__ = ["DIFFICULTY", "HW", "MEASUREMENTS", "NAMES", "SIDES", "VERSION", "Anatomy", "Difficulty"]
__all__ += ["REAL_ERRORS", "anatomy", "beside_real", "draw", "failures", "nearest_tooth", "table"]

VERSION = "1.7"  # raise when any pixel or label changes; part of the dataset's fingerprint

# What the authors' own models reach on the 85 test images a side behind the shape statistics,
# computed from pell_gregory/test_predictions.csv; a hit is strictly below 2 mm, as they count.
REAL_ERRORS = {
    "left": {"median_mm": 0.471, "failure_rate": 0.059, "sdr_2mm": 0.922},
    "right": {"median_mm": 0.527, "failure_rate": 0.113, "sdr_2mm": 0.849},
}


def _checked(name: str, value: int) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name}: expected a whole number >= 0, got {value!r}")
    return int(value)


def anatomy(seed: int, index: int, difficulty: Difficulty = DIFFICULTY) -> Anatomy:
    """Draw everything that is random about patient `index`; no picture yet.

    Args:
        seed, index: whole numbers >= 0; any index can be drawn without the others.
        difficulty: shares of confusing cases.
    Returns: an Anatomy; `.points` side -> (5, 2) xy in px, pixel centres at integers, order NAMES;
        `.spacing_mm` (x, y), nominal; `.cases` side -> names of what is unusual.
    Raises: ValueError for a bad seed or index.
    """
    return phantom_layout.build(_checked("seed", seed), _checked("index", index), difficulty)


def draw(anatomy: Anatomy) -> np.ndarray:
    """Render an anatomy; patient-left is on the right half. Returns (600, 1100) uint8."""
    return phantom_draw.render(anatomy)


def table(seed: int, n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of the first n patients, without their pictures; the difficulty moves no label.

    Returns: images (image, patient, spacing_x_mm, spacing_y_mm) and landmarks (image, side,
        landmark, x, y), px of the (600, 1100) picture, pixel centres at integers.
    Raises: ValueError for a bad seed or n.
    """
    images, rows = [], []
    for index in range(_checked("n", n)):
        points, spacing_mm = phantom_layout.shape_and_spacing(_checked("seed", seed), index)
        name = f"phantom_{index:05d}.png"
        images.append((name, f"p{index:05d}", *spacing_mm))
        for side in SIDES:
            xy = to_side(points[side], side)
            rows += [(name, side, m, *point) for m, point in zip(NAMES, xy, strict=True)]
    return (
        pd.DataFrame(images, columns=["image", "patient", "spacing_x_mm", "spacing_y_mm"]),
        pd.DataFrame(rows, columns=LABELS),
    )


def nearest_tooth(anatomy: Anatomy, side: str, points: np.ndarray) -> np.ndarray:
    """Which lower tooth each of the five points would belong to.

    Each tooth of the side has its own two cusps, cervical ends and middle of the crown's top; a
    point belongs to the tooth whose matching one is nearest.

    Args:
        anatomy: whose teeth.
        side: left | right.
        points: (5, 2) xy, px, order NAMES.
    Returns: (5,) FDI numbers, 39 and 49 being a fourth molar; the true points give 37 (47) four
        times and 38 (48) once.
    Raises: ValueError for a bad side or shape.
    """
    if side not in SIDES or np.shape(points) != (5, 2):
        raise ValueError(
            f"side, points: expected one of {SIDES} and shape (5, 2), got {side!r} and "
            f"{np.shape(points)}"
        )
    quadrant = {"left": 3, "right": 4}[side]
    teeth = [tooth for tooth in anatomy.teeth if tooth.number // 10 == quadrant]
    own = np.stack([np.vstack([tooth.key, tooth.key[:2].mean(0)]) for tooth in teeth])
    distance = np.linalg.norm(own - points, axis=-1)
    return np.array([tooth.number for tooth in teeth])[distance.argmin(0)]


def failures(predictions: pd.DataFrame, seed: int, beyond_mm: float = 4.0) -> pd.DataFrame:
    """Which tooth the failed predictions of a run on the phantom lie on.

    Args:
        predictions: rows of predictions.csv, all landmarks of an image and side together.
        seed: of the phantom.
        beyond_mm: a larger error is a failure.
    Returns: image, side, landmark, error_mm, tooth and own (FDI numbers), worst first.
    """
    rows = []
    for (image, side), part in predictions.groupby(["image", "side"], sort=False):
        error = part["error_mm"].to_numpy()
        if not (error > beyond_mm).any():
            continue
        patient = anatomy(seed, int(Path(str(image)).stem.rsplit("_", 1)[1]))
        found = nearest_tooth(patient, str(side), part[["x", "y"]].to_numpy())
        own = nearest_tooth(patient, str(side), part[["x_true", "y_true"]].to_numpy())
        rows += [
            (image, side, name, mm, int(tooth), int(right))
            for name, mm, tooth, right in zip(part["landmark"], error, found, own, strict=True)
            if mm > beyond_mm
        ]
    columns = ["image", "side", "landmark", "error_mm", "tooth", "own"]
    return pd.DataFrame(rows, columns=columns).sort_values("error_mm", ascending=False)
