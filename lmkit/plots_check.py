"""Figures of the dataset check."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmkit.check import Check
from lmkit.fields import InputError
from lmkit.images import to_uint8
from lmkit.plots import figure_of, grid, image, plain


def offenders(check: Check, n: int = 12, columns: int = 4) -> Figure | None:
    """The images that the check lists, with their labels and what is wrong; None for none.

    Args:
        n: pictures at most; of each problem in turn, those that stop first.
    """
    rows = check.problems[check.problems["image"] != ""].drop_duplicates("image")
    if rows.empty:
        return None
    turn = rows.groupby("problem", sort=False).cumcount()
    rows = rows.assign(turn=turn).sort_values(["turn", "stops"], ascending=[True, False])[:n]
    shown = min(columns, len(rows))
    axes = grid(len(rows), shown, width=3.4, height=2.7)
    for ax, row in zip(axes, rows.itertuples(), strict=True):
        points = check.landmarks.loc[check.landmarks["image"] == row.image, ["x", "y"]]
        _one(ax, check, str(row.image), points)
        ax.set_title(
            plain(f"{row.problem}\n{row.image}: {_short(str(row.got))}"), fontsize=7, pad=3
        )
    return figure_of(axes)


def _one(ax: Axes, check: Check, name: str, points: pd.DataFrame) -> None:
    """One image with all its labels, those outside it too; a note where it cannot be read."""
    xy = points.to_numpy(float)
    try:
        pixels = to_uint8(check.read(name))
    except (InputError, KeyError):  # listed for that very reason
        ax.set(xticks=[], yticks=[])
        ax.text(0.5, 0.5, "cannot be read", ha="center", va="center", transform=ax.transAxes)
        return
    height, width = pixels.shape
    image(ax, pixels, xy, size=25)
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])
    reach = np.concatenate([xy, corners])
    low, high = reach.min(0), reach.max(0)
    rim = 0.04 * max(width, height) * bool((low < corners[0]).any() or (high > corners[1]).any())
    ax.set(xlim=(low[0] - rim, high[0] + rim), ylim=(high[1] + rim, low[1] - rim))


def _short(text: str, most: int = 44) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
