"""Figures of agreement: measurements predicted against true ones, and readers beside a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lmkit.measures import Measurement
from lmkit.metrics import FAILURE_MM
from lmkit.plots import PREDICTION, SERIES, plain, tidy

ROOM = 1.6  # of the differences' axis, in half-widths of the limits; more is drawn at the edge


def _with_unit(text: str, unit: str) -> str:
    return plain(text.replace("_", " ") + (f", {unit}" if unit else ""))


def bland_altman(
    ax: Axes, true: np.ndarray, predicted: np.ndarray, found: dict[str, Any], name: str = ""
) -> Axes:
    """Differences over means, with the bias and the limits of agreement and their intervals.

    Differences far outside the limits are drawn at the edge as triangles, with their number.

    Args:
        true, predicted: (N,), NaN is left out.
        found: of `agreement.numbers` for these, with `unit`.
        name: of the measurement.
    """
    middle, difference = (true + predicted) / 2, predicted - true
    known = ~np.isnan(difference)
    middle, difference = middle[known], difference[known]
    figures = [f for f in ("bias", "lower", "upper") if found[f] is not None]
    reach = ROOM * max([1e-9, *(abs(found[f]) for f in figures)])
    digits = 3 if reach < 1 else 2 if reach < 10 else 1
    for figure in figures:
        label = f"{figure} {found[figure]:.{digits}f}".replace("-", "−")
        _level(ax, label, found[figure], found["intervals"][figure])
    inside = np.abs(difference) <= reach
    ax.scatter(middle[inside], difference[inside], s=14, color="0.25", alpha=0.7, linewidths=0)
    for sign, marker in ((1, "^"), (-1, "v")):
        out = ~inside & (np.sign(difference) == sign)
        edge = np.full(out.sum(), 0.97 * sign * reach)
        ax.scatter(middle[out], edge, s=22, marker=marker, color=PREDICTION, linewidths=0)
    ax.axhline(0, color="0.6", lw=0.8, zorder=0)
    title = f"{name.replace('_', ' ')}, n = {found['n']}{_beyond((~inside).sum())}"
    ax.set_title(plain(title), fontsize=10)
    ax.set_ylim(-reach, reach)
    ax.set_xlabel(_with_unit("mean of true and predicted", found["unit"]))
    ax.set_ylabel(_with_unit("predicted − true", found["unit"]))
    return tidy(ax)


def _level(ax: Axes, label: str, value: float, interval: list[float] | None) -> None:
    """A line across at bias or limit, its interval as a band, its label at the right."""
    colour, style = (SERIES[0], "-") if label.startswith("bias") else (SERIES[5], "--")
    if interval:
        ax.axhspan(*interval, color=colour, alpha=0.15, lw=0)
    ax.axhline(value, color=colour, lw=1.4, ls=style)
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    ax.annotate(label, (1, value), (4, 0), va="center", fontsize=8, color=colour, **place)


def _beyond(n: int) -> str:
    return f" ({n} beyond the axis)" if n else ""


def confusion(ax: Axes, found: dict[str, Any], name: str = "") -> Axes:
    """Counts of true against predicted classes, with their share of the true class.

    Args:
        found: of `agreement.class_agreement`.
    """
    counts, classes = np.array(found["confusion"]), [plain(c) for c in found["classes"]]
    rows = counts.sum(1, keepdims=True)
    share = counts / np.maximum(rows, 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        text = f"{count}\n{100 * share[i, j]:.0f} %" if rows[i] else "0"
        ax.text(j, i, text, ha="center", va="center", color="w" if share[i, j] > 0.6 else "0.1")
    span = found["intervals"]["accuracy"]
    right = f"{100 * found['accuracy']:.0f} % right" if found["n"] else "none measured"
    sure = f" ({100 * span[0]:.0f}–{100 * span[1]:.0f})" if span else ""
    ax.set_title(plain(f"{name.replace('_', ' ')}: {right}{sure}"), fontsize=10)
    ax.set_xticks(range(len(classes)), classes)
    labels = [f"{c} (n = {n})" for c, n in zip(classes, rows[:, 0], strict=True)]
    ax.set_yticks(range(len(classes)), labels)
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


def against_true(ax: Axes, measured: pd.DataFrame, measurement: Measurement) -> Axes:
    """Predicted over true numbers with the borders of the classes; wrong classes as red crosses.

    Predictions far beyond the true numbers' range are drawn at the edge, and counted.

    Args:
        measured: of `measures.measure`. measurement: a class.
    """
    rows = measured[measured["measurement"] == measurement.name].dropna(
        subset=["true", "predicted"]
    )
    right = (rows["class_true"] == rows["class_predicted"]).to_numpy()
    x, y = rows["true"].to_numpy(), rows["predicted"].to_numpy()
    spread = np.r_[x, np.clip(y, *_span(x, measurement.borders)), measurement.borders]
    room = 0.05 * np.ptp(spread) or 1.0
    low, high = spread.min() - room, spread.max() + room
    shown = np.clip(y, low, high)
    ax.plot([low, high], [low, high], color="0.7", lw=0.8, zorder=0)
    ax.scatter(x[right], shown[right], s=16, color=SERIES[0], alpha=0.7, lw=0, label="right class")
    ax.scatter(
        x[~right], shown[~right], s=24, marker="x", c=PREDICTION, label=f"wrong ({(~right).sum()})"
    )
    for border in measurement.borders:
        ax.axvline(border, color="0.4", lw=0.9, ls="--")
        ax.axhline(border, color="0.4", lw=0.9, ls="--")
    edges = [low, *measurement.borders, high]
    for name, start, stop in zip(measurement.classes, edges[:-1], edges[1:], strict=True):
        ax.text((start + stop) / 2, high, plain(name), ha="center", va="bottom", fontsize=9)
        ax.text(high, (start + stop) / 2, plain(name), ha="left", va="center", fontsize=9)
    label = measurement.of.name if measurement.of else ""
    unit = measurement.of.unit if measurement.of else ""
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    ax.set_title(f"n = {len(rows)}{_beyond((shown != y).sum())}", fontsize=10, pad=18)
    ax.set(xlabel=_with_unit(f"true {label}", unit), ylabel=_with_unit(f"predicted {label}", unit))
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    return tidy(ax)


def _span(x: np.ndarray, borders: tuple[float, ...]) -> tuple[float, float]:
    """How far predicted numbers are followed: half the true ones' range beyond them."""
    low, high = min([*x, *borders]), max([*x, *borders])
    return low - (high - low) / 2, high + (high - low) / 2


def observers(ax: Axes, both: pd.DataFrame, predictions: pd.DataFrame | None = None) -> Axes:
    """How far two readers are apart, a column of dots per landmark, and a model's errors beside.

    Args:
        both: of `observer.readings`.
        predictions: rows of predictions.csv.
    """
    names = list(dict.fromkeys(both["landmark"]))
    strips = {"second reader against first": (both, "0.55", -0.2)}
    if predictions is not None:
        strips["model against first reader"] = (predictions, SERIES[0], 0.2)
    for label, (rows, colour, shift) in strips.items():
        for i, name in enumerate(names):
            values = rows.loc[rows["landmark"] == name, "error_mm"].dropna().to_numpy()
            at = i + shift + np.linspace(-0.15, 0.15, len(values))
            told = label if i == 0 else None
            ax.scatter(at, np.maximum(values, 1e-2), s=7, alpha=0.6, color=colour, lw=0, label=told)
            if len(values):
                ax.hlines(np.median(values), i + shift - 0.18, i + shift + 0.18, "black", lw=1.5)
    ax.axhline(FAILURE_MM, color=PREDICTION, lw=1, ls="--")
    ax.set(yscale="log", ylabel="distance, nominal mm; line: median")
    ax.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
    ax.set_xticks(range(len(names)), [plain(name).replace("_", "\n") for name in names])
    ax.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return tidy(ax)
