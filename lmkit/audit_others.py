"""What a label set shows only beside others: one tooth off, entered twice, simply unusual."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from lmkit.audit_causes import Findings, nothing_found
from lmkit.audit_model import Model
from lmkit.audit_sets import LabelSets
from lmkit.audit_shape import Spread, as_complex, filled, robust_spread

# From a tooth to the next, in lengths of the pair of landmarks that spans one: neighbouring molars
# are about as wide, and a crown is a little wider than the neck where such pairs usually lie.
PITCH = 1.15
WIDE_CORE = 0.95  # share of the sets that tell how places vary: the gross faults are gone by then
SAME_PX = 1.0  # root mean square distance of a point below which two label sets are the same
LEAST_ALIKE = 10  # sets with the same landmarks annotated that tell how far apart sets usually are
SAME_SHARE = 0.25  # and this share of the usual distance to the most similar set
CLEAR = 2.0  # nats by which one of two equal sets has to be less plausible to be called the copy
COPY_SCORE = 5.0  # nats an exact copy counts, to rank it: below most gross faults


@dataclass(frozen=True)
class Beside:
    """How place goes together with the set's own pose and shape and the other side's place.

    Attributes:
        place: (N, 2), form: (N, K) residuals as in `Model.residuals`.
        beside: (N, 2) place of the image's other side; NaN = none, or faulty.
        own, paired: spreads of (place, form), and of (place, form, beside).
    """

    place: np.ndarray
    form: np.ndarray
    beside: np.ndarray
    own: Spread
    paired: Spread | None

    def plausibility(self, place: np.ndarray) -> np.ndarray:
        """(N,) log-likelihood, nats, up to a constant of each set, were it at (N, 2) place."""
        out = self.own.log_density(np.hstack([place, self.form]))
        if self.paired is None:
            return out
        known = ~np.isnan(self.beside[:, 0])
        joint = np.hstack([place, self.form, self.beside])[known]
        out[known] = self.paired.log_density(joint)
        return out


def beside(
    model: Model, sets: LabelSets, known: np.ndarray, apart: np.ndarray | None = None
) -> Beside:
    """What `tooth_shift` and `copies` compare.

    Args:
        known: (N,) faulty sets, which are nobody's other side and do not count in the spreads.
        apart: (N,) sets that do not count in the spreads; None = the known ones.
    """
    apart = known if apart is None else apart
    place, form = model.residuals(sets, sets.points, np.arange(len(known)))
    other = place[sets.partner].copy()
    other[(sets.partner < 0) | known[sets.partner]] = np.nan
    own = robust_spread(np.hstack([place, form])[~apart], WIDE_CORE)
    both = np.hstack([place, form, other])
    both = both[~apart & ~np.isnan(other[:, 0])]
    enough = len(both) >= 2 * both.shape[1]
    return Beside(place, form, other, own, robust_spread(both, WIDE_CORE) if enough else None)


def tooth_shift(model: Model, sets: LabelSets, near: Beside, known: np.ndarray) -> Findings:
    """For each image the side that gains most by a shift of one tooth along its own row.

    A shift keeps the shape, so only the place tells: beside the places of other label sets of such
    a pose and shape, and beside the other side of the same image.

    Args:
        known: (N,) sets with another cause already.
    """
    found, rows = nothing_found(sets), np.arange(len(known))
    base = near.plausibility(near.place)
    for sign in (1.0, -1.0):
        px = sign * tooth_step(model, sets)
        moved = near.place + in_frame(sets, px)
        gain = np.where(known, 0.0, near.plausibility(moved) - base)
        text = [f"shift {dx:.1f} {dy:.1f}" for dx, dy in px]
        found.offer("neighbour", rows, gain, text, sets.points + px[:, None])
    rival = np.where(sets.partner >= 0, found.gain[sets.partner], 0.0)
    found.gain[rival > found.gain] = 0.0
    return found


def tooth_step(model: Model, sets: LabelSets) -> np.ndarray:
    """(N, 2) px from a tooth to the next one, along each set's own row."""
    z = filled(as_complex(sets.frame(sets.points)), model.reference)
    step = PITCH * (z[:, model.row[1]] - z[:, model.row[0]])
    return in_frame(sets, np.stack([step.real, step.imag], 1), back=True)


def in_frame(sets: LabelSets, step: np.ndarray, back: bool = False) -> np.ndarray:
    """(N, 2) steps from px to the common frame, or back."""
    unit = sets.unit * np.stack([np.where(sets.turned, -1.0, 1.0), np.ones(len(step))], 1)
    return step / unit if back else step * unit


def copies(sets: LabelSets, near: Beside) -> Findings:
    """Label sets with the same points, to about a pixel, in two images.

    The copy is the one that goes less well with the other side of its image; where that does not
    tell, both are named.
    """
    found = nothing_found(sets)
    paired = near.plausibility(near.place)
    lone = near.own.log_density(np.hstack([near.place, near.form]))
    alone = np.isnan(near.beside[:, 0])
    for a, b, rms in _twins(sets):
        fit = paired if alone[a] == alone[b] else lone  # densities of different numbers
        if fit[a] > fit[b] + CLEAR:
            continue
        found.cause[a] = "duplicate"
        found.gain[a] = COPY_SCORE - rms / SAME_PX
        found.repair[a] = f"same-as {shlex.quote(str(sets.images[b]))}"
        if fit[a] < fit[b] - CLEAR:
            found.repair[a] = "drop " + found.repair[a]
    return found


def _twins(sets: LabelSets) -> list[tuple[int, int, float]]:
    """Rows of a set and of the one it equals, and their root mean square distance, px."""
    twins = []
    present = ~np.isnan(sets.points[..., 0])
    for pattern in np.unique(present, axis=0):
        rows = np.flatnonzero((present == pattern).all(1))
        if len(rows) < LEAST_ALIKE:
            continue
        xy = sets.points[rows][:, pattern].reshape(len(rows), -1)
        distance, nearest = cKDTree(xy).query(xy, k=2)
        # of exact copies the tree may name the set itself second
        own = nearest[:, 0] == np.arange(len(rows))
        other = np.where(own, nearest[:, 1], nearest[:, 0])
        rms = distance[:, 1] / np.sqrt(pattern.sum())
        same = rms <= min(SAME_PX, SAME_SHARE * float(np.median(rms)))
        twins += [(rows[k], rows[other[k]], float(rms[k])) for k in np.flatnonzero(same)]
    return twins
