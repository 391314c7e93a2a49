"""What a reader's desk looks like: pictures to use the mouse on, and figures that say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmkit import plots, plots_correct
from lmkit.audit_repair import told
from lmkit.correct_desk import CorrectionDesk
from lmkit.data import Dataset
from lmkit.reading_desk import ReadingDesk
from lmkit.windows import Window

WIDTH_PX = 760
OVERVIEW_PX = 420
Held = tuple[float, float] | None  # where the chosen landmark is being dragged, px


def correction_picture(desk: CorrectionDesk, held: Held = None) -> Figure:
    """The part of the image that is looked at, with labels, earlier places and model.

    Args:
        held: where the chosen landmark is being dragged, px; None = it is not.
    """
    figure, ax = plots_correct.bare(desk.window, WIDTH_PX)
    _draw(ax, desk, held, chosen=desk.dataset.names.index(desk.landmark))
    ax.set_aspect("auto")  # to the picture's very edges, for `Window.at`
    return figure


def overview_picture(desk: CorrectionDesk) -> Figure:
    """The whole image with the labels of all sides."""
    pixels = desk.pixels()
    figure, ax = plots_correct.bare(Window(0, 0, pixels.shape[1], pixels.shape[0]), OVERVIEW_PX)
    side = desk.case[1]
    others = [desk.points(other) for other in desk.dataset.sides if other != side]
    plots_correct.overview(ax, pixels, [desk.points(), *others], desk.window)
    return figure


def reading_picture(desk: ReadingDesk, held: Held = None) -> Figure:
    """What a second reader sees: the image and the reader's own marks, no label."""
    figure, ax = plots_correct.bare(desk.window, WIDTH_PX)
    chosen = desk.dataset.names.index(desk.landmark)
    marks = _with_held(desk.marks, chosen, held)
    plots_correct.labels(ax, desk.pixels(), desk.window, marks, chosen=chosen)
    ax.set_aspect("auto")
    return figure


def _draw(ax: Axes, desk: CorrectionDesk, held: Held = None, **more: Any) -> None:
    now = _with_held(desk.points(), desk.dataset.names.index(desk.landmark), held)
    before, model = desk.own_points(), desk.model_points()
    plots_correct.labels(ax, desk.pixels(), desk.window, now, before=before, model=model, **more)


def _with_held(points: np.ndarray, chosen: int, held: Held) -> np.ndarray:
    shown = points.copy()
    shown[chosen] = points[chosen] if held is None else held
    return shown


def static_corrections(
    dataset: Dataset,
    flagged: pd.DataFrame,
    predictions: pd.DataFrame | None = None,
    n: int = 6,
) -> Figure:
    """The first n flagged label sets as a correction desk shows them, with cause and repair.

    Raises: InputError when nothing is flagged.
    """
    desk = CorrectionDesk(dataset, flagged, predictions)
    count = min(n, len(desk.sets))
    axes = plots.grid(count, min(3, count), height=3.6)
    for step, ax in enumerate(axes):
        desk.go(step - desk.place)
        _draw(ax, desk, size=45)
        cause, repair = desk.suspicion
        said = ", ".join(desk.case) + f"\n{cause}" + (f": {told(repair)}" if repair else "")
        ax.set_title(plots.plain(said), fontsize=8)
    figure = plots.figure_of(axes)
    figure.suptitle("ring label, cross model, blue ring before a correction", fontsize=9)
    figure.set_layout_engine("constrained")
    return figure


def static_reading(desk: ReadingDesk) -> Figure:
    """What a second reader sees of the first label set, as a figure with a title."""
    window = desk.window
    axes = plots.grid(1, 1, height=5 * window.height / window.width)
    plots_correct.labels(axes[0], desk.pixels(), window, desk.marks)
    axes[0].set_title(plots.plain(desk.state()), fontsize=9)
    return plots.figure_of(axes)
