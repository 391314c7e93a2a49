"""One label of a set elsewhere than a model's point, and a whole set at a constant offset from it.

In both the model says where the landmarks are, so it has to be weighed whether it erred itself.
"""

from __future__ import annotations

import numpy as np

from lmkit.audit_others import in_frame
from lmkit.audit_sets import LabelSets
from lmkit.audit_shape import as_complex, filled
from lmkit.audit_views import FAR, RAYLEIGH_MEDIAN, TAIL, Views, student

STEPS = 5  # of the weighted means that lead to an offset
ODD = 0.1  # share of the right labels whose gains tell how often right labels are how odd
LEAST_ODD = 5  # of them, to know it


def usual_points(sets: LabelSets, points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N, L, 2) px where the other points of a set would have each; NaN where it has none itself.

    The mean shape is laid on the others; what that misses in the median of a side is added.

    Args:
        points: (N, L, 2) px. reference: (L,) complex mean shape.
    """
    z, out = as_complex(sets.frame(points)), points.copy()
    for i in range(z.shape[1]):
        rows = np.flatnonzero(~np.isnan(z[:, i]) & ((~np.isnan(z)).sum(1) >= 2))
        others = z[rows].copy()
        others[:, i] = np.nan
        off = filled(others, reference)[:, i] - z[rows, i]
        step = np.zeros((len(z), 2))
        step[rows] = np.stack([off.real, off.imag], 1)
        for turned in set(sets.turned[rows]):
            side = rows[sets.turned[rows] == turned]
            step[side] -= np.median(step[side], 0)
        out[:, i] += in_frame(sets, step, back=True)
    return out


def usual_density(sets: LabelSets, views: Views, reference: np.ndarray) -> np.ndarray:
    """(N, L) log density of a model's points, if each is where its other points would have it.

    Points that are not predicted count as lost.
    """
    apart = (usual_points(sets, views.points, reference) - views.points) * views.unit[:, None]
    squared = (apart**2).sum(-1)
    known = ~np.isnan(squared).all(0)
    spread = np.ones(len(known))
    spread[known] = np.sqrt(np.nanmedian(squared[:, known], 0)) / RAYLEIGH_MEDIAN
    density = student(np.where(np.isnan(squared), 0.0, squared), np.maximum(spread, 1e-6))
    return np.where(np.isnan(squared), views.broad, density)


def proven(gain: np.ndarray, of_right: np.ndarray) -> np.ndarray:
    """(N,) nats that gains of plausibility are worth, by how often right labels could gain as much.

    The largest of these gains have an exponential tail; a gain counts no more nats than so large a
    one is rare. Where shapes vary as the statistics say, that changes nothing.

    Args:
        gain: (N,) nats. of_right: (n,) nats that labels which a model confirms gain where they are
            moved to their usual place.
    Source: Pickands 1975, Annals of Statistics 3:119 (peaks over a threshold).
    """
    if len(of_right) * ODD < LEAST_ODD:
        return np.minimum(gain, 0.0)
    least = float(np.quantile(of_right, 1 - ODD))
    beyond = of_right[of_right > least] - least
    tail = max(float(beyond.mean()), 1.0) if len(beyond) else 1.0
    return np.minimum(gain, np.maximum(-np.log(ODD) + (gain - least) / tail, 0.0))


def log_odds_alone(views: Views, label: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """(N, L) how much more likely a model's points are if the label of this landmark alone is wrong
    and the model right, than if the labels are right: the log of it.

    A label that is wrong may be anywhere, and so may a point that a model lost. But it may also lie
    where the model's others would have it: both count in full, as nobody knows how often.

    Args:
        label: (N, L, 2) px. usual: (N, L) of `usual_density`. -inf where either has no point.
    """
    known = ~np.isnan(label[..., 0] + views.points[..., 0])
    each = views.each(label, known)
    others = np.log1p(-views.fails)[:, None] + each.sum(1, keepdims=True) - each
    lost = others + np.log(views.slips) + usual
    right = np.logaddexp(views.log_density(label)[:, None], lost)
    return np.where(known, others + np.log1p(-views.slips) + views.broad - right, -np.inf)


def offset(views: Views, label: np.ndarray) -> np.ndarray:
    """(N, 2) px from (N, L, 2) px labels to a model's points, the likeliest; 0 = not known."""
    apart = views.points - label
    known = ~np.isnan(apart[..., 0])
    some, middle = known.any(1), np.zeros((len(label), 2))
    middle[some] = np.nanmedian(apart[some], axis=1)
    for _ in range(STEPS):  # weighted means lead to the maximum for Student's t
        off = (apart - middle[:, None]) * views.unit[:, None]
        weight = 1 / (TAIL + (off**2).sum(-1) / views.spread**2) / views.spread**2
        weight = np.where(known, weight, 0.0)[..., None]
        total = (weight * np.where(known[..., None], apart, 0.0)).sum(1)
        middle[some] = total[some] / weight.sum(1)[some]
    return middle


def log_odds_offset(views: Views, label: np.ndarray, by: np.ndarray) -> np.ndarray:
    """(N,) how much more likely a model's points are if the labels (N, L, 2) px are right but for
    an offset (N, 2) px, and the model right, than if the labels are right: the log of it.

    The offset may be any, and the likeliest is known as well as the mean of the points. A model
    that is lost may be so at an offset, too. -inf where it is about none, or within half a tooth
    step of a whole one.
    """
    known = ~np.isnan(label[..., 0] + views.points[..., 0])
    spread, count = float(np.median(views.spread)), np.maximum(known.sum(1), 1)
    free = views.broad + np.log(2 * np.pi * spread**2 / count)
    rigid = views.near(label + by[:, None], known) + free
    lost = np.log(views.fails * (1 - sum(views.beside))) + rigid
    right = np.logaddexp(views.log_density(label), lost)
    here, ahead, back = (np.hypot(*((by - k * views.step) * views.unit).T) for k in (0, 1, -1))
    half = np.hypot(*(views.step * views.unit).T) / 2
    apart = (here > np.minimum(FAR * spread, half)) & (np.minimum(ahead, back) > half)
    apart &= known.sum(1) >= 2
    return np.where(apart, np.log1p(-views.fails) + rigid - right, -np.inf)
