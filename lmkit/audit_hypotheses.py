"""What may have happened to label sets that a model has seen, and what speaks for each of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmkit import audit_causes, audit_others, audit_slips
from lmkit.audit_model import Model
from lmkit.audit_sets import LabelSets
from lmkit.audit_views import WRONG, Views

ELSEWHERE = "elsewhere"
UNKNOWN = float(np.log(3))  # nats: of wrong labels, one in three is wrong in no way listed here


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


def hypotheses(
    sets: LabelSets, views: Views, found: pd.DataFrame, shape: Model
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
    options += _shifted(sets, views, near, seen)
    there = np.where(np.isnan(views.points), xy, views.points)
    # points that go well with other label sets prove no label wrong; odd ones are likely slips
    gain = np.minimum(shape.plausibility(sets, there, rows) - base, 0.0)
    model = views.log_density_elsewhere(xy) - seen
    options.append(Hypothesis(ELSEWHERE, [""] * len(rows), there, gain, model, UNKNOWN))
    return [*options, *_alone(sets, views, shape, there, base)]


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
    least, cost = np.log(audit_causes.LEAST_FACTOR), audit_causes.COST["scale"]
    usual = np.array([_factors(text) for text in found]).reshape(count, 2)
    factor = np.where(views.seen, _factor(xy, views.points), usual[:, 0])
    factor[np.abs(np.log(factor)) <= least] = 1.0  # another place
    scaled = audit_causes.rescaled(xy, factor)
    yield "scale", audit_causes.scale_texts(np.stack([factor, factor], 1)), scaled, cost
    axes = [_factor(xy[..., [i]], views.points[..., [i]]) for i in (0, 1)]
    pair = np.where(views.seen[:, None], np.stack(axes, 1), usual)
    pair[np.abs(np.log(pair[:, 0] / pair[:, 1])) <= least] = 1.0  # one factor says as much
    squashed = audit_causes.rescaled(xy, pair)
    yield "scale", audit_causes.scale_texts(pair), squashed, 2 * cost
    exchanged, orders = audit_causes.swaps(sets.names), audit_causes.other_orders(sets.names)
    for cause, renamings in (("swap", exchanged), ("order", orders)):
        for order, text in renamings:
            yield cause, [text] * count, xy[:, order], float(np.log(len(renamings)))


def _factors(repair: str) -> tuple[float, float]:
    """Along x and y, of a repair; 1 where it is no scale."""
    words = repair.split()
    return (float(words[1]), float(words[-1])) if words[:1] == ["scale"] else (1.0, 1.0)


def _factor(label: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N,) the factor that brings each label (N, L, 1 or 2) px nearest to the model's points; 1
    where unknown."""
    lacking = np.isnan(label + seen)
    a, b = (np.where(lacking, 0.0, xy + 0.5) for xy in (label, seen))
    size = (a * a).sum((1, 2))
    return np.where(size > 0, (a * b).sum((1, 2)) / np.maximum(size, 1e-9), 1.0).clip(0.05, 20.0)


def _shifted(
    sets: LabelSets, views: Views, near: audit_others.Beside, seen: np.ndarray
) -> Iterator[Hypothesis]:
    """One tooth off, either way; and off by what the model says, where that is no tooth.

    Args:
        seen: (N,) log density of the model's points where the labels are right.
    """
    xy, here = sets.points, near.plausibility(near.place)
    offset = audit_slips.offset(views, xy)
    free = audit_slips.log_odds_offset(views, xy, offset)
    for cause, step, model, cost in (
        ("neighbour", views.step, None, np.log(2)),
        ("neighbour", -views.step, None, np.log(2)),
        (ELSEWHERE, offset, free, UNKNOWN),
    ):
        gain = near.plausibility(near.place + audit_others.in_frame(sets, step)) - here
        points, text = xy + step[:, None], [f"shift {dx:.1f} {dy:.1f}" for dx, dy in step]
        model = views.log_density(points) - seen if model is None else model
        yield Hypothesis(cause, text, points, gain, model, float(cost))


def _alone(
    sets: LabelSets, views: Views, shape: Model, there: np.ndarray, base: np.ndarray
) -> Iterator[Hypothesis]:
    """One landmark is not where its label is, but at (N, L, 2) px `there`, where the model has it.

    Args:
        base: (N,) plausibility of the labels.
    """
    rows = np.arange(len(sets.images))
    usual = audit_slips.usual_points(sets, sets.points, shape.reference)
    confirmed = views.close(sets.points)
    model = audit_slips.log_odds_alone(
        views, sets.points, audit_slips.usual_density(sets, views, shape.reference)
    )
    cost = UNKNOWN + float(np.log(len(sets.names)))
    for i, name in enumerate(sets.names):
        here, usually = (sets.points.copy() for _ in range(2))
        here[:, i], usually[:, i] = there[:, i], usual[:, i]
        gain = shape.plausibility(sets, here, rows) - base
        of_right = (shape.plausibility(sets, usually, rows) - base)[confirmed[:, i]]
        text = [f"move {shlex.quote(name)} {x:.1f} {y:.1f}" for x, y in there[:, i]]
        gain = audit_slips.proven(gain, of_right)
        yield Hypothesis(ELSEWHERE, text, here, gain, model[:, i], cost)
