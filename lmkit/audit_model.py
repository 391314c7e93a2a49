"""What the label sets of a dataset have in common, and how far from it one is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lmkit.audit_sets import LabelSets
from lmkit.audit_shape import (
    Spread,
    as_complex,
    filled,
    mean_shape,
    pose_and_shape,
    robust_spread,
)

# Mean square of a set's robust deviations beyond which it is unusual: place, shape. Places have the
# heavier tails: a patient who stood badly moves all points, and 5 SD are still met in sound sets.
UNUSUAL = {"unusual place": 25.0, "unusual shape": 10.0}


@dataclass(frozen=True)
class Model:
    """What the label sets of a dataset have in common.

    Attributes:
        reference: (L,) complex mean shape, common frame.
        row: the two landmarks that span one tooth (or vertebra); their middle is a set's place.
        home: (2, 2) place, and form: (2, 2 L - 2) pose and shape, of sets not turned and turned.
        place, whole: spreads of a place, and of pose and shape.
    """

    reference: np.ndarray
    row: tuple[int, int]
    home: np.ndarray
    form: np.ndarray
    place: Spread
    whole: Spread

    def residuals(
        self, sets: LabelSets, points: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n, 2) place and (n, 2 L - 2) form minus the side's medians, of (n, L, 2) px points."""
        z = filled(as_complex(sets.frame(points, rows)), self.reference)
        which = sets.turned[rows].astype(int)
        place = places(z, self.row) - self.home[which]
        return place, pose_and_shape(z, self.reference) - self.form[which]

    def judged(
        self, sets: LabelSets, points: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n,) plausibility and (2, n) strangeness of (n, L, 2) px points in some rows.

        Plausibility is the log-likelihood, nats, up to a constant; strangeness the mean squared
        deviation in place and in shape, unusual from 1 on.
        """
        place, form = self.residuals(sets, points, rows)
        both = (self.place.squared(place), place), (self.whole.squared(form), form)
        limits = UNUSUAL.values()
        strange = [d / v.shape[1] / most for (d, v), most in zip(both, limits, strict=True)]
        likely = self.place.log_density(place) + self.whole.log_density(form)
        return likely, np.stack(strange)

    def plausibility(self, sets: LabelSets, points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(n,), see `judged`."""
        return self.judged(sets, points, rows)[0]


def fit(sets: LabelSets, row: tuple[int, int] | None = None) -> Model:
    """The robust model of all label sets with two points or more; row: see Model, None = infer."""
    z = as_complex(sets.frame(sets.points))
    reference = mean_shape(z)
    z = filled(z, reference)
    row = row or most_rigid_pair(z)
    which = sets.turned.astype(int)
    place, form = places(z, row), pose_and_shape(z, reference)
    home, usual = np.zeros((2, 2)), np.zeros((2, form.shape[1]))
    for k in set(which):
        home[k], usual[k] = np.median(place[which == k], 0), np.median(form[which == k], 0)
    place, form = place - home[which], form - usual[which]
    return Model(reference, row, home, usual, robust_spread(place), robust_spread(form))


def places(z: np.ndarray, row: tuple[int, int]) -> np.ndarray:
    """(N, 2): the middle of the row's two landmarks of (N, L) complex sets."""
    middle = (z[:, row[0]] + z[:, row[1]]) / 2
    return np.stack([middle.real, middle.imag], axis=1)


def most_rigid_pair(z: np.ndarray) -> tuple[int, int]:
    """The two landmarks whose joining vector is longest in units of its own scatter."""

    def rigidity(pair: tuple[int, int]) -> float:
        vector = z[:, pair[1]] - z[:, pair[0]]
        middle = np.median(vector.real) + 1j * np.median(vector.imag)
        return abs(middle) / max(float(np.median(np.abs(vector - middle))), 1e-9)

    return max(combinations(range(z.shape[1]), 2), key=rigidity)
