"""What a model says of label sets that it never saw, and how far that can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit, logsumexp

from lmkit import uncertainty
from lmkit.audit_sets import LabelSets
from lmkit.fields import InputError
from lmkit.trust import MEASURES, measures_of

TAIL = 3.0  # degrees of freedom of a model's errors, which have heavy tails
FAR = 6.0  # robust deviations beyond which a model and a label are not at the same place
LEAST_SETS = 20  # label sets with predictions, to know how a model errs
RAYLEIGH_MEDIAN = 1.1774  # of a radial error, in standard deviations along an axis
ANYWHERE = 2.0  # a lost point lies within about so many standard deviations of a set's own points
# Share of label sets that are expected to be wrong: of the published coordinates 3 in 170 are at
# another scale. Where model and label are apart, so many are the label's fault, and at most
# 1 - LEAST_OF_APART of them.
WRONG = 0.02
LEAST_OF_APART = 0.25
SURE = (1e-4, 0.99)  # no probability is nearer to 0 or 1
KEY = ["image", "side", "landmark"]


class TooFewSeen(InputError):
    """The predictions are of too few label sets to know how a model errs."""


@dataclass(frozen=True)
class Views:
    """What a model says of N label sets with L landmarks.

    Attributes:
        points: (N, L, 2) px; NaN = not predicted.
        unit: (N, 2) size of a pixel, as in `LabelSets`.
        spread: (L,) standard deviation of its errors along an axis, in that unit, robust.
        fails: (N,) probability that it is far off with the whole set.
        slips: (N, L) with this landmark alone.
        broad: log density of a point that may be anywhere about a label set.
        step: (N, 2) px from a tooth to the next one of the row.
        beside: shares of a model's gross errors that are one step ahead of the label, and back.
    """

    points: np.ndarray
    unit: np.ndarray
    spread: np.ndarray
    fails: np.ndarray
    slips: np.ndarray
    broad: float
    step: np.ndarray
    beside: tuple[float, float]

    @property
    def seen(self) -> np.ndarray:
        """(N,) sets with two predicted points or more."""
        return (~np.isnan(self.points[..., 0])).sum(1) >= 2

    def log_density(self, truth: np.ndarray) -> np.ndarray:
        """(N,) log density of the model's points if the landmarks are at (N, L, 2) px `truth`.

        A mixture: it is right, but for slips of single landmarks; it is one tooth off either way;
        it is lost. Landmarks that are not in both do not count.
        """
        known = ~np.isnan(truth[..., 0] + self.points[..., 0])
        ahead, back = self.beside
        step = self.step[:, None]
        return logsumexp(
            [
                np.log1p(-self.fails) + self.near(truth, known),
                np.log(self.fails * ahead) + self.near(truth + step, known),
                np.log(self.fails * back) + self.near(truth - step, known),
                np.log(self.fails * (1 - ahead - back)) + known.sum(1) * self.broad,
            ],
            axis=0,
        )

    def log_density_elsewhere(self, label: np.ndarray) -> np.ndarray:
        """(N,) the same if the model is right, and the landmarks of `label` (N, L, 2) px elsewhere,
        nobody knows where."""
        known = ~np.isnan(label[..., 0] + self.points[..., 0])
        return np.log1p(-self.fails) + known.sum(1) * self.broad

    def close(self, label: np.ndarray) -> np.ndarray:
        """(N, L) landmarks that the model has where the labels (N, L, 2) px have them."""
        off = np.hypot(*np.moveaxis((self.points - label) * self.unit[:, None], -1, 0))
        return off < FAR * self.spread  # NaN is not

    def each(self, truth: np.ndarray, known: np.ndarray) -> np.ndarray:
        """(N, L) log density of each of the model's points, if it is right; 0 = not `known`."""
        off = np.where(known[..., None], self.points - truth, 0.0) * self.unit[:, None]
        t = student((off**2).sum(-1), self.spread)
        mixed = np.logaddexp(np.log1p(-self.slips) + t, np.log(self.slips) + self.broad)
        return np.where(known, mixed, 0.0)

    def near(self, truth: np.ndarray, known: np.ndarray) -> np.ndarray:
        """(N,) log density of all of them."""
        return self.each(truth, known).sum(1)


def student(squared: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """(N, L) log density of a point at (N, L) squared distances, of (L,) spreads along an axis."""
    return -(TAIL + 2) / 2 * np.log1p(squared / spread**2 / TAIL) - np.log(2 * np.pi * spread**2)


def views_of(
    sets: LabelSets, predictions: pd.DataFrame, doubtful: np.ndarray, step: np.ndarray
) -> Views:
    """The predictions of label sets, and how often ones as sure as each are far from their label.

    Args:
        predictions: image, side, landmark, x, y (px), and risk or the measures it is made of.
        doubtful: (N,) sets that do not count when that is learnt.
        step: (N, 2) px from a tooth to the next.
    Raises: InputError for missing columns or measures, a landmark predicted twice, or fewer than
        LEAST_SETS label sets with predictions.
    """
    points, risk = _lined_up(_checked(predictions), sets)
    off = np.hypot(*np.moveaxis((points - sets.points) * sets.unit[:, None], -1, 0))
    judged = ~doubtful & ((~np.isnan(off)).sum(1) >= 2)
    if judged.sum() < LEAST_SETS:
        raise TooFewSeen(
            f"predictions: expected those of >= {LEAST_SETS} label sets that are not in doubt, got "
            f"{judged.sum()}; take val and test rows of a run on these images, or train by folds"
        )
    spread = np.maximum(_median(off[judged].T) / RAYLEIGH_MEDIAN, 1e-6)
    spread[np.isnan(spread)] = np.nanmedian(spread)  # of landmarks that are never predicted
    half = np.hypot(*(step * sets.unit).T) / 2  # beyond it the next tooth is nearer
    far = off / np.minimum(FAR * spread, half[:, None])
    fails, slips = _unsure(far, risk, judged)
    extent = np.median(np.nanstd(sets.points[judged] * sets.unit[judged, None], 1))
    broad = -float(np.log(2 * np.pi * (ANYWHERE * extent) ** 2))
    lost = judged & (_median(far) > 1)
    beside = _beside((points - sets.points)[lost], step[lost], sets.unit[lost], half[lost])
    return Views(points, sets.unit, spread, fails, slips, broad, step, beside)


def _median(values: np.ndarray) -> np.ndarray:
    """(N,) medians of (N, L), NaN where a row has none."""
    some = ~np.isnan(values).all(1)
    out = np.full(len(values), np.nan)
    out[some] = np.nanmedian(values[some], 1)
    return out


def _beside(
    apart: np.ndarray, step: np.ndarray, unit: np.ndarray, half: np.ndarray
) -> tuple[float, float]:
    """Shares of gross errors (n, L, 2) px that are one step (n, 2) px ahead, and one back.

    One of each kind is added to what was counted, as few failures tell little.
    """
    near = []
    for way in (1, -1):
        off = np.hypot(*np.moveaxis((apart - way * step[:, None]) * unit[:, None], -1, 0))
        near.append(int((_median(off) < half).sum()))
    ahead, back = ((n + 1) / (len(apart) + 3) for n in near)
    return ahead, back


def _lined_up(table: pd.DataFrame, sets: LabelSets) -> tuple[np.ndarray, np.ndarray]:
    """(N, L, 2) px and (N, L) risk of the label sets; NaN = not predicted."""
    key = pd.MultiIndex.from_arrays([sets.images, sets.sides])
    row = key.get_indexer(pd.MultiIndex.from_frame(table[["image", "side"]]))
    column = pd.Index(sets.names).get_indexer(table["landmark"])
    there = (row >= 0) & (column >= 0)
    values = np.full((*sets.points.shape[:2], 3), np.nan)
    values[row[there], column[there]] = table.loc[there, ["x", "y", "risk"]].to_numpy(float)
    return values[..., :2], values[..., 2]


def _unsure(far: np.ndarray, risk: np.ndarray, judged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) and (N, L) probabilities that a model is far off with a set, or with one landmark.

    Args:
        far: (N, L) distances from the labels, over 1 where not at the same place. risk: (N, L).
        judged: (N,) sets to learn it from.
    """
    some = ~np.isnan(far).all(1)
    lost, whole = _median(far) > 1, np.full(len(far), np.nan)
    whole[some] = np.nanmean(risk[some], 1)
    line = uncertainty.calibrated(whole[judged], lost[judged])
    apart = uncertainty.probability(np.where(some, whole, 0.0), line)
    fails = np.maximum(apart - WRONG, apart * LEAST_OF_APART)
    known = (judged & ~lost)[:, None] & ~np.isnan(far)
    if not known.any():  # a model that is nowhere near any label
        return np.clip(fails, *SURE), np.full(far.shape, 0.5)
    line = uncertainty.calibrated(risk[known], far[known] > 1)
    slips = uncertainty.probability(np.where(np.isnan(risk), 0.0, risk), line)
    # some landmarks are lost more often than a risk that is the same for all can tell
    met, expected = ((np.where(known, n, 0)).sum(0) + 1 for n in (far > 1, slips))
    slips = expit(logit(np.clip(slips, *SURE)) + np.log(met / expected))
    return np.clip(fails, *SURE), np.clip(slips, *SURE)


def _checked(predictions: pd.DataFrame) -> pd.DataFrame:
    table = predictions if "side" in predictions else predictions.assign(side="all")
    lacking = [c for c in (*KEY, "x", "y") if c not in table]
    if lacking:
        raise InputError(
            f"predictions: expected columns {', '.join(KEY)}, x, y, got no {lacking[0]}"
        )
    twice = table.duplicated(KEY)
    if twice.any():
        first = " ".join(map(str, table.loc[twice, KEY].iloc[0]))
        raise InputError(
            f"predictions: expected each landmark once, got {first} again; join runs first, or "
            "take one run's rows"
        )
    table = table[np.isfinite(table[["x", "y"]].to_numpy(float)).all(1)]
    if "risk" not in table or table["risk"].isna().any():
        measures = measures_of(table).to_numpy(float)
        if not measures.size:
            raise InputError(
                f"predictions: expected risk, or a column of {', '.join(MEASURES)}, got neither"
            )
        table = table.assign(risk=uncertainty.surprise(measures, measures))
    return table.astype({"landmark": str})
