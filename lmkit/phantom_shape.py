"""Where the five landmarks of each side lie: a statistical shape model, its figures as constants.

The figures were computed once from the true coordinates of `pell_gregory/test_predictions.csv` (the
evaluation logs of github.com/mohamednourdine/pell-gregory-classification; Egyptian Informatics
Journal 2026, doi 10.1016/j.eij.2026.100917): 85 patient-left and 82 patient-right sets of points in
1100 x 600 crops, 63 patients with both. Three right sets (231-503-e, 27-k, 33-5560) are left out:
their second molar is 11 px wide where all others have 20 to 41, so they were clicked at another
scale. No coordinate of a patient is kept here, only means and principal modes.

All tables are in the mirrored frame, in which both sides look like the patient's left: x grows
distally, `x = 1099 - x` for the right side. Points go m2 mesial cusp, m2 distal cusp, m2 mesial
cervical end, m2 distal cervical end, m3 top.
"""

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from lmkit import lines, measures
from lmkit.declare import declared
from lmkit.tables import LEFT_RIGHT

NAMES = ("m2_mesial_cusp", "m2_distal_cusp", "m2_mesial_cej", "m2_distal_cej", "m3_top")
HW = (600, 1100)  # pixels, the frame of the published coordinates
SIDES = LEFT_RIGHT

MEAN = {  # px, xy of the five points
    "left": (777.0, 329.1, 803.0, 322.0, 772.3, 373.0, 823.2, 358.3, 847.7, 317.1),
    "right": (779.1, 336.7, 805.3, 330.4, 773.2, 378.8, 825.6, 366.0, 854.0, 324.0),
}
# What the points are for, as a dataset.yaml would declare it. Depth and class are those of Pell and
# Gregory 1933 as the authors of the coordinates take them: A above the second molar's occlusal
# line, B between it and the cervical line, C below that.
MEASUREMENTS = declared(
    "phantom",
    {
        "m3_depth": {"kind": "between", "point": NAMES[4], "from": NAMES[:2], "to": NAMES[2:4]},
        "pell_gregory": {"kind": "class", "of": "m3_depth", "below": {"A": 0, "B": 1}, "else": "C"},
        "m2_m3_gap": {"kind": "distance", "points": [NAMES[3], NAMES[4]]},
        "m3_angle": {"kind": "angle", "points": NAMES[2:]},  # at the second molar's neck
    },
    NAMES,
)
# Principal modes times their standard deviation, px. What they say: jaw height, jaw width (or
# positioning), eruption of the third molar, gap to the third molar, tilt and size of the second.
MODES = {
    "left": (
        (-5.0, 26.5, -5.0, 27.7, -7.1, 26.7, -6.7, 29.2, -5.5, 30.4),
        (19.7, 5.3, 20.4, 4.7, 21.1, 4.7, 22.2, 5.1, 24.6, 3.0),
        (-0.1, -4.3, 0.3, -4.1, -1.0, -4.4, -0.7, -3.2, 2.7, 14.5),
        (3.2, -0.2, 2.8, -0.5, 3.2, -0.4, 2.2, -0.2, -9.6, 1.7),
        (2.1, -2.0, 2.0, 0.3, -2.6, -1.7, -1.3, 3.5, 0.1, -0.6),
        (-0.4, -1.6, -0.5, -2.3, 0.9, 2.3, -0.1, 1.6, 0.0, 0.0),
    ),
    "right": (
        (-7.8, 28.3, -8.4, 29.5, -10.4, 29.5, -9.9, 31.2, -7.1, 32.8),
        (17.2, 4.8, 18.0, 4.7, 18.1, 4.9, 18.5, 4.7, 17.7, 6.6),
        (0.1, -3.8, 0.6, -3.0, -1.1, -4.1, -1.0, -1.9, 0.7, 11.2),
        (3.2, 0.1, 2.4, -0.3, 3.2, 0.4, 2.0, -0.7, -11.2, 1.0),
        (1.9, -2.4, 1.6, -0.6, -2.2, 0.2, -0.8, 3.2, -0.1, -0.7),
        (-0.7, -1.3, -1.1, -2.5, 0.9, 3.3, 0.6, 0.2, 0.1, 0.3),
    ),
}
RESIDUAL_SD_PX = 2.2  # root mean square of the four modes not listed
SIDE_CORRELATION = (0.88, 0.45, 0.62, 0.35, 0.57, 0.59)  # of a mode's score, left against right
CLASS_SHARES = {  # Pell & Gregory depth, as counted in the real sets
    "left": {"A": 0.471, "B": 0.482, "C": 0.047},
    "right": {"A": 0.500, "B": 0.476, "C": 0.024},
}
SD_PX = {  # px, of the ten coordinates; what the modes above must add up to
    "left": (20.8, 27.5, 21.4, 28.5, 22.7, 27.7, 23.4, 30.1, 27.1, 33.9),
    "right": (19.4, 29.1, 20.2, 30.2, 21.4, 30.4, 21.2, 31.8, 22.2, 35.3),
}
MODE_SHARES = {"left": (0.585, 0.347), "right": (0.700, 0.244)}  # of the variance, first two modes
POSITION_MODE = 1  # heavy-tailed: excess kurtosis 3.0 left, 1.9 right, a few 3 to 4 SD off
ERUPTION_MODE = 2  # buried teeth make a long tail: sample skewness 2.5 left, 0.7 right
ERUPTION_SKEW = {"left": 0.60, "right": 0.60}  # log-normal shape
GAP_MODE = 3  # flat-topped: excess kurtosis -0.8 left, -1.2 right; a uniform score has -1.2
DECIMALS = 6  # of a point, px: the last bits of a product depend on the machine's BLAS
CLIP_SD = 2.6  # a score beyond this would put points outside what was seen
JAW_FOLLOWS = 0.0  # of a second molar's distance from its usual place: the rest is drifted teeth
# The three widest modes of both sides follow a Kronecker sequence in the index instead of
# independent draws, so that a few hundred patients already have the moments above: with free draws
# the mean height of 240 patients has a standard error of 2 px, as large as a shape difference.
_STEPS = np.sqrt(np.array([2.0, 3.0, 5.0, 7.0, 11.0, 13.0])) % 1.0
_SEQUENCE_STREAM = 990_001


def to_side(xy: np.ndarray, side: str) -> np.ndarray:
    """Mirrored frame to image frame, or back; (..., 2) xy in px."""
    if side not in SIDES:
        raise ValueError(f"side: expected one of {SIDES}, got {side!r}")
    if side == "left":
        return np.array(xy, dtype=float)
    return np.stack([HW[1] - 1 - xy[..., 0], xy[..., 1]], axis=-1)


def _skewed(score: np.ndarray, s: float) -> np.ndarray:
    """A standard normal score made right-skewed, its mean 0 and variance 1 kept (log-normal)."""
    mean, sd = np.exp(s * s / 2), np.sqrt((np.exp(s * s) - 1) * np.exp(s * s))
    return (np.exp(s * score) - mean) / sd


def _heavy_tailed(score: np.ndarray) -> np.ndarray:
    """A standard normal score with heavier tails, its mean 0 and variance 1 kept."""
    return np.sign(score) * np.abs(score) ** 1.5 / 1.263  # E|z|^3 = 1.263^2


def _scores(seed: int, index: int, rng: np.random.Generator) -> np.ndarray:
    """(2, 6) standard normal scores of a patient, the first three columns evenly spread."""
    scores = rng.standard_normal((2, len(SIDE_CORRELATION)))
    start = np.random.default_rng([seed, _SEQUENCE_STREAM]).random(6)
    even = (start + (index + 1) * _STEPS) % 1.0
    scores[:, :3] = ndtri(np.clip(even, 1e-4, 1 - 1e-4)).reshape(2, 3)
    return scores


def sample_shape(seed: int, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw one patient's points, both sides, correlated as in the real patients.

    Args:
        seed, index: place in the evenly spread sequence of the leading modes.
        rng: the patient's own generator, for all else.
    Returns: side -> (5, 2) xy, px, mirrored frame.
    """
    rho = np.array(SIDE_CORRELATION)
    first, other = np.clip(_scores(seed, index, rng), -CLIP_SD, CLIP_SD)
    scores = {"left": first, "right": rho * first + np.sqrt(1 - rho**2) * other}
    residual_sd = RESIDUAL_SD_PX * np.sqrt(4 / 10)  # four unlisted modes over ten coordinates
    points = {}
    for side in SIDES:
        score = scores[side].copy()
        score[POSITION_MODE] = _heavy_tailed(score[POSITION_MODE])
        score[ERUPTION_MODE] = _skewed(score[ERUPTION_MODE], ERUPTION_SKEW[side])
        score[GAP_MODE] = np.sqrt(3) * (2 * ndtr(score[GAP_MODE]) - 1)
        noise = residual_sd * np.clip(rng.standard_normal(10), -CLIP_SD, CLIP_SD)
        xy = (np.array(MEAN[side]) + score @ np.array(MODES[side]) + noise).reshape(5, 2)
        points[side] = np.round(_settle(xy), DECIMALS)
    return points


def _settle(points: np.ndarray) -> np.ndarray:
    """Let nearly erupted third molars rise a little: real ones gather at the occlusal plane."""
    d, gap = _between_lines(points)
    settled = points.copy()
    settled[4, 1] -= 0.06 * np.exp(-(((d - 0.1) / 0.2) ** 2)) * gap
    return settled


def jaw_x(points: np.ndarray, side: str) -> float:
    """Where the jaw (bones and upper teeth) takes the second molar to be, px, mirrored frame.

    A second molar far from its usual place has mostly drifted, or was pushed, along a jaw that
    stays; without that the jaw would tell which molar is the second.

    Args:
        points: (5, 2) xy, px, mirrored frame.
    """
    usual = (MEAN[side][4] + MEAN[side][6]) / 2
    drifted = usual + JAW_FOLLOWS * (points[2:4, 0].mean() - usual)
    return max(drifted, points[4, 0] - 110)  # the ramus holds the third molar


def depth(points: np.ndarray) -> np.ndarray:
    """Depth of the third molar's top between the occlusal (0) and the cervical line (1).

    Args:
        points: (..., 5, 2) xy, px, either frame.
    Returns: (...), 0 on the occlusal line of the second molar, 1 on its cervical line.
    Source: Pell & Gregory 1933, as used by the authors of the coordinates.
    """
    return _between_lines(points)[0]


def _between_lines(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth, and the way from the occlusal to the cervical line at the third molar's top, px."""
    p = np.asarray(points, dtype=float)
    return lines.between(p[..., 4, :], p[..., :2, :], p[..., 2:4, :])


def depth_class(points: np.ndarray) -> np.ndarray:
    """Pell & Gregory class of (..., 5, 2) points: 'A' above both lines, 'B' between, 'C' below."""
    rule = next(m for m in MEASUREMENTS if m.name == "pell_gregory")
    return measures.classes(rule, points, NAMES, np.array(1.0))  # the same for any spacing


def beside_real(points: np.ndarray, side: str) -> pd.DataFrame:
    """Shape statistics of some labels beside those of the real coordinates.

    Args:
        points: (N, 5, 2) xy, px of a 1100 x 600 picture, N >= 2.
        side: left | right.
    Returns: rows indexed by figure and of, columns real, here, allowed (how far the two may be
        apart), within. Figures: mean (px, +- 3), sd (px, +- 25 %), mode (share of the variance,
        +- 0.10), class (share of Pell & Gregory A, B, C, +- 0.10); means in the mirrored frame.
    Raises: ValueError for another shape.
    """
    if points.ndim != 3 or points.shape[1:] != (5, 2) or len(points) < 2:
        raise ValueError(f"points: expected shape (N, 5, 2) with N >= 2, got {points.shape}")
    flat = to_side(points, side).reshape(-1, 10)
    variance = np.linalg.eigvalsh(np.cov(flat.T))[::-1]
    classes = depth_class(points)
    names = [f"{axis}{k}" for k in range(1, 6) for axis in "xy"]
    real = {"mean": MEAN[side], "sd": SD_PX[side], "mode": MODE_SHARES[side]}
    real["class"] = tuple(CLASS_SHARES[side].values())
    here = {"mean": flat.mean(0), "sd": flat.std(0, ddof=1), "mode": variance[:2] / variance.sum()}
    here["class"] = np.array([(classes == name).mean() for name in "ABC"])
    of = {"mean": names, "sd": names, "mode": ["1", "2"], "class": list("ABC")}
    table = pd.DataFrame(
        [
            (figure, name, there, value)
            for figure in real
            for name, there, value in zip(of[figure], real[figure], here[figure], strict=True)
        ],
        columns=["figure", "of", "real", "here"],
    ).set_index(["figure", "of"])
    kind = table.index.get_level_values("figure")
    table["allowed"] = np.where(kind == "mean", 3.0, np.where(kind == "sd", 0.25 * table.real, 0.1))
    table["within"] = (table.here - table.real).abs() <= table.allowed
    return table
