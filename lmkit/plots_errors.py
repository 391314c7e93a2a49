"""Figures of what a model gets wrong: all errors, each landmark's, and the cases themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmkit.data import Dataset
from lmkit.images import to_uint8
from lmkit.metrics import THRESHOLDS_MM
from lmkit.plots import PREDICTION, SERIES, crop, figure_of, grid, image, plain, tidy


def cumulative_error(ax: Axes, errors_mm: Mapping[str, np.ndarray], upto_mm: float = 10) -> Axes:
    """Share of landmarks within each distance, one curve per entry; SDR read off at the dots.

    Args:
        errors_mm: name -> errors, mm; NaN is left out.
    """
    for colour, (name, values) in zip(SERIES, errors_mm.items(), strict=False):
        known = np.sort(np.asarray(values, float)[~np.isnan(values)])
        share = np.arange(1, len(known) + 1) / len(known)
        x, y = np.append(np.insert(known, 0, 0), 1e9), np.append(np.insert(share, 0, 0), 1)
        ax.step(x, y, where="post", color=colour, label=plain(name))
        at = [(known <= t).mean() for t in THRESHOLDS_MM]
        ax.plot(THRESHOLDS_MM, at, ".", color=colour)
    for threshold in THRESHOLDS_MM:
        ax.axvline(threshold, color="0.85", lw=0.8, zorder=0)
    ax.set(xlim=(0, upto_mm), ylim=(0, 1.01), xlabel="radial error, nominal mm")
    ax.set(ylabel="share of landmarks within")
    ax.legend(frameon=False, loc="lower right")
    return tidy(ax)


def error_strip(ax: Axes, predictions: pd.DataFrame) -> Axes:
    """Every error, one column of dots per landmark, with the medians and the 4 mm line."""
    names = list(dict.fromkeys(predictions["landmark"]))
    for i, name in enumerate(names):
        values = predictions.loc[predictions["landmark"] == name, "error_mm"].dropna().to_numpy()
        spread = np.linspace(-0.3, 0.3, len(values))
        colour = SERIES[i % len(SERIES)]
        ax.scatter(i + spread, np.maximum(values, 1e-2), s=8, alpha=0.6, color=colour)
        if len(values):
            ax.hlines(np.median(values), i - 0.35, i + 0.35, color="black", lw=1.5)
    ax.axhline(4, color=PREDICTION, lw=1, ls="--")
    ax.set(yscale="log", ylabel="radial error, nominal mm", xticks=range(len(names)))
    ax.set_xticklabels([plain(name).replace("_", " ", 1).replace("_", "\n", 1) for name in names])
    return tidy(ax)


def gallery(dataset: Dataset, predictions: pd.DataFrame, which: Sequence[str]) -> Figure:
    """Cases picked by their mean error, from near, four to a row.

    Args:
        dataset: to read the images from.
        predictions: rows of predictions.csv.
        which: 'worst', 'median' or 'best', one per picture; repeated, the next in that order.
    """
    means = predictions.groupby(["image", "side"])["error_mm"].mean().dropna().sort_values()
    order = {
        "worst": list(means.index[::-1]),
        "best": list(means.index),
        "median": list(means.index[np.argsort(np.abs(np.arange(len(means)) - len(means) // 2))]),
    }
    picked = [(kind, order[kind].pop(0)) for kind in which if order[kind]]
    axes = grid(len(picked), min(4, len(picked)), height=3)
    for ax, (kind, (name, side)) in zip(axes, picked, strict=True):
        rows = predictions[(predictions["image"] == name) & (predictions["side"] == side)]
        true, pred = rows[["x_true", "y_true"]].to_numpy(), rows[["x", "y"]].to_numpy()
        part, offset = crop(to_uint8(dataset.read(name)), np.stack([true, pred]))
        image(ax, part, true - offset, pred - offset, size=35)
        ax.set_title(plain(f"{kind}: {name}, {side}\nmean {means[name, side]:.2f} mm"), fontsize=8)
    return figure_of(axes)
