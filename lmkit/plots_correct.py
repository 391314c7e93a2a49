"""Pictures that a reader clicks on: a part of an image with its labels, and the whole of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from lmkit import plots
from lmkit.plots import PREDICTION, SERIES, TRUTH
from lmkit.windows import Window

BEFORE = SERIES[4]  # where a label was before it was moved
CHOSEN = SERIES[1]
DPI = 100


def bare(window: Window, width_px: int = 760) -> tuple[Figure, Axes]:
    """A figure that is a picture of a window and nothing else: a click's share is the window's."""
    ratio = window.height / window.width
    figure = Figure(figsize=(width_px / DPI, max(1.0, width_px * ratio / DPI)), dpi=DPI)
    return figure, figure.add_axes((0, 0, 1, 1))


def labels(
    ax: Axes,
    pixels: np.ndarray,
    window: Window,
    now: np.ndarray,
    *,
    before: np.ndarray | None = None,
    model: np.ndarray | None = None,
    chosen: int | None = None,
    names: Sequence[str] = (),
    size: float = 110,
) -> Axes:
    """Labels as green rings, the model's points as red crosses, earlier places as blue rings.

    Args:
        pixels: (H, W), the whole image. window: what is drawn of it.
        now, before, model: (L, 2) px of the image; NaN is not drawn.
        chosen: number of the landmark with the orange ring about it.
        names: numbers where empty.
        size: of the marks, points squared.
    """
    plots.image(ax, window.cut(pixels))
    here = window.to_window(now)
    if before is not None:
        gone = window.to_window(before)
        moved = (~np.isnan(gone[:, 0])) & ~(gone == here).all(1)
        for a, b in zip(gone[moved], here[moved], strict=True):
            ax.plot(*np.stack([a, b]).T, color=BEFORE, lw=0.8, clip_on=True)
        plots.dots(ax, gone[moved], s=size, facecolors="none", edgecolors=BEFORE, linewidths=1)
    if model is not None:
        plots.dots(ax, window.to_window(model), s=size * 0.6, marker="x", c=PREDICTION, lw=1.5)
    plots.dots(ax, here, s=size, facecolors="none", edgecolors=TRUTH, linewidths=1.5)
    plots.dots(ax, here, s=3, c=TRUTH)
    if chosen is not None:
        plots.dots(
            ax, here[chosen], s=size * 2.5, facecolors="none", edgecolors=CHOSEN, linewidths=1.5
        )
    for i, (x, y) in enumerate(here):
        if 0 <= x < window.width and 0 <= y < window.height:
            said = plots.plain(names[i]) if names else str(i + 1)
            text = ax.annotate(said, (x, y), (9, 7), textcoords="offset points", fontsize=8)
            text.set(color="white", path_effects=[withStroke(linewidth=1.5, foreground="black")])
    ax.set(xlim=(-0.5, window.width - 0.5), ylim=(window.height - 0.5, -0.5))
    return ax


def overview(
    ax: Axes, pixels: np.ndarray, sets: Sequence[np.ndarray], window: Window | None = None
) -> Axes:
    """The whole image with all its label sets as small rings, and the window as a frame.

    Args:
        pixels: (H, W). sets: (L, 2) px each; the first one's are green, the others' blue.
    """
    plots.image(ax, pixels)
    for i, points in enumerate(sets):
        plots.dots(ax, points, s=14, facecolors="none", edgecolors=TRUTH if i == 0 else BEFORE)
    if window is not None:
        corner = (window.x - 0.5, window.y - 0.5)
        frame = Rectangle(corner, window.width, window.height, fill=False, ec=CHOSEN, lw=1)
        ax.add_patch(frame)
    ax.set(xlim=(-0.5, pixels.shape[1] - 0.5), ylim=(pixels.shape[0] - 0.5, -0.5))
    return ax
