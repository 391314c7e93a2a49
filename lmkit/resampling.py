"""Drawing patients again and again, and turning what comes out into intervals and p values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from lmkit.metrics import FAILURE_MM, THRESHOLDS_MM

CHUNK = 2_000_000  # values in one temporary array: 8 MB of int32, 16 MB of float64
SDR = [f"{t:g}" for t in THRESHOLDS_MM]
NAMES = ["mre_mm", "failure_rate", *SDR, "median_mm"]  # the K figures, in the order of arrays here
IS_RATE = np.array([name in ("failure_rate", *SDR) for name in NAMES])

Figures = Callable[[np.ndarray], np.ndarray]  # (R, P) how often each patient counts -> (R, K)


def drawn(
    n_patients: int, resamples: int, rng: np.random.Generator, width: int
) -> Iterator[np.ndarray]:
    """Bootstrap draws: how often each patient is drawn, in pieces that bound the memory.

    Args:
        n_patients: P, drawn with replacement P times.
        width: the largest number of values that a caller makes of one draw.
    Returns: (r, P) int32 pieces with `resamples` rows in all; the draws do not depend on `width`.
    """
    for rows in _pieces(resamples, width, n_patients):
        shift = np.arange(len(rows))[:, None] * n_patients
        who = rng.integers(n_patients, size=(len(rows), n_patients)) + shift
        times = np.bincount(who.ravel(), minlength=len(rows) * n_patients)
        yield times.reshape(-1, n_patients).astype(np.int32)


def left_out(n_patients: int, width: int) -> Iterator[np.ndarray]:
    """(r, P) int32 pieces of the jackknife: in row p every patient counts once, but p not."""
    for rows in _pieces(n_patients, width, n_patients):
        times = np.ones((len(rows), n_patients), np.int32)
        times[np.arange(len(rows)), rows] = 0
        yield times


def flipped(
    n_patients: int, permutations: int, rng: np.random.Generator, width: int
) -> Iterator[np.ndarray]:
    """(r, P) bool pieces: which patients change sides; all 2^P ways where those are no more."""
    exact = is_exact(n_patients, permutations)
    for rows in _pieces(2**n_patients if exact else permutations, width, n_patients):
        if exact:
            yield (np.array(rows)[:, None] >> np.arange(n_patients) & 1).astype(bool)
        else:
            yield rng.integers(2, size=(len(rows), n_patients), dtype=np.int8).astype(bool)


def is_exact(n_patients: int, permutations: int) -> bool:
    """Whether all 2^P ways to flip the signs of P patients are no more than `permutations`."""
    return n_patients < 63 and 2**n_patients <= permutations


def _pieces(n_rows: int, width: int, n_patients: int) -> Iterator[range]:
    step = max(1, CHUNK // max(width, n_patients))
    for start in range(0, n_rows, step):
        yield range(start, min(start + step, n_rows))


def medians(
    values: np.ndarray, owner: np.ndarray, times: np.ndarray, weight: np.ndarray | int = 1
) -> np.ndarray:
    """The median of some values, each counted as often as its patient was drawn.

    Args:
        values: (N,).
        owner: (N,) whose value it is, an index into P.
        times: (R, P) integers, how often patient p counts.
        weight: (N,) integers that multiply these counts.
    Returns: (R,), the mean of the middle two where the count is even; as `np.median` of the values
        repeated so often.
    """
    order = np.argsort(values)
    count = times[:, owner[order]]
    if not np.isscalar(weight):
        count *= np.asarray(weight, count.dtype)[order]
    twice = 2 * count.cumsum(1, dtype=count.dtype)
    total = twice[:, -1:] // 2
    lower, upper = (twice >= total).argmax(1), (twice > total).argmax(1)
    return (values[order][lower] + values[order][upper]) / 2


def figures_of(error: np.ndarray, owner: np.ndarray, weight: np.ndarray | int = 1) -> Figures:
    """The figures NAMES of (N,) errors, mm, as a function of how often each owner counts."""
    marks = [error, error > FAILURE_MM, *(error <= t for t in THRESHOLDS_MM)]
    sums = np.stack([np.bincount(owner, weight * mark) for mark in marks], axis=1)  # (P, K - 1)
    count = np.bincount(owner, weight * np.ones(len(owner)))

    def figures(times: np.ndarray) -> np.ndarray:
        means = times @ sums / (times @ count)[:, None]
        return np.column_stack([means, medians(error, owner, times, weight)])

    return figures


def replicate(figures: Figures, pieces: Iterator[np.ndarray]) -> np.ndarray:
    """(R, K): the figures of every row of every piece."""
    return np.concatenate([figures(times) for times in pieces])


def percentile_bounds(replicates: np.ndarray, level: float) -> np.ndarray:
    """(K, 2) low and high: the middle `level` of (R, K) bootstrap replicates."""
    return np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=0).T


def bca_bounds(
    observed: np.ndarray, replicates: np.ndarray, jackknife: np.ndarray, level: float
) -> np.ndarray:
    """Bias-corrected and accelerated bootstrap intervals.

    Args:
        observed: (K,) figures of the sample.
        replicates: (R, K) of its bootstrap draws.
        jackknife: (P, K) of the sample without each patient.
        level: of the interval, in (0, 1).
    Returns: (K, 2) low and high; both are the figure itself where no draw differs from it.
    Source: Efron 1987, JASA 82:171; as in `scipy.stats.bootstrap`, ties count one half below.
    """
    n_draws = len(replicates)
    close = 1e-12 * np.maximum(1, np.abs(observed))
    below = (replicates < observed - close).mean(0) + (replicates <= observed + close).mean(0)
    bias = ndtri(np.clip(below / 2, 0.5 / n_draws, 1 - 0.5 / n_draws))
    bent = jackknife.mean(0) - jackknife
    spread = (bent**2).sum(0) ** 1.5
    some = spread > close**3
    bend = np.where(some, (bent**3).sum(0) / np.where(some, spread, 1), 0) / 6
    tails = bias[:, None] + ndtri([(1 - level) / 2, (1 + level) / 2])  # (K, 2)
    room = 1 - bend[:, None] * tails
    moved = np.where(room > 0, tails / np.where(room > 0, room, 1), np.copysign(np.inf, tails))
    share = ndtr(bias[:, None] + moved)
    bounds = np.array([np.quantile(r, s) for r, s in zip(replicates.T, share, strict=True)])
    return np.where(agree(replicates)[:, None], observed[:, None], bounds)


def agree(replicates: np.ndarray) -> np.ndarray:
    """(K,) bool: which of (R, K) figures are the same in every draw, but for rounding."""
    return np.ptp(replicates, axis=0) <= 1e-12 * np.maximum(1, np.abs(replicates).max(0))


def unseen_share(n_patients: int, level: float) -> float:
    """How many patients could still show what none of P showed: Clopper and Pearson's bound.

    Returns: the upper end of the exact two-sided interval for 0 of P, a share of patients; about
        3.7 / P at 95 %.
    """
    return 1 - ((1 - level) / 2) ** (1 / n_patients)


def with_room(
    bounds: np.ndarray, replicates: np.ndarray, n_patients: int, level: float, lowest: float
) -> np.ndarray:
    """(K, 2) bounds; a rate, from `lowest` to 1, that no draw changes may be what nobody showed."""
    room = unseen_share(n_patients, level) * np.array([-1, 1])
    fixed = agree(replicates) & IS_RATE
    return np.where(fixed[:, None], (bounds + room).clip(lowest, 1), bounds)


def far_enough(bounds: np.ndarray, n_patients: int, level: float) -> np.ndarray:
    """(K, 2) bounds; those of rates reach at least as far as they would if nobody had failed."""
    room = unseen_share(n_patients, level)
    low, high = np.minimum(bounds[:, 0], 1 - room), np.maximum(bounds[:, 1], room)
    return np.where(IS_RATE[:, None], np.stack([low, high], axis=1), bounds)


def named(values: list[Any]) -> dict[str, Any]:
    """A value for each figure, keyed as in metrics.json."""
    by_name = dict(zip(NAMES, values, strict=True))
    return {name: by_name[name] for name in ("mre_mm", "median_mm", "failure_rate")} | {
        "sdr": {name: by_name[name] for name in SDR}
    }
