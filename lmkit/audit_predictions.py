"""Labels that a model disagrees with which never saw them, joined with the audit of their shapes.

A model that has not seen an image errs in its own ways: it finds nothing, or the neighbouring
tooth. Where it is sure of another place than the label's, either may be wrong. Both are weighed:
how often a model as sure as that is far off, and how well label and repaired label go with the
other label sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from lmkit import audit_causes, audit_others
from lmkit.audit import audit_labels
from lmkit.audit_sets import LabelSets, Size, read_sets
from lmkit.audit_views import LEAST_SETS, WRONG, Views, views_of
from lmkit.corrections import still_flagged
from lmkit.data import Dataset

CASE = ["image", "side"]
COLUMNS = ["image", "side", "score", "cause", "repair", "evidence", "gain"]
LEAST_ODDS = 0.0  # log of them: more likely wrong than right
AGAINST = -1.0  # nats of a model's word below which it speaks against what the shape suggests
ELSEWHERE = "elsewhere"
UNKNOWN = float(np.log(3))  # nats: of wrong labels, one in three is wrong in no way listed here
SPEAKS = 1.0  # nats from which on the model counts as evidence


@dataclass(frozen=True)
class Hypothesis:
    """What may have happened to every label set, and what speaks for it.

    Attributes:
        cause: as in `lmkit.audit.audit_labels`, or elsewhere.
        repair: (N,) texts.
        points: (N, L, 2) px, where the landmarks are if it is so.
        shape, model: (N,) nats that the label sets' statistics and the model's points gain.
        cost: nats, of the free choices in it.
    """

    cause: str
    repair: list[str]
    points: np.ndarray
    shape: np.ndarray
    model: np.ndarray
    cost: float = 0.0

    @property
    def total(self) -> np.ndarray:
        """(N,) log of the odds that it is so."""
        return self.shape + self.model - self.cost + np.log(WRONG)


def audit_dataset(dataset: Dataset, predictions: pd.DataFrame | None = None) -> pd.DataFrame:
    """The label sets of a dataset to look at: with a model's word where there are predictions.

    Args:
        dataset: of 40 images or more; sets that a reader kept in corrections.csv are left out.
        predictions: as for `audit_with_predictions`, such as `lmkit.folds.unseen`; None, or of
            fewer than 20 label sets = the shape alone, with evidence shape and no gain.
    Raises: ValueError for fewer than 40 images.
    """
    many = predictions is not None and len(predictions.drop_duplicates(CASE)) > LEAST_SETS
    if many:
        found = audit_with_predictions(dataset.landmarks, predictions, images=dataset.images)
    else:
        found = audit_labels(dataset.landmarks, images=dataset.images)
        found = found.assign(evidence="shape", gain=np.nan)
    return still_flagged(found, dataset.corrections)


def audit_with_predictions(
    landmarks: pd.DataFrame,
    predictions: pd.DataFrame,
    *,
    images: pd.DataFrame | None = None,
    size: Size = None,
    row: tuple[str, str] | None = None,
) -> pd.DataFrame:
    """`audit_labels` together with predictions of models that never saw the images.

    A model speaks for a repair where its points lie at the repaired label's, and against it where
    they lie at the label's; the less sure it is, the less it says, by how often predictions as sure
    as these are far from their labels. Label sets that the shape made doubtful and a sure model
    confirms are left out. Causes are those of `audit_labels` and `elsewhere`: a sure model is at
    another place, for no reason that a repair could undo.

    Args:
        landmarks, images, size, row: as for `audit_labels`.
        predictions: image, side, landmark, x, y (px) and measures of uncertainty (risk, or peak and
            the like, see `lmkit.trust`): val and test rows of predictions.csv, or of K-fold runs.
            Predictions of images that a model was trained on repeat the labels' faults.
    Returns: image, side, score (log of the odds that the label is wrong; of `audit_labels` where
        there are no predictions), cause, repair, evidence (shape | model | both), gain (by how much
        the mean error should fall: chance of a wrong label times mean distance to the repaired one
        or to the model's points, mm where `images` states spacings, else px; NaN = not known);
        flagged sets only, largest gain first.
    Raises: ValueError as `audit_labels`; InputError for predictions without a measure, or of fewer
        than 20 of the label sets.
    """
    found = audit_labels(landmarks, images=images, size=size, row=row)
    sets = read_sets(landmarks, images, size)
    shape = _of_sets(sets, found)
    model = audit_causes.fit(sets, row and (sets.names.index(row[0]), sets.names.index(row[1])))
    step = audit_others.tooth_step(model, sets)
    views = views_of(sets, predictions, (shape["cause"] != "").to_numpy(), step)
    options = _hypotheses(sets, views, shape, model)
    return _table(sets, views.seen, shape, options, _millimetres(sets, images))


def _of_sets(sets: LabelSets, found: pd.DataFrame) -> pd.DataFrame:
    """cause, repair and score of every set; '' and 0 where the audit found nothing."""
    kept = ["cause", "repair", "score"]
    key = pd.MultiIndex.from_arrays([sets.images, sets.sides])
    table = found.set_index(["image", "side"])[kept].reindex(key).reset_index(drop=True)
    return table.fillna({"cause": "", "repair": "", "score": 0.0})


def _hypotheses(
    sets: LabelSets, views: Views, found: pd.DataFrame, shape: audit_causes.Model
) -> list[Hypothesis]:
    """All that may have happened to the label sets, each with what speaks for it.

    Args:
        found: cause, repair and score of each set by the shape audit.
    """
    rows, xy = np.arange(len(sets.images)), sets.points
    base, seen = shape.plausibility(sets, xy, rows), views.log_density(xy)
    options = []
    for cause, repair, points, cost in _repaired(sets, views, found["repair"]):
        gain = shape.plausibility(sets, points, rows) - base
        model = views.log_density(points) - seen
        options.append(Hypothesis(cause, repair, points, gain, model, cost))
    misplaced = ~found["cause"].isin(("", "neighbour", "unusual shape", "unusual place"))
    near = audit_others.beside(shape, sets, misplaced.to_numpy())
    here = near.plausibility(near.place)
    for step in (views.step, -views.step):
        gain = near.plausibility(near.place + audit_others.in_frame(sets, step)) - here
        points, text = xy + step[:, None], [f"shift {dx:.1f} {dy:.1f}" for dx, dy in step]
        model = views.log_density(points) - seen
        options.append(Hypothesis("neighbour", text, points, gain, model, float(np.log(2))))
    there = np.where(np.isnan(views.points), xy, views.points)
    # points that go well with other label sets prove no label wrong; odd ones are likely slips
    gain = np.minimum(shape.plausibility(sets, there, rows) - base, 0.0)
    model = views.log_density_elsewhere(xy) - seen
    options.append(Hypothesis(ELSEWHERE, [""] * len(rows), there, gain, model, UNKNOWN))
    return options


def _repaired(
    sets: LabelSets, views: Views, found: Sequence[str]
) -> Iterator[tuple[str, list[str], np.ndarray, float]]:
    """Cause, repairs, repaired points (N, L, 2) px and cost (nats) of the faults of coordinates.

    Args:
        found: (N,) repairs of the shape audit, for the scale of sets that no model has seen.
    """
    xy, count = sets.points, len(sets.images)
    mirrored = audit_causes.mirrored(xy, sets.line)
    yield "side", [f"mirror {x:.1f}" for x in sets.line], mirrored, 0.0
    yield "axes", ["swap x y"] * count, xy[..., ::-1], 0.0
    usual = [float(text.split()[1]) if text.startswith("scale ") else 1.0 for text in found]
    factor = np.where(views.seen, _factor(xy, views.points), usual)
    factor[np.abs(np.log(factor)) <= np.log(audit_causes.LEAST_FACTOR)] = 1.0  # another place
    scaled = audit_causes.rescaled(xy, factor)
    yield "scale", [f"scale {f:.3f}" for f in factor], scaled, audit_causes.COST["scale"]
    exchanged, orders = audit_causes.swaps(sets.names), audit_causes.other_orders(sets.names)
    for cause, renamings in (("swap", exchanged), ("order", orders)):
        for order, text in renamings:
            yield cause, [text] * count, xy[:, order], float(np.log(len(renamings)))


def _factor(label: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N,) the factor that brings each label nearest to the model's points; 1 where unknown."""
    lacking = np.isnan(label + seen)
    a, b = (np.where(lacking, 0.0, xy + 0.5) for xy in (label, seen))
    size = (a * a).sum((1, 2))
    return np.where(size > 0, (a * b).sum((1, 2)) / np.maximum(size, 1e-9), 1.0).clip(0.05, 20.0)


def _table(
    sets: LabelSets,
    seen: np.ndarray,
    shape: pd.DataFrame,
    options: list[Hypothesis],
    mm: np.ndarray,
) -> pd.DataFrame:
    """The label sets that are more likely wrong than right, and those that the shape doubts.

    Args:
        seen: (N,) sets that a model has seen.
        shape: cause ('' = none), repair and score of each set by the shape audit.
        mm: (N, 2) per px, or 1.
    """
    total = np.where(seen, np.stack([h.total for h in options]), -np.inf)
    rows = []
    for k, own in enumerate(shape.itertuples(index=False)):
        alike = [_alike(option, k, own.cause, own.repair) for option in options]
        of_shape = options[alike.index(max(alike))]
        word = float(of_shape.model[k]) if seen[k] else 0.0
        best = options[int(total[:, k].argmax())]
        flagged = total[:, k].max() > LEAST_ODDS
        denied = word < AGAINST and own.cause != "duplicate"  # one of two equal sets is wrong
        if not flagged and (not own.cause or denied):
            continue
        chosen = best if flagged else of_shape
        odds = total[:, k].max() if flagged else own.score + word + np.log(WRONG)
        cause, repair = own.cause, own.repair
        if not own.cause or (flagged and chosen.cause not in (ELSEWHERE, own.cause)):
            cause, repair = chosen.cause, chosen.repair[k]
        evidence = "model" if not own.cause else "both" if word >= SPEAKS else "shape"
        off = np.hypot(*((chosen.points[k] - sets.points[k]) * mm[k]).T)
        somewhere = seen[k] or chosen.cause != ELSEWHERE
        gain = float(expit(odds) * np.nanmean(off)) if somewhere else np.nan
        rows.append((sets.images[k], sets.sides[k], odds, cause, repair, evidence, gain))
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"score": float, "gain": float})
    return table.sort_values(["gain", "score"], ascending=False, kind="stable", ignore_index=True)


def _alike(option: Hypothesis, k: int, cause: str, repair: str) -> tuple[bool, bool, bool, float]:
    """How much a hypothesis is what the shape audit says of set k: to be compared."""
    same = option.cause == cause
    return same and option.repair[k] == repair, same, option.cause == ELSEWHERE, option.total[k]


def _millimetres(sets: LabelSets, images: pd.DataFrame | None) -> np.ndarray:
    """(N, 2) mm per px, or 1 where some image states none."""
    columns = ["spacing_x_mm", "spacing_y_mm"]
    if images is None or not set(columns) <= set(images):
        return np.ones((len(sets.images), 2))
    mm = images.set_index("image")[columns].reindex(sets.images).to_numpy(float)
    return mm if np.isfinite(mm).all() else np.ones_like(mm)
