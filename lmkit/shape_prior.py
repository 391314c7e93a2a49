"""Choose among each map's modes the configuration that anatomy allows.

A landmark on the neighbouring tooth while the others are on the right one is a shape that no
patient has, and the right place is often the map's second mode. Landmarks that all moved by a
tooth keep their shape; those no prior of shape alone can tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2

from lmkit.measures import cases, put_back, spacing_of
from lmkit.metrics import radial_error_mm

SHRINK = 0.1  # of the covariance towards independent coordinates
BEAM = 256  # partial configurations kept; all of them for five landmarks with three modes
IMPOSSIBLE = 0.999  # a configuration further out than this share of patients may be changed
MARKS = ("second", "third")


@dataclass(frozen=True)
class ShapePrior:
    """Where L landmarks of one side lie, in mm of the image, and how they go together.

    mean: (2L,) mm, x and y of each landmark in turn; covariance: (2L, 2L) mm squared.
    """

    mean: np.ndarray
    covariance: np.ndarray

    def squared(self, points_mm: np.ndarray) -> np.ndarray:
        """(...) squared Mahalanobis distance of (..., l, 2) points: the first l landmarks."""
        flat = points_mm.reshape(*points_mm.shape[:-2], -1)
        away, n = flat - self.mean[: flat.shape[-1]], flat.shape[-1]
        solved = np.linalg.solve(self.covariance[:n, :n], away[..., None])[..., 0]
        return (away * solved).sum(-1)


def fit_prior(points_mm: np.ndarray) -> ShapePrior:
    """The Gaussian of some label sets.

    Args:
        points_mm: (N, L, 2) mm; sets with a missing landmark are left out.
    Raises: ValueError with fewer than 2L whole sets.
    Source: Cootes et al. 1995, Comput. Vis. Image Underst. 61:38 (point distribution model), here
        with all modes and the place.
    """
    flat = points_mm[_whole(points_mm)].reshape(-1, 2 * points_mm.shape[1])
    if len(flat) < flat.shape[1]:
        raise ValueError(
            f"points_mm: expected at least {flat.shape[1]} whole label sets for "
            f"{points_mm.shape[1]} landmarks, got {len(flat)}"
        )
    covariance = np.cov(flat.T)
    shrunk = (1 - SHRINK) * covariance + SHRINK * np.diag(np.diag(covariance))
    return ShapePrior(flat.mean(0), shrunk)


def _whole(points: np.ndarray) -> np.ndarray:
    """(N,) bool: which of (N, L, 2) label sets miss nothing."""
    return ~np.isnan(points).any((1, 2))


def choose(prior: ShapePrior, modes_mm: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The most plausible mode of each landmark.

    Args:
        modes_mm: (L, K, 2) mm, each map's modes, the decoded point first; NaN = none.
        shares: (L, K) their heights over the first one's.
    Returns: (L,) which mode; all 0 where the first ones make a possible configuration, or nothing
        else is more plausible: sum of log shares minus half the squared distance.
    """
    n_landmarks = len(modes_mm)
    first = np.zeros(n_landmarks, int)
    if prior.squared(modes_mm[:, 0]) <= chi2.ppf(IMPOSSIBLE, 2 * n_landmarks):
        return first
    logs = np.log(np.maximum(shares, 1e-12))
    chosen, value = np.zeros((1, 0), int), np.zeros(1)
    for i in range(n_landmarks):
        options = np.flatnonzero(~np.isnan(modes_mm[i]).any(-1) & (shares[i] > 0))
        options = options if len(options) else np.zeros(1, int)
        chosen = np.column_stack([chosen.repeat(len(options), 0), np.tile(options, len(chosen))])
        points = modes_mm[np.arange(i + 1), chosen]
        value = logs[np.arange(i + 1), chosen].sum(1) - prior.squared(points) / 2
        best = np.argsort(-value)[:BEAM]
        chosen, value = chosen[best], value[best]
    return chosen[0]


def repair_shapes(
    predictions: pd.DataFrame, landmarks: pd.DataFrame, images: pd.DataFrame
) -> pd.DataFrame:
    """Predictions with impossible configurations repaired from their maps' other modes.

    A side with fewer than 2L whole training label sets, too few for a prior, stays as it is.

    Args:
        predictions: rows of predictions.csv with second_ and third_x, _y, _share; each side with
            all its landmarks.
        landmarks: image, side, landmark, x, y (source pixels) of the training images.
        images: image, spacing_x_mm, spacing_y_mm of all of them.
    Returns: the predictions with x, y and error_mm as repaired, and `moved` (bool).
    Raises: InputError for missing columns.
    """
    done = []
    for side, part in predictions.groupby("side", sort=False):
        names = tuple(dict.fromkeys(part["landmark"].astype(str)))
        own = landmarks[landmarks["side"] == side]
        labels = own.assign(patient="", x_true=own["x"], y_true=own["y"])
        keys, known, _ = cases(labels, names)
        if _whole(known).sum() < 2 * len(names):
            done.append(part.assign(moved=False))
            continue
        prior = fit_prior(known * spacing_of(keys["image"], images)[:, None])
        done.append(_repair_side(part, names, prior, images))
    return pd.concat(done).loc[predictions.index]


def _repair_side(
    part: pd.DataFrame, names: tuple[str, ...], prior: ShapePrior, images: pd.DataFrame
) -> pd.DataFrame:
    keys, true, found = cases(part, names)
    spacing = spacing_of(keys["image"], images)
    others = [
        cases(part.assign(x=part[f"{mark}_x"], y=part[f"{mark}_y"]), names)[2] for mark in MARKS
    ]
    modes = np.stack([found, *others], axis=2)  # (N, L, K, 2) px
    heights = [
        cases(part.assign(x=part[f"{mark}_share"], y=0.0), names)[2][..., 0] for mark in MARKS
    ]
    shares = np.stack([np.ones(found.shape[:2]), *heights], axis=2)
    modes_mm = modes * spacing[:, None, None]
    which = np.stack([choose(prior, m, s) for m, s in zip(modes_mm, shares, strict=True)])
    rows, places = np.ogrid[: len(keys), : len(names)]
    points = modes[rows, places, which]
    kept = part.drop(columns=["x", "y", "error_mm"])
    error_mm = radial_error_mm(points, true, spacing[:, None])
    new = {"x": points[..., 0], "y": points[..., 1], "error_mm": error_mm, "moved": which > 0}
    merged = put_back(kept, keys, names, **new)
    return merged.set_index(part.index)[[*part.columns, "moved"]]
