"""Figures of single cases: an image near its landmarks with all that a model says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patheffects import withStroke

from lmkit import plots
from lmkit.plots import PREDICTION, SERIES, TRUTH, plain
from lmkit.plots_errors import cumulative_error
from lmkit.tables import NOTHING

OTHER = SERIES[4]  # another run's prediction
LINES = 18  # of landmarks in a list; the worst are kept
DECADES = (0.01, 0.1, 1, 10, 100)


def near(pixels: np.ndarray, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image in which a case's points lie, and its (x, y) offset.

    Args:
        pixels: (H, W), the whole image.
        rows: of predictions.csv, of one image and side; or of `cases.beside`.
    """
    pairs = [("x", "y"), ("x_true", "y_true"), ("other_x", "other_y")]
    points = [rows[list(pair)].to_numpy(float) for pair in pairs if pair[0] in rows]
    return plots.crop(pixels, np.concatenate(points))


def case(
    ax: Axes,
    part: np.ndarray,
    offset: np.ndarray,
    rows: pd.DataFrame,
    maps: np.ndarray | None = None,
    size: float = 60,
) -> Axes:
    """A case from near: true rings, predicted crosses, second modes as triangles.

    A triangle is as opaque as its mode is high beside the first; another run's prediction, where
    the rows have one, is a plus. Landmarks are numbered in the order of the rows.

    Args:
        part, offset: of `near`.
        rows: of predictions.csv, of one image and side.
        maps: (L, H, W) heatmaps in the frame of `part`.
        size: of the marks, points squared.
    """
    true = rows[["x_true", "y_true"]].to_numpy(float) - offset
    pred = rows[["x", "y"]].to_numpy(float) - offset
    plots.image(ax, part, size=size)
    if maps is not None:
        plots.overlay(ax, maps)
    for (x, y), (x_true, y_true) in zip(pred, true, strict=True):
        ax.plot([x_true, x], [y_true, y], color=PREDICTION, lw=0.8, alpha=0.7)
    if {"second_x", "second_y", "second_share"} <= set(rows):
        share = rows["second_share"].fillna(0).clip(0, 1)
        colours = [to_rgba(SERIES[1], a) for a in share]
        at = rows[["second_x", "second_y"]].to_numpy(float) - offset
        plots.dots(ax, at, s=size * 0.6, marker="^", facecolors=colours, edgecolors="none")
    if "other_x" in rows:
        at = rows[["other_x", "other_y"]].to_numpy(float) - offset
        plots.dots(ax, at, s=size, marker="+", color=OTHER, linewidths=1.5)
    plots.dots(ax, true, s=size, facecolors="none", edgecolors=TRUTH, linewidths=1.5)
    plots.dots(ax, pred, s=size * 0.7, marker="x", color=PREDICTION, linewidths=1.5)
    for number, (x, y) in enumerate(np.where(np.isnan(true), pred, true), start=1):
        text = ax.annotate(str(number), (x, y), (5, 5), textcoords="offset points", fontsize=8)
        text.set(color="white", path_effects=[withStroke(linewidth=1.5, foreground="black")])
    return ax


def case_on_curve(
    ax: Axes, errors_mm: np.ndarray, case_mm: np.ndarray, span_mm: tuple[float, float] | None = None
) -> Axes:
    """Share of landmarks within each distance, with the landmarks of one case as numbered dots.

    Args:
        errors_mm: (N,) of all landmarks, mm; NaN is left out.
        case_mm: (L,) of the case.
        span_mm: shaded, from and to.
    """
    cumulative_error(ax, {"all cases": errors_mm})
    known = np.sort(errors_mm[~np.isnan(errors_mm)])
    top = max(10.0, 1.3 * float(known.max(initial=0)))
    low = DECADES[0]
    at = np.clip(case_mm, 1.1 * low, None)
    ax.plot(at, np.searchsorted(known, case_mm, "right") / max(1, len(known)), "x", c=PREDICTION)
    for number, (x, mm) in enumerate(zip(at, case_mm, strict=True), start=1):
        if not np.isnan(mm):
            y = np.searchsorted(known, mm, "right") / len(known)
            ax.annotate(str(number), (x, y), (-9, 3), textcoords="offset points", fontsize=8)
    if span_mm is not None:
        ax.axvspan(max(low, span_mm[0]), max(low, span_mm[1]), color="0.93", zorder=-1)
    ticks = [decade for decade in DECADES if decade < top]
    ax.set(xscale="log", xlim=(low, top))
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)
    if (legend := ax.get_legend()) is not None:
        legend.remove()
    return ax


COLUMNS = {  # of predictions.csv -> head in a list
    "error_mm": "error mm",
    "other_error_mm": "other mm",
    "peak": "peak",
    "ere_mm": "map mm",
    "second_share": "second",
    "tta_mm": "moved mm",
    "ensemble_mm": "members",
}


def case_list(ax: Axes, rows: pd.DataFrame, columns: Sequence[str] = tuple(COLUMNS)) -> Axes:
    """The figures of a case's landmarks as lines of text, numbered as in `case`.

    Args:
        rows: of predictions.csv, of one image and side.
        columns: to show, where the rows have them.
    """
    shown = [name for name in columns if name in rows]
    numbered = rows.reset_index(drop=True)
    worst = numbered.sort_values("error_mm", ascending=False, kind="stable").index[:LINES]
    names = [str(name)[:24] for name in numbered["landmark"]]
    width = max(map(len, names))
    lines = ["   " + "landmark".ljust(width) + "".join(f"{COLUMNS[c]:>9}" for c in shown)]
    for i in sorted(worst):
        row = numbered.loc[i]
        cells = "".join(
            f"{NOTHING if pd.isna(row[c]) else format(row[c], '.2f'):>9}" for c in shown
        )
        doubt = (
            "" if "trust" not in rows or pd.isna(row["trust"]) or row["trust"] else "  distrusted"
        )
        lines.append(f"{i + 1:>2} {names[i]:<{width}}{cells}{doubt}")
    if len(numbered) > LINES:
        lines.append(f"and {len(numbered) - LINES} with smaller errors")
    ax.set_axis_off()
    text = plain("\n".join(lines))
    ax.text(0, 1, text, family="monospace", fontsize=8, va="top", transform=ax.transAxes)
    return ax


def marks_of(rows: pd.DataFrame) -> str:
    """What the marks of `case` mean, of those that these rows have."""
    said = ["ring true", "cross predicted"]
    said += ["triangle the map's second mode"] if "second_x" in rows else []
    said += ["plus the other run"] if "other_x" in rows else []
    return ", ".join(said)


def title_of(rows: pd.DataFrame) -> str:
    """Image, side and mean error of a case, ready for a figure."""
    first = rows.iloc[0]
    mean = rows["error_mm"].mean()
    said = f"{first['image']}, {first['side']}"
    said += "" if pd.isna(mean) else f", mean error {mean:.2f} mm"
    return plain(said)
