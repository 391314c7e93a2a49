"""What may have happened to a label set, and how plausible the set is once that is undone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from lmkit.audit_model import Model
from lmkit.audit_sets import LabelSets
from lmkit.audit_shape import as_complex, filled

FACTORS = np.exp(np.linspace(np.log(1 / 12), np.log(12), 199))  # of a scale repair; step 2.5 %
ROUND = np.array([1 / 4, 1 / 3, 1 / 2, 2, 3, 4])  # factors that pictures are resized by on purpose
NEAR_ROUND, AS_PLAUSIBLE = 0.06, 2.0  # of a factor's logarithm; nats: may as well be round
LEAST_FACTOR = 1.2  # a smaller change of scale is a small or a large patient
SWAP_CANDIDATES = 12  # landmarks, those farthest from their place, of which two may be swapped
LEAST_OTHERS = 3  # landmarks, besides one that may be anywhere, to tell that it is
ORDERED = 5  # landmarks of which every order of the names is tried; of more, reversed and moved on
Option = tuple[str, np.ndarray, np.ndarray, list[str], float | np.ndarray]
Renaming = tuple[list[int], str]  # (L,) places that the right points stand at, and the repair
GAIN = 6.0  # nats of log-likelihood that undoing a gross fault has to gain
COST = {"scale": 2.0, "side": 0.5, "axes": 0.5}  # nats: what a free choice gains by itself


@dataclass
class Findings:
    """(N,) arrays: the best explanation of each label set; cause '' = none.

    gain: nats of log-likelihood over the set as it is; points: (N, L, 2) px, repaired.
    """

    cause: np.ndarray
    repair: np.ndarray
    gain: np.ndarray
    points: np.ndarray

    def offer(
        self,
        cause: str,
        rows: np.ndarray,
        gain: np.ndarray,
        repair: list[str],
        points: np.ndarray,
    ) -> None:
        """Take an explanation where it gains more than those before."""
        better = np.flatnonzero(gain > self.gain[rows])
        taken = rows[better]
        self.gain[taken], self.cause[taken] = gain[better], cause
        self.repair[taken] = [repair[k] for k in better]
        self.points[taken] = points[better]


def nothing_found(sets: LabelSets) -> Findings:
    empty = np.full(len(sets.images), "", dtype=object)
    return Findings(empty, empty.copy(), np.zeros(len(empty)), sets.points.copy())


def explain(model: Model, sets: LabelSets) -> tuple[Findings, Findings]:
    """The best of: another scale, the other side, axes or two landmarks swapped, another order, a
    single landmark elsewhere.

    Returns: what explains each set; and what only seems to, for it leaves a whole set unusual (of
    one that lacks points too little is known to say so). Another order may, where it is open
            which of two it is.
    """
    whole = ~np.isnan(sets.points).any((1, 2))
    found, refused = nothing_found(sets), nothing_found(sets)
    base = model.plausibility(sets, sets.points, np.arange(len(whole)))
    options = (*_resized(model, sets), *_renamed(model, sets, base), *_misplaced(sets, base))
    for cause, rows, points, repair, cost in options:
        likely, strange = model.judged(sets, points, rows)
        gain, odd = likely - base[rows] - cost, whole[rows] & (strange.max(0) > 1)
        if cause == "order":
            odd &= gain >= GAIN
        found.offer(cause, rows, np.where(odd, -np.inf, gain), repair, points)
        refused.offer(cause, rows, np.where(odd, gain, -np.inf), repair, points)
    return found, refused


def _resized(model: Model, sets: LabelSets) -> Iterator[Option]:
    """Cause, rows, points, repairs and cost (nats) of faults of the coordinates."""
    rows, xy = np.arange(len(sets.images)), sets.points
    turned = [f"mirror {x:.1f}" for x in sets.line]
    cost = np.where(sets.guessed, COST["scale"], COST["side"])  # a guessed line is a free choice
    yield "side", rows, mirrored(xy, sets.line), turned, cost
    yield "axes", rows, xy[..., ::-1], ["swap x y"] * len(rows), COST["axes"]
    odd = rows
    for axes in ((True, True), (True, False), (False, True)):
        pair = np.where(axes, _usable(best_factor(model, sets, axes))[:, None], 1.0)
        pair = _round(model, sets, rows, pair)
        scaled = rescaled(xy, pair)
        yield "scale", rows, scaled, scale_texts(pair), (1 if all(axes) else 2) * COST["scale"]
        if all(axes):
            odd = np.flatnonzero(model.judged(sets, scaled, rows)[1].max(0) > 1)
    if len(odd):
        pair = _round(model, sets, odd, best_pair(model, sets, odd))
        yield "scale", odd, rescaled(xy[odd], pair), scale_texts(pair), 2 * COST["scale"]


def _usable(factor: np.ndarray) -> np.ndarray:
    """(N,) factors, 1 in place of what a small or a large patient may be."""
    return np.where(np.abs(np.log(factor)) > np.log(LEAST_FACTOR), factor, 1.0)


def scale_texts(pair: np.ndarray) -> list[str]:
    """The repairs `scale F`, or `scale FX FY` where the (n, 2) factors along x and y differ."""
    return [f"scale {_text(x)}" if x == y else f"scale {_text(x)} {_text(y)}" for x, y in pair]


def _text(factor: float) -> str:
    """A factor with three digits, a third to the pixel."""
    third = np.isclose(factor, ROUND, rtol=1e-5).any() and abs(factor - round(factor, 3)) > 1e-9
    return f"{factor:.6f}" if third else f"{factor:.3f}"


def _round(model: Model, sets: LabelSets, rows: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """(n, 2) factors along x and y of some rows; those near one of ROUND are it, where the points
    are then about as plausible."""
    near = ROUND[np.abs(np.log(pair[..., None] / ROUND)).argmin(-1)]
    tried = np.where(np.abs(np.log(pair / near)) <= NEAR_ROUND, near, pair)
    exact, plain = (
        model.plausibility(sets, rescaled(sets.points[rows], factors), rows)
        for factors in (pair, tried)
    )
    return np.where((plain >= exact - AS_PLAUSIBLE)[:, None], tried, pair)


def mirrored(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(N, L, 2) px points mirrored about x = (N,) line."""
    out = points.copy()
    out[..., 0] = 2 * line[:, None] - points[..., 0]
    return out


def rescaled(points: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """(N, L, 2) px points of a picture resized by (N,) factors, or by (N, 2) along x and y; pixel
    centres at integers."""
    return (points + 0.5) * factor.reshape(len(points), 1, -1) - 0.5


def best_factor(
    model: Model, sets: LabelSets, axes: Sequence[bool] | np.ndarray = (True, True)
) -> np.ndarray:
    """(N,) the factor that makes each set most plausible: a grid, then a parabola through three.

    Args:
        axes: which of x and y are scaled.
    """
    rows = np.arange(len(sets.images))
    tried = [np.tile(np.where(axes, factor, 1.0), (len(rows), 1)) for factor in FACTORS]
    score = np.stack(
        [model.plausibility(sets, rescaled(sets.points, pair), rows) for pair in tried]
    )
    best = score.argmax(0).clip(1, len(FACTORS) - 2)
    low, mid, high = (score[best + k, rows] for k in (-1, 0, 1))
    bend = low - 2 * mid + high
    offset = np.where(bend < 0, (low - high) / np.minimum(2 * bend, -1e-9), 0.0).clip(-1, 1)
    step = np.log(FACTORS[1] / FACTORS[0])
    return FACTORS[best] * np.exp(offset * step)


def best_pair(model: Model, sets: LabelSets, rows: np.ndarray) -> np.ndarray:
    """(n, 2) the factors along x and y, apart by LEAST_FACTOR, that make some sets most plausible:
    a grid from 1 / 6 to 6, then four finer ones about the best."""
    best = np.zeros((len(rows), 1, 2))  # logarithms
    for reach, step in ((12, np.log(6) / 12), *((1, 0.08 * 0.5**k) for k in range(4))):
        line = step * np.arange(-reach, reach + 1)
        tried = best + np.stack(np.meshgrid(line, line), -1).reshape(1, -1, 2)
        count = tried.shape[1]
        points = rescaled(np.repeat(sets.points[rows], count, 0), np.exp(tried).reshape(-1, 2))
        score = model.plausibility(sets, points, np.repeat(rows, count)).reshape(-1, count)
        score[np.abs(tried[..., 0] - tried[..., 1]) <= np.log(LEAST_FACTOR)] = -np.inf
        best = np.take_along_axis(tried, score.argmax(1)[:, None, None], 1)
    return np.exp(best[:, 0])


def _renamed(model: Model, sets: LabelSets, base: np.ndarray) -> Iterator[Option]:
    """The same of names exchanged or in another order, in sets worse than half of the others."""
    rows = np.flatnonzero(base < np.median(base))
    few = len(sets.names) <= SWAP_CANDIDATES
    exchanged = swaps(sets.names, None if few else _likely_pairs(model, sets, rows))
    for cause, orders in (("swap", exchanged), ("order", other_orders(sets.names))):
        cost = np.log(max(len(orders), 2))
        for order, repair in orders:
            yield cause, rows, sets.points[rows][:, order], [repair] * len(rows), cost


def _misplaced(sets: LabelSets, base: np.ndarray) -> Iterator[Option]:
    """The same of one landmark that may be anywhere, in whole sets worse than half of them."""
    count = len(sets.names)
    rows = np.flatnonzero(base < np.median(base))
    rows = rows[~np.isnan(sets.points[rows]).any((1, 2))]
    for k in range(count) if count > LEAST_OTHERS else ():
        points = sets.points[rows].copy()
        points[:, k] = np.nan
        cost = np.log(count) + 3 * COST["scale"]  # which; where, in two directions; one to be sure
        yield "unusual shape", rows, points, [""] * len(rows), cost


def swaps(names: tuple[str, ...], pairs: list[tuple[int, int]] | None = None) -> list[Renaming]:
    """Two landmarks exchanged: those of some pairs of numbers, None = of all."""
    found = []
    for i, k in combinations(range(len(names)), 2) if pairs is None else pairs:
        order = list(range(len(names)))
        order[i], order[k] = k, i
        found.append((order, f"swap {shlex.quote(names[i])} {shlex.quote(names[k])}"))
    return found


def _likely_pairs(model: Model, sets: LabelSets, rows: np.ndarray) -> list[tuple[int, int]]:
    """Of many landmarks, the pairs that lie nearer to each other's place in some set."""
    z = filled(as_complex(sets.frame(sets.points)), model.reference)[rows]
    z = z - np.median(z.real, 1, keepdims=True) - 1j * np.median(z.imag, 1, keepdims=True)
    usual = np.median(z.real, 0) + 1j * np.median(z.imag, 0)
    to = np.abs(z[:, :, None] - usual)  # (n, L, L): landmark, place
    own = np.einsum("nii->ni", to)
    crossed = (to + to.transpose(0, 2, 1)) < 0.5 * (own[:, :, None] + own[:, None, :])
    i, k = np.nonzero(np.triu(crossed.any(0), 1))
    return [(int(a), int(b)) for a, b in zip(i, k, strict=True)]


def other_orders(names: tuple[str, ...]) -> list[Renaming]:
    """Orders in which a reader may have clicked, that are neither the right one nor one swap.

    Of up to ORDERED landmarks all; of more the reverse, and one or two clicks too many or too few.

    Args:
        names: landmarks, length L.
    Returns: as `Renaming`; the repair is `rename OLD NEW OLD NEW ...`.
    """
    count = len(names)
    if count <= ORDERED:
        tried = [list(p) for p in permutations(range(count))]
    else:
        tried = [[(k + step) % count for k in range(count)] for step in (1, 2, -1, -2)]
        tried.append(list(range(count))[::-1])
    tried = [order for order in tried if sum(a != b for a, b in enumerate(order)) > 2]
    return [(order, _renaming(names, order)) for order in tried]


def _renaming(names: tuple[str, ...], order: list[int]) -> str:
    pairs = [(names[old], names[new]) for new, old in enumerate(order) if old != new]
    return "rename " + " ".join(shlex.quote(name) for pair in pairs for name in pair)
