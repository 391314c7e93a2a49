"""The figures of agreement as functions of how often each patient counts, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from lmkit import resampling
from lmkit.resampling import Figures

LIMITS_SD = float(ndtri(0.975))  # 1.96: limits of agreement hold 95 % of normal differences
NUMBER_FIGURES = ("bias", "sd", "lower", "upper", "mae", "median_ae", "ccc")
CLASS_FIGURES = ("accuracy", "kappa", "kappa_linear")


def number_figures(true: np.ndarray, predicted: np.ndarray, owner: np.ndarray) -> Figures:
    """NUMBER_FIGURES of (N,) pairs as a function of how often each owner counts."""
    middle = true.mean() if len(true) else 0.0
    t, p, d = true - middle, predicted - middle, predicted - true  # centred: squares keep digits
    parts = [np.ones_like(d), d, d * d, np.abs(d), t, p, t * t, p * p, t * p]
    sums = np.stack([np.bincount(owner, part) for part in parts], axis=1)  # (P, 9)

    def figures(times: np.ndarray) -> np.ndarray:
        n, *means = (times @ sums).T
        d, dd, absolute, t, p, tt, pp, tp = (m / n for m in means)
        spread = np.sqrt(np.maximum(dd - d * d, 0) * n / np.where(n > 1, n - 1, np.nan))
        apart = (tt - t * t) + (pp - p * p) + (t - p) ** 2
        ccc = 2 * (tp - t * p) / np.where(apart > 0, apart, np.nan)
        limits = d - LIMITS_SD * spread, d + LIMITS_SD * spread
        middle = resampling.medians(np.abs(predicted - true), owner, times)
        return np.column_stack([d, spread, *limits, absolute, middle, ccc])

    return figures


def class_figures(confusion: np.ndarray) -> Figures:
    """CLASS_FIGURES of (P, C, C) counts as a function of how often each owner counts."""
    c = confusion.shape[-1]
    steps = np.abs(np.subtract.outer(np.arange(c), np.arange(c)))

    def figures(times: np.ndarray) -> np.ndarray:
        counts = np.tensordot(times, confusion, axes=1)  # (R, C, C)
        n = counts.sum((1, 2))
        chance = counts.sum(2)[:, :, None] * counts.sum(1)[:, None] / n[:, None, None]
        found = [np.trace(counts, axis1=1, axis2=2) / n]
        for weight in (steps > 0, steps):
            expected = (weight * chance).sum((1, 2))
            seen = (weight * counts).sum((1, 2))
            found.append(1 - seen / np.where(expected > 0, expected, np.nan))
        return np.column_stack(found)

    return figures


def with_intervals(
    figures: Figures,
    names: Sequence[str],
    owner: np.ndarray,
    settings: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Each figure by name, and BCa intervals over patients.

    Args:
        figures: of K figures. names: of the K.
        owner: (N,) whose case it is, an index into P.
        settings: level and resamples. seed: of the draws.
    Returns: figure -> its value, None where it has none; and intervals, figure -> [low, high], None
        with one patient or where a figure has no value. Draws without a value are left out.
    """
    if not len(owner):
        return dict.fromkeys(names) | {"intervals": dict.fromkeys(names)}
    n_patients, level = int(owner.max()) + 1, settings["level"]
    observed = figures(np.ones((1, n_patients), np.int32))[0]
    said = [float(v) if np.isfinite(v) else None for v in observed]
    spans: list[list[float] | None] = [None] * len(names)
    if n_patients > 1 and None not in said:
        rng = np.random.default_rng(seed)
        draws = resampling.drawn(n_patients, settings["resamples"], rng, owner.size)
        pieces = (draws, resampling.left_out(n_patients, owner.size))
        drawn, jackknife = (resampling.replicate(figures, piece) for piece in pieces)
        drawn, jackknife = (rows[np.isfinite(rows).all(1)] for rows in (drawn, jackknife))
        if len(drawn) and len(jackknife):
            spans = resampling.bca_bounds(observed, drawn, jackknife, level).tolist()
    return dict(zip(names, said, strict=True)) | {"intervals": dict(zip(names, spans, strict=True))}
