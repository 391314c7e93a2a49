"""Radial errors in millimetres and their summary; the one place where pixels become millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lmkit.fields import InputError
from lmkit.tables import NOTHING

THRESHOLDS_MM = (2.0, 2.5, 3.0, 4.0)
FAILURE_MM = 4.0


def radial_error_mm(pred: np.ndarray, true: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Distance between predicted and true points.

    Args:
        pred, true: (..., 2) xy, source pixels; NaN = not annotated.
        spacing_mm: mm per source pixel: a number, (2,) x and y, or (..., 2) to broadcast, such as
            (N, 1, 2) for points of shape (N, L, 2).
    Returns: (...), mm; NaN where a point is NaN.
    Raises: ValueError for shapes that do not match or a spacing that is not > 0.
    """
    pred, true = np.asarray(pred, float), np.asarray(true, float)
    spacing = np.asarray(spacing_mm, float)
    if pred.shape != true.shape or pred.shape[-1:] != (2,):
        raise ValueError(f"pred, true: expected the same (..., 2), got {pred.shape}, {true.shape}")
    if spacing.ndim > 1 and spacing.ndim != pred.ndim:
        raise ValueError(
            f"spacing_mm: expected a number, (2,) or {pred.ndim} axes such as (N, 1, 2), "
            f"got shape {spacing.shape}"
        )
    if not (spacing > 0).all():
        raise ValueError(f"spacing_mm: expected > 0, got {spacing[~(spacing > 0)].flat[0]}")
    # rounded, so that 30 px of 0.1 mm are 3 mm and not 4e-16 mm more than the threshold
    return np.round(np.hypot(*np.moveaxis((pred - true) * spacing, -1, 0)), 12)


def success_rate(error_mm: np.ndarray, threshold_mm: float, strict: bool = False) -> float | None:
    """Share of annotated landmarks within a threshold: `error <= threshold`, `<` when strict.

    Source: the ISBI 2015 cephalometric challenge's evaluator for `<=`.
    """
    error_mm = np.asarray(error_mm, float)
    known = error_mm[~np.isnan(error_mm)]
    hit = known < threshold_mm if strict else known <= threshold_mm
    return float(hit.mean()) if known.size else None


def summarise(
    error_mm: np.ndarray,
    landmarks: Sequence[str] | None = None,
    thresholds_mm: Sequence[float] = THRESHOLDS_MM,
    strict: bool = False,
) -> dict[str, Any]:
    """The figures of metrics.json for one set of errors.

    Args:
        error_mm: (N, L), mm; NaN = not annotated, counted and left out.
        landmarks: L names; given, the result has `per_landmark`.
        thresholds_mm: for the success detection rates, mm.
        strict: a hit is `<` instead of `<=`.
    Returns: n_images, n_landmarks (annotated), n_missing, mre_mm, sd_mm (divisor N), median_mm,
        failure_rate (share > 4 mm), sdr {'2': share, '2.5': ...}; None where nothing is annotated.
    Raises: ValueError for a shape other than (N, L).
    """
    error_mm = np.asarray(error_mm, float)
    if error_mm.ndim != 2 or (landmarks is not None and error_mm.shape[1] != len(landmarks)):
        expected = "(N, L)" if landmarks is None else f"(N, {len(landmarks)})"
        raise ValueError(f"error_mm: expected {expected}, got {error_mm.shape}")
    known = error_mm[~np.isnan(error_mm)]
    some = known.size > 0
    summary: dict[str, Any] = {
        "n_images": int((~np.isnan(error_mm)).any(1).sum()),
        "n_landmarks": int(known.size),
        "n_missing": int(error_mm.size - known.size),
        "mre_mm": float(known.mean()) if some else None,
        "sd_mm": float(known.std()) if some else None,
        "median_mm": float(np.median(known)) if some else None,
        "failure_rate": float((known > FAILURE_MM).mean()) if some else None,
        "sdr": {f"{t:g}": success_rate(error_mm, t, strict) for t in thresholds_mm},
    }
    if landmarks is not None:
        summary["per_landmark"] = {
            name: summarise(error_mm[:, [i]], None, thresholds_mm, strict)
            for i, name in enumerate(landmarks)
        }
    return summary


def error_matrix(predictions: pd.DataFrame) -> pd.DataFrame:
    """Errors of predictions.csv as a table: a row per image and side, a column per landmark, mm."""
    order = list(dict.fromkeys(predictions["landmark"]))
    rows = ["image", "side", "patient"]
    if predictions.duplicated([*rows, "landmark"]).any():
        raise InputError("predictions: expected each image, side and landmark once, got repeats")
    keyed = predictions.set_index([*rows, "landmark"])["error_mm"]
    return keyed.unstack("landmark")[order]


def dashed(table: pd.DataFrame) -> pd.DataFrame:
    """A table to look at: what is not known as a dash and not as nan."""
    return table.astype(object).where(table.notna(), NOTHING)


def table(summaries: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Summaries as a table to read: a row each, mm and percent, with what they rest on."""

    def percent(share: float | None) -> str:
        return "-" if share is None else f"{100 * share:.1f} %"

    def mm(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    rows = {}
    for name, s in summaries.items():
        rows[name] = {
            "MRE ± SD, mm": f"{mm(s['mre_mm'])} ± {mm(s['sd_mm'])}",
            "median, mm": mm(s["median_mm"]),
            "failures > 4 mm": percent(s["failure_rate"]),
            **{f"SDR {t} mm": percent(share) for t, share in s["sdr"].items()},
            "landmarks": s["n_landmarks"],
            "missing": s["n_missing"],
        }
    return pd.DataFrame.from_dict(rows, orient="index")
