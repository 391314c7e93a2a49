"""How sure a figure is, and whether two runs differ: patients are resampled, seeds averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import numpy as np
import pandas as pd
from scipy.special import nctdtrinc, stdtrit

from lmkit import resampling
from lmkit.pairing import Pairs, Runs, pair
from lmkit.resampling import IS_RATE, NAMES, Figures, figures_of, named, with_room

FEWEST = 5  # patients for an interval of a mean or median; of two, it would be their two values


def bootstrap_intervals(
    error_mm: np.ndarray,
    patients: np.ndarray,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    method: str = "bca",
) -> dict[str, Any]:
    """Intervals of the summary figures, resampling whole patients.

    Landmarks of one image, and both sides of one patient, err together; drawing patients with all
    that is theirs keeps that. A rate that is the same in every draw, such as no failures, gets the
    room that patients not seen could take (`lmkit.resampling.unseen_share`) instead of no width,
    and one failure is never less than none. What counts is how many patients fail: where they are
    one or two, of however many, the draws know little of how many there could have been. Rates are
    so protected however few the patients are; a mean or median gets no interval of fewer than
    FEWEST.

    Args:
        error_mm: (N, L), mm; NaN = not annotated.
        patients: (N,) whose row it is.
        resamples: bootstrap draws.
        level: of the interval, in (0, 1).
        seed: of the draws.
        method: bca (bias-corrected, accelerated: for skewed figures such as these) or percentile.
    Returns: mre_mm, median_mm, failure_rate and sdr {'2': ...}, each [low, high], with level,
        resamples, method and patients (how many have an error); None for mean and median with fewer
        than FEWEST patients, for every figure with fewer than two.
    Raises: ValueError for shapes that do not match or a setting out of range.
    Source: Davison and Hinkley 1997, sections 3.8 (clusters) and 5.3 (BCa).
    """
    error_mm, patients = np.asarray(error_mm, float), np.asarray(patients)
    if error_mm.ndim != 2 or patients.shape != error_mm.shape[:1]:
        raise ValueError(
            f"error_mm, patients: expected (N, L) and (N,), got {error_mm.shape}, {patients.shape}"
        )
    _check(resamples=resamples, level=level, method=method)
    annotated = ~np.isnan(error_mm)
    error = error_mm[annotated]
    names, owner = np.unique(np.repeat(patients, annotated.sum(1)), return_inverse=True)
    result: dict[str, Any] = {"level": level, "resamples": resamples, "method": method}
    result["patients"] = len(names)
    if len(names) < 2:
        return result | named([None] * len(NAMES))
    figures = figures_of(error, owner)
    draws = resampling.drawn(len(names), resamples, np.random.default_rng(seed), error.size)
    replicates = resampling.replicate(figures, draws)
    if method == "bca":
        bounds = _bca(figures, replicates, len(names), error.size, level)
    else:
        bounds = resampling.percentile_bounds(replicates, level)
    bounds = with_room(bounds, replicates, len(names), level, lowest=0)
    spans: list[Any] = resampling.far_enough(bounds, len(names), level).tolist()
    if len(names) < FEWEST:
        spans = [span if rate else None for span, rate in zip(spans, IS_RATE, strict=True)]
    return result | named(spans)


def compare_paired(
    a: Runs,
    b: Runs,
    *,
    split: str | None = None,
    resamples: int = 10_000,
    permutations: int = 10_000,
    level: float = 0.95,
    power: float = 0.8,
    seed: int = 0,
) -> dict[str, Any]:
    """Whether b differs from a on the same images, and by how much.

    Errors, hits and failures are averaged over seeds within a landmark, then over landmarks, so
    that an effect is the difference of the figures of metrics.json, averaged over seeds; the median
    is that of the errors of all seeds together. The interval is the effect ± Student's t (P - 1
    degrees of freedom) times its standard error over draws of patients with both their predictions:
    differences are about symmetric, and BCa covers them less well. The p value swaps a and b in
    some patients, with all that is theirs: how often is the effect then as large as the one seen?

    Args:
        a, b: predictions.csv of a run; several seeds as a list of tables or in a column `seed`.
        split: which rows; needed where the tables hold more than one split.
        resamples: bootstrap draws.
        permutations: random swaps; where all 2^P are no more, each of them once.
        level: of the interval; `detectable` is for a test at 1 - level.
        power: of `detectable`, in (0, 1).
        seed: of the draws and swaps.
    Returns: n_patients, n_images, n_landmarks (used), n_unpaired (left out: an error on one side or
        in some seeds only), n_seeds [a, b], level, resamples, permutations (done), exact (all of
        them), method, power; and mre_mm, median_mm, failure_rate and sdr {'2': ...}, each with a,
        b, effect (b - a), interval [low, high], p (two-sided) and detectable (the smallest true
        effect seen with probability `power`). None where nothing can be said: interval with one
        patient, detectable where all draws agree, everything where nothing is annotated.
    Raises: ValueError for a setting out of range; InputError, also a ValueError, for tables that do
        not hold the same images.
    Source: Bouthillier et al. 2021, arXiv:2103.03098 (pairs, seeds); Winkler et al. 2014,
        NeuroImage 92:381 (whole blocks); Phipson and Smyth 2010, SAGMB 9:39 (1 + count) / (1 + n).
    """
    _check(resamples=resamples, permutations=permutations, level=level, power=power)
    pairs = pair(a, b, split)
    names, owner = np.unique(pairs.keys["patient"].to_numpy(str), return_inverse=True)
    settings = {"level": level, "resamples": resamples, "method": "studentised", "power": power}
    result = _counts(pairs, len(names), permutations) | settings
    if not len(names):
        fields = ("a", "b", "effect", "interval", "p", "detectable")
        return result | named([dict.fromkeys(fields) for _ in NAMES])
    draws, swaps = np.random.default_rng(seed).spawn(2)
    of_a, of_b = (figures_of(*_rows(errors, owner)) for errors in (pairs.a_mm, pairs.b_mm))
    once = np.ones((1, len(names)), np.int32)
    value_a, value_b = of_a(once)[0], of_b(once)[0]
    pieces = resampling.drawn(len(names), resamples, draws, max(pairs.a_mm.size, pairs.b_mm.size))
    replicates = resampling.replicate(lambda times: of_b(times) - of_a(times), pieces)
    spread = _spread(value_b - value_a, replicates, len(names), level, power)
    p = _swap_p(pairs, owner, permutations, swaps)
    columns = {"a": value_a, "b": value_b, "effect": value_b - value_a, "p": p}
    figures = pd.DataFrame(columns).to_dict("records")
    return result | named([f | s for f, s in zip(figures, spread, strict=True)])


@overload
def holm(p_values: np.ndarray) -> np.ndarray: ...
@overload
def holm(p_values: Mapping[str, float]) -> dict[str, float]: ...
def holm(p_values: np.ndarray | Mapping[str, float]) -> np.ndarray | dict[str, float]:
    """Adjust p values for having looked at several: reject where the result is <= the level.

    Args:
        p_values: (m,) or a mapping of names to p values, each in [0, 1].
    Returns: the same kind and order, each p times the number of those not smaller than it, never
        less than for a smaller p, at most 1.
    Raises: ValueError for a p value that is not in [0, 1].
    Source: Holm 1979, Scand. J. Statist. 6:65.
    """
    if isinstance(p_values, Mapping):
        adjusted = holm(np.array(list(p_values.values()), float))
        return dict(zip(p_values, adjusted.tolist(), strict=True))
    p = np.asarray(p_values, float)
    wrong = ~((p >= 0) & (p <= 1))
    if p.ndim != 1 or wrong.any():
        got = f"shape {p.shape}" if p.ndim != 1 else p[wrong][0]
        raise ValueError(f"p_values: expected (m,) in [0, 1], got {got}; leave out what is missing")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def _counts(pairs: Pairs, n_patients: int, permutations: int) -> dict[str, Any]:
    """What a comparison rests on."""
    exact = resampling.is_exact(n_patients, permutations)
    return {
        "n_patients": n_patients,
        "n_images": int(pairs.keys["image"].nunique()),
        "n_landmarks": len(pairs.keys),
        "n_unpaired": pairs.n_unpaired,
        "n_seeds": [pairs.a_mm.shape[1], pairs.b_mm.shape[1]],
        "permutations": 2**n_patients if exact else permutations,
        "exact": exact,
    }


def _rows(errors: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, seeds) errors and (N,) owners as rows: (N * seeds,) of each."""
    return errors.ravel(), owner.repeat(errors.shape[1])


def _bca(
    figures: Figures, replicates: np.ndarray, n_patients: int, width: int, level: float
) -> np.ndarray:
    observed = figures(np.ones((1, n_patients), np.int32))[0]
    jackknife = resampling.replicate(figures, resampling.left_out(n_patients, width))
    return resampling.bca_bounds(observed, replicates, jackknife, level)


def _spread(
    effect: np.ndarray, replicates: np.ndarray, n_patients: int, level: float, power: float
) -> list[dict[str, Any]]:
    """Interval and smallest detectable effect of each figure, from its (R, K) bootstrap draws."""
    if n_patients < 2:
        return [{"interval": None, "detectable": None} for _ in NAMES]
    error = replicates.std(0, ddof=1) * np.sqrt(n_patients / (n_patients - 1))
    reach = error * stdtrit(n_patients - 1, (1 + level) / 2)
    bounds = np.stack([effect - reach, effect + reach], axis=1)
    bounds[IS_RATE] = bounds[IS_RATE].clip(-1, 1)
    bounds = with_room(bounds, replicates, n_patients, level, lowest=-1)
    sizes = detectable(error, n_patients - 1, 1 - level, power)
    return [
        {"interval": span, "detectable": None if fixed else size}
        for span, size, fixed in zip(
            bounds.tolist(), sizes.tolist(), resampling.agree(replicates), strict=True
        )
    ]


def detectable(error: Any, df: float, alpha: float, power: float) -> Any:
    """The smallest true effect that Student's test calls with the given power.

    Args:
        error: standard error of the effect, a number or an array.
        df: degrees of freedom, > 0.
        alpha: of the two-sided test; power: both in (0, 1).
    Returns: as `error`; the noncentral t that is beyond the critical value so often.
    """
    return error * nctdtrinc(df, 1 - power, stdtrit(df, 1 - alpha / 2))


def _swap_p(
    pairs: Pairs, owner: np.ndarray, permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """(K,) two-sided p values of exchanging a and b in whole patients."""
    n_patients = int(owner.max()) + 1
    (a, of_a), (b, of_b) = _rows(pairs.a_mm, owner), _rows(pairs.b_mm, owner)
    weight = np.repeat([pairs.b_mm.shape[1], pairs.a_mm.shape[1]], [a.size, b.size])  # seeds alike
    both = figures_of(np.r_[a, b], np.r_[of_a, of_b + n_patients], weight)

    def difference(swapped: np.ndarray) -> np.ndarray:
        kept, swapped = (~swapped).astype(np.int32), swapped.astype(np.int32)
        return both(np.hstack([swapped, kept])) - both(np.hstack([kept, swapped]))

    seen = np.abs(difference(np.zeros((1, n_patients), bool))) - 1e-9
    flips = resampling.flipped(n_patients, permutations, rng, a.size + b.size)
    count, n = np.zeros(seen.shape[1:], int), 0
    for swapped in flips:
        count = count + (np.abs(difference(swapped)) >= seen).sum(0)
        n += len(swapped)
    if resampling.is_exact(n_patients, permutations):
        return count / n
    return (1 + count) / (1 + n)


def _check(**settings: Any) -> None:
    for name, value in settings.items():
        if name == "method":
            ok, expected = value in ("bca", "percentile"), "bca or percentile"
        elif name in ("level", "power"):
            ok, expected = 0 < value < 1, "in (0, 1)"
        else:
            ok, expected = value >= 2, ">= 2"
        if not ok:
            raise ValueError(f"{name}: expected {expected}, got {value}")
