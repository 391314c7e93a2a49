"""Labels that do not look like the others: where to look first, and what may have happened."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lmkit import audit_causes, audit_model, audit_others
from lmkit.audit_causes import GAIN, Findings
from lmkit.audit_model import UNUSUAL, Model
from lmkit.audit_repair import apply_repair, told
from lmkit.audit_sets import LabelSets, Size, read_sets
from lmkit.audit_shape import robust_z
from lmkit.check import check_dataset
from lmkit.samples import Samples
from lmkit.tables import LEFT_RIGHT

__all__ = ["apply_repair", "audit_labels", "check_dataset", "shape_outliers", "to_look_at", "told"]

FOUND = ["image", "side", "score", "cause", "repair"]
SCALE_GAIN = 4.0  # of another scale: common, and its free factor has been paid for
OPEN_GAIN = 0.0  # of another order of the names: the order is open, if not wrong
SHIFT_GAIN = 3.0  # nats that a shift by a tooth has to gain
SURE_SHIFT_GAIN = 4.0  # the same once DOUBTFUL_SHARE of all sets are listed already
# Some sound patients are as far off as a tooth is wide, or as odd as a fault. So the causes that
# coordinates cannot prove are listed for this share of the sets at most, short of sure shifts.
DOUBTFUL_SHARE = 0.015
UNUSUAL_SCORE = 4.0  # nats an e-fold of strangeness counts, to rank it among the others


def audit_labels(
    landmarks: pd.DataFrame,
    *,
    images: pd.DataFrame | None = None,
    size: Size = None,
    row: tuple[str, str] | None = None,
) -> pd.DataFrame:
    """Label sets that do not fit the others, with the suspected cause and, if it has one, a repair.

    Each set is described by its place, size, direction and shape, both sides in one frame, and
    compared with the robust centre and covariance of all sets (Student's t, for real anatomy has
    heavy tails). Each hypothesis is undone in turn; the one whose undoing gains most
    log-likelihood is the cause:

    cause          repair                     what happened
    scale          scale 2.000                all coordinates times 1 / 2: another image size
                   scale 4.297 2.344          the same, along x and along y: a squashed image
    side           mirror X | swap sides      mirrored (about x = X); sides' names exchanged
    axes           swap x y                   x and y exchanged
    swap           swap NAME NAME             two landmarks exchanged
    order          rename OLD NEW OLD NEW ... three or more named in another order
    neighbour      shift DX DY                one tooth off along the row, px
    duplicate      [drop] same-as IMAGE       another image's points; drop = this is the copy
    unusual shape  (none)                     one landmark elsewhere; or a size, direction or shape
                                              that no hypothesis explains
    unusual place  (none)                     a place that no hypothesis explains

    Another order of the names is listed as soon as it explains a set as well as its own: then the
    rule that names the points leaves it open, as for a head whose left and right ends lie above
    each other, or a round one whose long axis may be either. Its score counts how unusual it is.

    A factor that may as well be 2, 3, 4 or one over these is taken for it; any other is right to a
    few percent, so look where the points then lie.

    Names with spaces are quoted as in a shell. Neighbour faults keep their shape, and some patients
    are as far off as a tooth is wide: not all can be told from coordinates, nor is every one found
    a fault. They and the unusual ones are listed for DOUBTFUL_SHARE of the sets at most (of few
    sets, for one), but for the surest: mend, and audit again. A repair that leaves a set unusual is
    none. Without `row` a neighbour is looked for only where there is a left or a right side. A set
    that was mirrored and one that was given to the other side look the same; `swap sides` is
    suggested where both sides are affected, or the image has no other side.

    Args:
        landmarks: image, [side,] landmark, x, y; px; missing row or NaN = not annotated. Sets with
            fewer than two points are left out. Sides are left, right or all; names may be numbers.
        images: image, spacing_x_mm, spacing_y_mm: sizes are compared in mm where they agree better.
        size: (H, W) px of all images, or of each image by name, for the line a mirror image turns
            about; None = the midline between the sides' median places.
        row: the two landmarks that span one tooth along the row (from mesial to distal or back);
            None = those whose distance varies least for its length.
    Returns: image, side ('all' where there are none), score, cause, repair; flagged sets only,
        worst first. Score: nats of log-likelihood, by how much the cause explains the set better.
    Raises: ValueError for missing columns, repeated rows, another side, fewer than 40 images, fewer
        than two landmarks, an unknown row, or a size that is none or lacks an image.
    Source: Hubert et al. 2012 for the covariance; design.md for the kinds of fault.
    """
    sets = read_sets(landmarks, images, size)
    model = audit_model.fit(sets, row_of(sets, row))
    strangeness = model.judged(sets, sets.points, np.arange(len(sets.images)))[1]
    strangeness = UNUSUAL_SCORE * np.log(np.maximum(strangeness, 1.0))  # (2, N) nats
    gross, refused = _explained(model, sets, strangeness)
    wrong = (gross.cause != "") | (refused.cause != "")
    same = audit_others.copies(sets, audit_others.beside(model, sets, wrong))
    taken = wrong | (same.cause != "")
    shifted = _shifted(model, sets, taken, row is not None)
    taken |= shifted.cause != ""
    room = max(int(DOUBTFUL_SHARE * len(taken)), 1) - int((shifted.cause != "").sum())
    unusual = _unusual(sets, np.where(taken, 0.0, strangeness), room)
    return _table(sets, [gross, same, refused, shifted, unusual])


def row_of(sets: LabelSets, row: tuple[str, str] | None) -> tuple[int, int] | None:
    """The numbers of the landmarks that `audit_labels` was given as row. Raises: ValueError."""
    if row is None:
        return None
    pair = [str(name) for name in row]
    if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(sets.names):
        raise ValueError(f"row: expected two of {list(sets.names)}, got {row}; correct the names")
    return sets.names.index(pair[0]), sets.names.index(pair[1])


def _explained(model: Model, sets: LabelSets, strangeness: np.ndarray) -> tuple[Findings, Findings]:
    """Sets with a gross fault; and others that a repair makes less odd, but not usual.

    Args:
        strangeness: (2, N) nats in place and in shape.
    """
    gross, refused = audit_causes.explain(model, sets)
    undecided = (gross.cause == "order") & (refused.gain < GAIN)
    least = np.where(gross.cause == "scale", SCALE_GAIN, GAIN)
    _keep(gross, gross.gain >= np.where(undecided, OPEN_GAIN, least))
    _keep(refused, (refused.gain >= GAIN) & (gross.cause == ""))
    gross.gain += np.where(gross.cause == "order", strangeness[1], 0.0)
    _name_sides(sets, gross)
    cause = np.array(list(UNUSUAL), dtype=object)[strangeness.argmax(0)]
    refused.cause = np.where(refused.cause == "", "", cause)
    refused.repair[:] = ""
    return gross, refused


def _keep(found: Findings, good: np.ndarray) -> None:
    found.cause[~good] = found.repair[~good] = ""
    found.gain[~good] = 0.0


def _name_sides(sets: LabelSets, found: Findings) -> None:
    """A swap of names instead of a mirror image, where both sides are off or one is alone."""
    if not (sets.partner >= 0).any():
        return
    off = found.cause == "side"
    swapped = off & ((sets.partner < 0) | off[sets.partner])
    found.repair[swapped] = "swap sides"


def _shifted(model: Model, sets: LabelSets, taken: np.ndarray, asked: bool) -> Findings:
    """Sets one tooth off, not `taken`; without a row asked for only where there are jaws' sides."""
    if not asked and not set(sets.sides) & {*LEFT_RIGHT}:
        return audit_causes.nothing_found(sets)
    near = audit_others.beside(model, sets, taken)
    suspect = audit_others.tooth_shift(model, sets, near, taken).gain >= SHIFT_GAIN
    near = audit_others.beside(model, sets, taken, taken | suspect)  # they widen no spread
    found = audit_others.tooth_shift(model, sets, near, taken)
    first = _rank(found.gain) < int(DOUBTFUL_SHARE * len(taken))
    _keep(found, found.gain >= np.where(first, SHIFT_GAIN, SURE_SHIFT_GAIN))
    return found


def _rank(gain: np.ndarray) -> np.ndarray:
    """(N,): 0 for the largest."""
    return np.argsort(np.argsort(-gain, kind="stable"))


def _unusual(sets: LabelSets, strangeness: np.ndarray, most: int) -> Findings:
    """The sets of the largest strangeness, (2, N) nats in place and in shape; 0 = do not count."""
    found, rows = audit_causes.nothing_found(sets), np.arange(len(sets.images))
    for cause, gain in zip(UNUSUAL, strangeness, strict=True):
        found.offer(cause, rows, gain, [""] * len(rows), sets.points)
    _keep(found, (found.gain > 0) & (_rank(found.gain) < most))
    return found


def _table(sets: LabelSets, findings: list[Findings]) -> pd.DataFrame:
    """The first of the findings that names a cause for a set, worst first."""
    rows, seen = [], np.zeros(len(sets.images), dtype=bool)
    for found in findings:
        for k in np.flatnonzero((found.cause != "") & ~seen):
            seen[k] = True
            score = round(float(found.gain[k]), 3)
            rows.append((sets.images[k], sets.sides[k], score, found.cause[k], found.repair[k]))
    table = pd.DataFrame(rows, columns=FOUND).astype({"score": float})
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def shape_outliers(samples: Samples, source_hw: np.ndarray, top: int = 12) -> pd.DataFrame:
    """Samples whose landmarks lie most unlike the others, by place, size or shape.

    Each label set is described by the middle of its points (mm), the log of its size, and its
    distance from the median shape after removing place, rotation and size (Procrustes residual).
    A description far from the median, in units of the median absolute deviation, is suspicious.

    Args:
        samples: label sets with all points annotated; others are left out.
        source_hw: (number of images in the dataset, 2) H and W, pixels.
        top: rows to return.
    Returns: row (number in `samples`), image, side, score (robust z of the worst description),
        reason (place | size | shape); worst first; no rows when no label set is whole.
    Source: Rousseeuw and Croux 1993 for the median absolute deviation times 1.4826.
    """
    whole = np.flatnonzero(~np.isnan(samples.points).any((1, 2)))
    points = samples.points[whole] * samples.spacing_mm[whole, None]
    turned = samples.mirrored[whole]  # into one frame, about the picture's middle: see line_up
    width = source_hw[samples.index[whole], 1] * samples.spacing_mm[whole, 0]
    points[turned, :, 0] = width[turned, None] - points[turned, :, 0]
    middle = points.mean(1)
    if len(whole) == 0:
        return pd.DataFrame(columns=["row", "image", "side", "score", "reason"])
    centred = points - middle[:, None]
    size = np.sqrt((centred**2).sum((1, 2)))
    z_place = np.abs(robust_z(middle)).max(1)
    if points.shape[1] == 1:
        size = np.ones(len(whole))  # one point has a place and nothing else
    z_size = np.abs(robust_z(np.log(np.maximum(size, 1e-9))[:, None]))[:, 0]
    # two points have no shape beyond place, size and rotation: their residual is rounding
    residual = _procrustes_residual(centred, size) if points.shape[1] > 2 else np.zeros(len(whole))
    z_shape = robust_z(residual[:, None])[:, 0]
    scores = np.stack([z_place, z_size, z_shape], 1)
    order = np.argsort(-scores.max(1))[:top]
    return pd.DataFrame(
        {
            "row": whole[order],
            "image": samples.images[whole][order],
            "side": samples.sides[whole][order, 0],
            "score": scores.max(1)[order],
            "reason": np.array(["place", "size", "shape"])[scores.argmax(1)[order]],
        }
    )


def to_look_at(flagged: pd.DataFrame, suspects: pd.DataFrame) -> pd.DataFrame:
    """Label sets for a correction desk: those that an audit flags, then those that only look odd.

    Args:
        flagged: of `audit_labels` or `audit_with_predictions`.
        suspects: of `shape_outliers`; their cause is `unusual` place, size or shape, without a
            repair.
    """
    sets = pd.MultiIndex.from_frame(suspects[FOUND[:2]])
    odd = suspects[~sets.isin(pd.MultiIndex.from_frame(flagged[FOUND[:2]]))]
    rows = odd[FOUND[:3]].assign(cause="unusual " + odd["reason"], repair="")
    parts = [part for part in (flagged, rows) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else flagged


def _procrustes_residual(centred: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(N,): what is left between each unit shape and the median one after the best rotation."""
    unit = centred / np.maximum(size, 1e-9)[:, None, None]
    reference = np.median(unit, axis=0)
    reference = reference / max(float(np.linalg.norm(reference)), 1e-9)  # 0: all points are one
    # the best rotation in the plane: points as complex numbers, angle of their product
    z, r = unit[..., 0] + 1j * unit[..., 1], reference[:, 0] + 1j * reference[:, 1]
    agreement = np.abs((z * r.conj()).sum(1))
    return np.sqrt(np.maximum(2 - 2 * agreement, 0))
