"""Labels that a model disagrees with which never saw them, joined with the audit of their shapes.

A model that has not seen an image errs in its own ways: it finds nothing, or the neighbouring
tooth. Where it is sure of another place than the label's, either may be wrong. Both are weighed:
how often a model as sure as that is far off, and how well label and repaired label go with the
other label sets.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from lmkit import audit_model, audit_others
from lmkit.audit import audit_labels, row_of
from lmkit.audit_hypotheses import ELSEWHERE, Hypothesis, hypotheses
from lmkit.audit_sets import LabelSets, Size, read_sets
from lmkit.audit_shape import TooFew
from lmkit.audit_views import LEAST_SETS, WRONG, TooFewSeen, views_of
from lmkit.corrections import still_flagged
from lmkit.data import Dataset

CASE = ["image", "side"]
COLUMNS = ["image", "side", "score", "cause", "repair", "evidence", "gain"]
LEAST_ODDS = 0.0  # log of them: more likely wrong than right
AGAINST = -1.0  # nats of a model's word below which it speaks against what the shape suggests
SPEAKS = 1.0  # nats from which on the model counts as evidence


def audit_dataset(dataset: Dataset, predictions: pd.DataFrame | None = None) -> pd.DataFrame:
    """The label sets of a dataset to look at: with a model's word where there are predictions.

    Args:
        dataset: sets that a reader kept in corrections.csv are left out.
        predictions: as for `audit_with_predictions`, such as `lmkit.folds.unseen`; None, or of
            fewer than 20 label sets = the shape alone, with evidence shape and no gain.
    Returns: see `audit_with_predictions`; no rows where the labels are too few for an audit (one
        landmark, fewer than 40 images with two points, a landmark that is hardly anywhere), and
        then `attrs["reason"]` says which; `attrs["by"]` says who judged: `shape alone`, or `shape
        and model` where predictions had a word.
    """
    known: dict[str, Any] = {"images": dataset.images}
    known["size"] = dict(zip(dataset.images["image"], dataset.sizes().tolist(), strict=True))
    many = predictions is not None and len(predictions.drop_duplicates(CASE)) > LEAST_SETS
    try:
        found, by = _audited(dataset.landmarks, predictions if many else None, known)
    except TooFew as reason:
        found = pd.DataFrame(columns=COLUMNS)
        found.attrs["reason"] = str(reason)
        return found
    found = still_flagged(found, dataset.corrections)
    found.attrs["by"] = by
    return found


def _audited(
    landmarks: pd.DataFrame, predictions: pd.DataFrame | None, known: dict[str, Any]
) -> tuple[pd.DataFrame, str]:
    """With a model's word where it says enough to be judged, else by the shape alone; and by what
    it was."""
    if predictions is not None:
        with suppress(TooFewSeen):
            return audit_with_predictions(landmarks, predictions, **known), "shape and model"
    found = audit_labels(landmarks, **known).assign(evidence="shape", gain=np.nan)
    return found, "shape alone"


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
    another place. Its repairs put the labels where the model is, so look before you accept one:

    repair         what the model says
    move NAME X Y  one landmark is at X, Y, px, and the others are right
    shift DX DY    the whole set is off by the same, px, which is no tooth
    (none)         the whole set is elsewhere, or looks otherwise

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
    model = audit_model.fit(sets, row_of(sets, row))
    step = audit_others.tooth_step(model, sets)
    views = views_of(sets, predictions, (shape["cause"] != "").to_numpy(), step)
    options = hypotheses(sets, views, shape, model)
    return _table(sets, views.seen, shape, options, _millimetres(sets, images))


def _of_sets(sets: LabelSets, found: pd.DataFrame) -> pd.DataFrame:
    """cause, repair and score of every set; '' and 0 where the audit found nothing."""
    kept = ["cause", "repair", "score"]
    key = pd.MultiIndex.from_arrays([sets.images, sets.sides])
    table = found.set_index(["image", "side"])[kept].reindex(key).reset_index(drop=True)
    return table.fillna({"cause": "", "repair": "", "score": 0.0})


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
        if not own.cause or (flagged and chosen.repair[k] and chosen.cause != own.cause):
            cause, repair, word = chosen.cause, chosen.repair[k], float(chosen.model[k])
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
