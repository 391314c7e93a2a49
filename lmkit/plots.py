"""Figures: arrays and tables in, the axes they were drawn on out.

Everywhere the same: images grey, truth a green ring, prediction a red cross; series in the
colour-blind-safe colours of Okabe and Ito 2008.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lmkit.data import Dataset
from lmkit.images import to_uint8

TRUTH, PREDICTION = "#2ecc40", "#ff4136"
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
DOTS, CROSSES, DASHES = "o^sDvP*h", "+x1234|_", ("-", "--", ":", "-.")


def plain(text: str) -> str:
    """Text for a figure in which a dollar sign is a dollar sign and not mathematics."""
    return text.replace("$", r"\$")


def look(i: int) -> dict[str, Any]:
    """What the i-th of many series is drawn with: where the colours come again, other marks.

    Returns: colour, dot and cross (a marker for points and one for their mean), dashes; no two of
        64 have the same colour and marks, no two of 32 the same colour and dashes.
    """
    turn, place = divmod(i, len(SERIES))
    marks = {"dot": DOTS[turn % len(DOTS)], "cross": CROSSES[turn % len(CROSSES)]}
    return {"colour": SERIES[place], **marks, "dashes": DASHES[turn % len(DASHES)]}


def tidy(ax: Axes) -> Axes:
    """The axes without a frame above and on the right."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def dots(ax: Axes, points: np.ndarray, **style: Any) -> None:
    """Marks at (..., 2) xy; NaN is not drawn. style: of `Axes.scatter`."""
    ax.scatter(points[..., 0], points[..., 1], **style)


def image(
    ax: Axes,
    pixels: np.ndarray,
    true: np.ndarray | None = None,
    pred: np.ndarray | None = None,
    title: str = "",
    size: float = 60,
) -> Axes:
    """A grey image with its points.

    Args:
        pixels: (H, W).
        true, pred: (L, 2) xy, pixels of the image; NaN points are not drawn.
        size: of the marks, points squared.
    """
    ax.imshow(pixels, cmap="gray", interpolation="antialiased")
    if true is not None:
        dots(ax, true, s=size, facecolors="none", edgecolors=TRUTH, linewidths=1.5)
    if pred is not None:
        dots(ax, pred, s=size * 0.7, marker="x", c=PREDICTION, linewidths=1.5)
    ax.set(title=plain(title), xticks=[], yticks=[])
    ax.set(xlim=(-0.5, pixels.shape[1] - 0.5), ylim=(pixels.shape[0] - 0.5, -0.5))
    return ax


def overlay(ax: Axes, maps: np.ndarray, opacity: float = 0.6) -> Axes:
    """Heatmaps over an image of the same field, the strongest landmark per pixel.

    Args:
        maps: (L, h, w); scaled to the largest value; stretched over the axes' present limits.
    """
    top = maps.max(0) / max(float(maps.max()), 1e-12)
    extent = (*ax.get_xlim(), *ax.get_ylim())
    ax.imshow(top, cmap="inferno", alpha=opacity * np.clip(2 * top, 0, 1), extent=extent)
    ax.set(xlim=extent[:2], ylim=extent[2:])
    return ax


def map_cut(ax: Axes, heatmap: np.ndarray, point: np.ndarray) -> Axes:
    """The values of one map along the row through a point.

    Args:
        heatmap: (h, w). point: (2,) xy, heatmap pixels; a NaN point draws nothing.
    """
    if not np.isnan(point).any():
        row = int(np.clip(round(float(point[1])), 0, heatmap.shape[0] - 1))
        ax.plot(heatmap[row], color=SERIES[0])
        ax.axvline(point[0], color=TRUTH, lw=1)
        ax.set_xlim(point[0] - 25, point[0] + 25)
        ax.set_title(f"largest value {heatmap.max():.3g}", fontsize=9)
    ax.set(xlabel="x, heatmap pixels", ylabel="target, first landmark")
    return tidy(ax)


def crop(
    pixels: np.ndarray, points: np.ndarray, margin: float = 0.6
) -> tuple[np.ndarray, np.ndarray]:
    """A square around some points, for a look from near.

    Args:
        pixels: (H, W). points: (..., 2) xy, all of which are to be seen; NaN is ignored.
        margin: to add on each side, as a share of the points' extent (at least 40 pixels).
    Returns: the crop, and its (x, y) offset to subtract from points.
    """
    flat = points.reshape(-1, 2)
    low, high = np.nanmin(flat, 0), np.nanmax(flat, 0)
    half = max(40.0, (0.5 + margin) * float((high - low).max()))
    height, width = pixels.shape
    start = np.clip(np.floor((low + high) / 2 - half), 0, [width - 1, height - 1]).astype(int)
    stop = np.clip(np.ceil((low + high) / 2 + half), start + 1, [width, height]).astype(int)
    return pixels[start[1] : stop[1], start[0] : stop[0]], start


def cloud(ax: Axes, points: np.ndarray, names: Sequence[str], title: str = "") -> Axes:
    """All labels of one side on top of each other, with each landmark's mean.

    Args:
        points: (N, L, 2) xy, pixels.
    """
    for i, name in enumerate(names):
        own = look(i)
        style = {"color": own["colour"], "marker": own["dot"]}
        dots(ax, points[:, i], s=5, alpha=0.4, linewidths=0, **style)
        style |= {"marker": own["cross"], "label": plain(name)}
        dots(ax, np.nanmean(points[:, i], 0), s=70, **style)
    ax.invert_yaxis()
    ax.set_aspect("equal")
    ax.set(xlabel="x, pixels", ylabel="y, pixels", title=plain(title))
    beside(ax, len(names))
    return ax


def beside(ax: Axes, entries: int, **more: Any) -> None:
    """A legend right of the axes, where it covers no point, in columns of at most 20.

    Args:
        more: of `Axes.legend`, such as handles.
    """
    style = {"fontsize": 7, "frameon": False, "ncols": -(-entries // 20)} | more
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), **style)


def bars(ax: Axes, values: Mapping[str, float], ylabel: str, title: str = "") -> Axes:
    """One bar per entry, its value on top."""
    names = [plain(name) for name in values]
    drawn = ax.bar(names, list(values.values()), color=SERIES[0], width=0.6)
    ax.bar_label(drawn, fmt="%.2f", padding=2)
    ax.set(ylabel=ylabel, title=plain(title))
    ax.margins(y=0.15)
    return tidy(ax)


def lines(
    ax: Axes,
    x: Sequence[float],
    series: Mapping[str, Sequence[float] | np.ndarray],
    xlabel: str,
    ylabel: str,
    title: str = "",
) -> Axes:
    """One line per entry over a common x; beyond eight the colours come again, dashed."""
    for i, (name, values) in enumerate(series.items()):
        own = look(i)
        ax.plot(x, values, own["dashes"], color=own["colour"], lw=1.6, label=plain(name))
    ax.set(xlabel=xlabel, ylabel=ylabel, title=plain(title))
    ax.legend(fontsize=7, frameon=False)
    return tidy(ax)


def history(figure: Figure, table: pd.DataFrame, epochs: int | None = None) -> Figure:
    """Loss, radial error, SDR and learning rate over the epochs, in four axes of a figure.

    Args:
        figure: empty or drawn on before.
        table: history.csv.
        epochs: how many there will be; sets the x axis.
    """
    figure.clear()
    axes = figure.subplots(1, 4)
    panels: tuple[tuple[str, dict[str, str], str], ...] = (
        ("loss", {"train_loss": "training", "val_loss": "validation"}, "log"),
        (
            "radial error on validation, mm",
            {"val_mre_mm": "mean (MRE)", "val_median_mm": "median"},
            "log",
        ),
        ("SDR on validation", {"val_sdr_2mm": "at 2 mm", "val_sdr_4mm": "at 4 mm"}, "linear"),
        ("learning rate", {"lr": ""}, "log"),
    )
    for ax, (ylabel, columns, scale) in zip(axes, panels, strict=True):
        for colour, (column, name) in zip(SERIES, columns.items(), strict=False):
            ax.plot(table["epoch"], table[column], color=colour, marker=".", label=name)
        ax.set(xlabel="epoch", ylabel=ylabel, yscale=scale)
        ax.set_xlim(0.5, (epochs or table["epoch"].max()) + 0.5)
        if scale == "linear":
            ax.set_ylim(0, 1.02)
        if len(columns) > 1:
            ax.legend(fontsize=8, frameon=False)
        tidy(ax)
    axes[1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[1].yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
    axes[1].yaxis.set_minor_formatter(NullFormatter())
    figure.tight_layout()
    return figure


def contact_sheet(dataset: Dataset, n: int = 12, columns: int = 4) -> Figure:
    """Whole images, evenly spaced through a dataset, with the labels of all sides."""
    step = max(1, len(dataset.images) // n)
    names = [str(name) for name in dataset.images["image"][::step][:n]]
    for ax, name in zip(grid(len(names), columns, width=3.1, height=1.85), names, strict=True):
        rows = dataset.landmarks[dataset.landmarks["image"] == name]
        image(ax, to_uint8(dataset.read(name)), rows[["x", "y"]].to_numpy(), size=12)
        ax.set_title(plain(name), fontsize=7, pad=2)
    return plt.gcf()


def beside_real(axes: Sequence[Axes], table: pd.DataFrame) -> Sequence[Axes]:
    """Shape statistics beside the real ones: deviations of mean and SD, and shares.

    Args:
        axes: three.
        table: of `phantom_shape.beside_real`.
    """
    titles = {"mean": "difference of the mean, px", "sd": "SD, times the real one"}
    for ax, (figure, title) in zip(axes, titles.items(), strict=False):
        rows = table.loc[figure]
        off = rows.here - rows.real if figure == "mean" else rows.here / rows.real
        low, high = (-3, 3) if figure == "mean" else (0.75, 1.25)
        ax.axhspan(low, high, color="0.93", label="allowed")
        ax.plot(rows.index, off, "o", color=SERIES[0], label="this dataset")
        ax.axhline((low + high) / 2, color="0.4", lw=0.8)
        ax.set(xlabel="coordinate of landmark 1 to 5", title=title)
        ax.margins(y=0.12)
    shares = table.loc[["mode", "class"]]
    place = np.arange(len(shares))
    axes[2].bar(place - 0.2, shares.real, 0.36, color="0.6", label="real")
    axes[2].bar(place + 0.2, shares.here, 0.36, color=SERIES[0], label="this dataset")
    labels = [f"{figure}\n{of}" for figure, of in shares.index]
    axes[2].set_xticks(place, labels)
    axes[2].set(title="shares of variance and of depth classes")
    for ax in axes:
        ax.legend(fontsize=7, frameon=False)
        tidy(ax)
    return axes


def grid(n: int, columns: int, width: float = 3.2, height: float = 2.6) -> list[Axes]:
    """n axes on a figure of their own, row by row; what is left over is hidden."""
    rows = max(1, -(-n // columns))
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False
    )
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    figure.set_layout_engine("tight")
    return list(axes.flat[:n])


def figure_of(axes: Sequence[Axes]) -> Figure:
    """The figure that the axes of a grid are on."""
    return axes[0].figure.canvas.figure  # an axes' own may be a part of a figure, says matplotlib
