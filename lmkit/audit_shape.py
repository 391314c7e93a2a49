"""Place, size, direction and shape of label sets, and how far from the others they are.

Every figure is a median, a median absolute deviation or a covariance of the central label sets, so
that the faulty ones do not move it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

TAIL = 4.0  # degrees of freedom of Student's t: real anatomy has tails heavier than a normal's
CORE = 0.75  # share of the label sets a covariance is computed from at first
SHRINK = 0.3  # towards the diagonal, where there are as many columns as rows: half of it
LEAST_KNOWN = 10  # label sets that have to show a landmark
_TINY = 1e-9


class TooFew(ValueError):
    """The labels are in order, but too few to say what is usual among them."""


@dataclass(frozen=True)
class Spread:
    """A robust covariance about 0, as the matrix `whiten` (K, K) that makes values uncorrelated."""

    whiten: np.ndarray

    def squared(self, values: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance of (..., K) values."""
        return ((values @ self.whiten) ** 2).sum(-1)

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Student's t with TAIL degrees of freedom, without its constant, of (..., K) values."""
        k = values.shape[-1]
        return -(TAIL + k) / 2 * np.log1p(self.squared(values) / TAIL)


def robust_spread(values: np.ndarray, core: float = CORE) -> Spread:
    """Covariance about 0 of the central rows of (N, K) values, by concentration steps.

    The steps start from the rows with the smallest coordinatewise robust distance and are repeated
    until the same rows stay; then all rows count that are near by the distance found. The
    covariance is drawn a little towards its diagonal, the more the fewer rows there are for each
    column, and scaled so that the median distance is a normal's.

    Args:
        values: (N, K), medians removed.
        core: share of the rows that the steps keep, in (0, 1].
    Source: Hubert, Rousseeuw and Verdonck 2012, doi 10.1080/10618600.2012.672100 (deterministic
        MCD); Ledoit and Wolf 2004 for the shrinkage's idea.
    """
    n, k = values.shape
    mad = 1.4826 * np.median(np.abs(values), axis=0)
    scaled = values / np.maximum(mad, max(float(mad.max()), 1.0) * 1e-6)
    distance, keep = (scaled**2).sum(1), max(int(core * n), 2)
    chosen = np.sort(np.argsort(distance)[:keep])
    for _ in range(20):
        distance = _of_rows(values[chosen], mad).squared(values)
        following = np.sort(np.argsort(distance)[:keep])
        if np.array_equal(following, chosen):
            break
        chosen = following
    near = distance / _consistent(distance, k) < chi2.ppf(0.975, k)
    near[chosen] = True
    spread = _of_rows(values[near], mad)
    return Spread(spread.whiten / np.sqrt(_consistent(spread.squared(values), k)))


def _of_rows(rows: np.ndarray, mad: np.ndarray) -> Spread:
    n, k = rows.shape
    cov = rows.T @ rows / n
    share = SHRINK * k / (k + n)
    cov = (1 - share) * cov + share * np.diag(np.diag(cov))
    floor = (1e-6 * max(float(mad.max()), 1.0)) ** 2  # a column that never varies
    return Spread(np.linalg.inv(np.linalg.cholesky(cov + floor * np.eye(k))).T)


def _consistent(squared: np.ndarray, k: int) -> float:
    return max(float(np.median(squared)) / float(chi2.median(k)), _TINY)


def as_complex(points: np.ndarray) -> np.ndarray:
    """(..., L, 2) xy to (..., L) complex."""
    return points[..., 0] + 1j * points[..., 1]


def mean_shape(z: np.ndarray) -> np.ndarray:
    """(L,) complex: the median of the (N, L) sets after place, size and turn; norm 1, mean 0.

    Missing points are NaN; sets with less than half of their points do not count.

    Raises: TooFew where too few sets count for some landmark.
    Source: Gower 1975 (Procrustes by turns), with medians for means.
    """
    z = z[2 * (~np.isnan(z)).sum(1) >= z.shape[1]]
    known = ~np.isnan(z)
    if known.sum(0).min(initial=len(z)) < LEAST_KNOWN:
        raise TooFew(
            f"landmarks: expected every landmark in >= {LEAST_KNOWN} sets that have half of their "
            f"points, got {known.sum(0).tolist()}; leave the rare ones out"
        )
    reference = _unit(_median(z - np.nanmean(z, axis=1, keepdims=True)))
    for _ in range(5):
        unit = filled(z, reference)
        unit = unit - unit.mean(1, keepdims=True)
        turn = (unit.conj() * reference).sum(1)
        straight = (
            unit * (turn / np.maximum(np.abs(turn) * np.linalg.norm(unit, axis=1), _TINY))[:, None]
        )
        reference = _unit(_median(np.where(known, straight, np.nan)))
    turn = np.median(np.angle((unit * reference.conj()).sum(1)))
    return reference * np.exp(1j * turn)


def _median(z: np.ndarray) -> np.ndarray:
    return np.nanmedian(z.real, axis=0) + 1j * np.nanmedian(z.imag, axis=0)


def _unit(z: np.ndarray) -> np.ndarray:
    centred = z - z.mean()
    return centred / max(float(np.linalg.norm(centred)), _TINY)


def filled(z: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N, L) sets, missing points put where the mean shape, laid on the known ones, has them."""
    known = ~np.isnan(z)
    count = known.sum(1, keepdims=True)
    zero, ref = np.where(known, z, 0), np.where(known, reference, 0)
    z_mean, r_mean = zero.sum(1, keepdims=True) / count, ref.sum(1, keepdims=True) / count
    dz, dr = np.where(known, z - z_mean, 0), np.where(known, reference - r_mean, 0)
    fit = (dz * dr.conj()).sum(1) / np.maximum((np.abs(dr) ** 2).sum(1), _TINY)
    return np.where(known, z, z_mean + fit[:, None] * (reference - r_mean))


def pose_and_shape(z: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(..., 2 L - 2): log size, angle to the mean shape (rad), and the shape that is left.

    The left-over shape is that of the set turned and scaled onto the mean shape, without the four
    directions that place, turn and size take up.

    Args:
        z: (..., L) complex, whole.
        reference: (L,) complex, mean 0, norm 1.
    """
    centred = z - z.mean(-1, keepdims=True)
    size = np.maximum(np.linalg.norm(centred, axis=-1), _TINY)
    product = (centred * reference.conj()).sum(-1)
    angle = np.angle(product)
    unit = centred * (np.exp(-1j * angle) / size)[..., None]
    rest = np.concatenate([unit.real, unit.imag], axis=-1) @ _left_over(reference)
    return np.concatenate([np.log(size)[..., None], angle[..., None], rest], axis=-1)


def _left_over(reference: np.ndarray) -> np.ndarray:
    """(2 L, 2 L - 4): an orthonormal basis of what is neither place, turn nor size."""
    count = len(reference)
    one, nil = np.ones(count), np.zeros(count)
    taken = np.stack(
        [
            np.concatenate([one, nil]),
            np.concatenate([nil, one]),
            np.concatenate([reference.real, reference.imag]),
            np.concatenate([-reference.imag, reference.real]),
        ]
    )
    return np.linalg.svd(taken)[2][4:].T


def robust_z(values: np.ndarray) -> np.ndarray:
    """(N, K): distance from the column's median in robust standard deviations."""
    off = values - np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(off), axis=0)
    return off / np.maximum(spread, _TINY)
