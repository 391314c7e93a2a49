"""Figures of what a model gets wrong: all errors, each landmark's, and the cases themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmkit.data import Dataset
from lmkit.images import to_uint8
from lmkit.metrics import THRESHOLDS_MM
from lmkit.plots import PREDICTION, SERIES, crop, figure_of, grid, image, look, plain, tidy

Case: TypeAlias = tuple[str, str]  # image and side


def cumulative_error(ax: Axes, errors_mm: Mapping[str, np.ndarray], upto_mm: float = 10) -> Axes:
    """Share of landmarks within each distance, one curve per entry; SDR read off at the dots.

    Args:
        errors_mm: name -> errors, mm; NaN is left out.
    """
    for i, (name, values) in enumerate(errors_mm.items()):
        colour, dashes = look(i)["colour"], look(i)["dashes"]
        known = np.sort(np.asarray(values, float)[~np.isnan(values)])
        share = np.arange(1, len(known) + 1) / len(known)
        x, y = np.append(np.insert(known, 0, 0), 1e9), np.append(np.insert(share, 0, 0), 1)
        ax.step(x, y, dashes, where="post", color=colour, label=plain(name))
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
    name_ticks(ax, names)
    return tidy(ax)


def name_ticks(ax: Axes, names: Sequence[str]) -> None:
    """Names of landmarks under their ticks, in two lines; aslant where they would overprint."""
    texts = [plain(name).replace("_", " ", 1).replace("_", "\n", 1) for name in names]
    size = 10.0  # points; a letter takes about 0.6 of them
    longest = max((len(line) for text in texts for line in text.split("\n")), default=0)
    room = 72 * figure_of([ax]).get_figwidth() * 0.85 / max(len(names), 1)
    if 0.6 * size * (longest + 1) <= room:
        ax.set_xticklabels(texts)
        return
    aslant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticklabels([plain(name) for name in names], fontsize=8, **aslant)


def gallery(dataset: Dataset, predictions: pd.DataFrame, which: Sequence[str]) -> Figure:
    """Cases picked by their mean error, from near, four to a row; each once, saying all it is.

    Args:
        dataset: to read the images from.
        predictions: rows of predictions.csv.
        which: 'worst', 'median' or 'best', one per picture; repeated, the next in that order that
            is not shown yet, if there is one.
    """
    means = predictions.groupby(["image", "side"])["error_mm"].mean().dropna().sort_values()
    picked = _picked(list(means.index), which)
    axes = grid(len(picked), min(4, len(picked)), height=3)
    for ax, ((name, side), kinds) in zip(axes, picked.items(), strict=True):
        kind = ", ".join(kinds)
        rows = predictions[(predictions["image"] == name) & (predictions["side"] == side)]
        true, pred = rows[["x_true", "y_true"]].to_numpy(), rows[["x", "y"]].to_numpy()
        part, offset = crop(to_uint8(dataset.read(name)), np.stack([true, pred]))
        image(ax, part, true - offset, pred - offset, size=35)
        ax.set_title(plain(f"{kind}: {name}, {side}\nmean {means[name, side]:.2f} mm"), fontsize=8)
    return figure_of(axes)


def _picked(
    ranked: list[tuple[str, str]], which: Sequence[str]
) -> dict[tuple[str, str], list[str]]:
    """Which of some cases to show, each once, and what each of them is.

    Args:
        ranked: the best first; `worst` and `best` are taken of a half each.
        which: of `gallery`.
    """
    n = len(ranked)
    half, middle = max(n // 2, 1), np.argsort(np.abs(np.arange(n) - n // 2), kind="stable")
    order = {
        "worst": ranked[::-1][:half],
        "best": ranked[:half],
        "median": [ranked[i] for i in middle],
    }
    shown: dict[Case, list[str]] = {}
    for i, kind in enumerate(which):
        first, left = kind not in which[:i], [case for case in order[kind] if case not in shown]
        chosen = order[kind][:1] if first else left[:1]
        for case in chosen:
            shown.setdefault(case, []).append(kind)
    return shown
