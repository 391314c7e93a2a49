"""Figures of notebook 05: effects with their intervals, and what pairs give beyond their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lmkit.grid import EFFECTS, HIGHER_IS_BETTER
from lmkit.plots import SERIES, plain, tidy
from lmkit.verdicts import HELPS, HURTS, TITLES, TOGETHER, UNCHANGED, UNITS, number, p_text, scale

COLOURS = {HELPS: SERIES[2], HURTS: SERIES[5], "no effect": SERIES[0]}  # others grey
SIDE_MARKS = {"left": "<", "right": ">", TOGETHER: "o"}
ROOM = 4.0  # of the axis of effects, in usual reaches
AIR = {"facecolor": "white", "edgecolor": "none", "pad": 2.0}  # about words that a line meets
WORDS = {"no effect": "no effect larger than x"}  # as `verdicts.RULE` says it
MAIN_MARK = "o"  # of the last side, whichever it is; it is drawn large


def forest(ax: Axes, verdicts: pd.DataFrame, matters: float, order: Sequence[str] = ()) -> Axes:
    """Effects with their 95 % intervals, a row per change, sides beside each other.

    Args:
        verdicts: rows of one design and one figure, see `findings.verdict_table`; the last side is
            drawn large, coloured by its verdict, and its Holm p stands at the right.
        matters: smallest difference worth knowing of, as in the grid; drawn as a band.
        order: changes from top to bottom; best first when not given.

    An effect many times the usual one is not drawn to scale, so that the usual ones can be read: an
    arrow with its size stands at the edge.
    """
    figure = verdicts["figure"].iloc[0]
    times, digits = scale(figure)
    sides = list(dict.fromkeys(verdicts["side"]))
    names = list(order) or best_first(verdicts)
    ax.axvspan(-times * matters, times * matters, color="0.93", zorder=0)
    ax.axvline(0, color="0.5", lw=0.8, zorder=1)
    top = -0.12 * (len(sides) - 1)  # of a row, where the last side is
    spans = {}
    for k, side in enumerate(sides):
        rows = verdicts[verdicts["side"] == side].set_index("change").reindex(names)
        first = 0.24 * (len(sides) - 1 - k) + top
        spans[first] = times * rows[["low", "effect", "high"]].to_numpy(float)
        for y, row in enumerate(rows.to_dict("records")):
            if row["effect"] == row["effect"]:
                _effect(ax, y + first, row, times, side, main=side == sides[-1])
    _cut(ax, spans, times * matters, digits)
    better = "right" if HIGHER_IS_BETTER[figure] else "left"
    ax.set(xlabel=f"{TITLES[figure]}, {UNITS[figure]}; better to the {better}")
    ax.set_yticks(range(len(names)), [plain(name) for name in names], fontsize=8)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    return tidy(ax)


def _cut(ax: Axes, spans: Mapping[float, np.ndarray], matters: float, digits: int) -> None:
    """Narrow the x axis to ROOM times the usual reach; what lies beyond stands at the edge, the
    last side's with its size and the others' as a mark.

    Args:
        spans: where in a row a side is drawn -> (N, 3) low, effect and high of the rows; the last
            side last, whose reach counts.
        digits: that a size is told to.
    """
    *_, (top, main) = spans.items()
    far = np.nanmax(np.abs(main), axis=1, initial=0)
    reach = max(ROOM * float(np.nanmedian(far)), 2 * matters) if len(far) else 2 * matters
    low, high = ax.get_xlim()
    low, high = ax.set_xlim(max(low, -reach), min(high, reach))
    for offset, rows in spans.items():
        for y, effect in enumerate(rows[:, 1]):
            if not low <= effect <= high and effect == effect:
                size = _size(effect, digits) if offset == top else ""
                beyond(ax, y + offset, size, right=effect > 0)


def _size(effect: float, digits: int) -> str:
    """An effect in few characters; of points, tens are enough."""
    few = 0 if digits == 1 and abs(effect) >= 10 else digits
    return number(effect, few, signed=True).replace("-", "−")


def beyond(ax: Axes, y: float, size: str, right: bool) -> None:
    """An arrow at the edge of the axes for what lies beyond it; with its size, where that is told.

    Args:
        y: data coordinate.
    """
    words = f"{size} ▸" if right else f"◂ {size}"
    x, align = (0.985, "right") if right else (0.015, "left")
    style: dict[str, Any] = {"fontsize": 6, "color": "0.5", "zorder": 5}
    if size:
        style = {"fontsize": 8, "bbox": AIR, "zorder": 4}
    told = ax.text(x, y, words.strip(), ha=align, va="center", **style)
    told.set_transform(ax.get_yaxis_transform())


def _effect(
    ax: Axes, y: float, row: Mapping[str, Any], times: float, side: str, main: bool
) -> None:
    """One effect with its interval; the main one large, in its verdict's colour, with its p."""
    low, high = row["effect"] - row["low"], row["high"] - row["effect"]
    ax.errorbar(
        times * row["effect"],
        y,
        xerr=None if low != low else [[times * low], [times * high]],
        fmt=MAIN_MARK if main else SIDE_MARKS.get(side, "o"),
        color=COLOURS.get(row["verdict"], "0.35") if main else "0.7",
        ms=6 if main else 3.5,
        lw=1.8 if main else 0.9,
    )
    if main and (row["verdict"] == UNCHANGED or row["p_holm"] == row["p_holm"]):
        said = "the same" if row["verdict"] == UNCHANGED else f"p {p_text(row['p_holm'])}"
        ax.text(1.01, y, said, transform=ax.get_yaxis_transform(), fontsize=7, va="center")


def best_first(verdicts: pd.DataFrame) -> list[str]:
    """Changes by their effect on the last side, best first."""
    rows = verdicts[verdicts["side"] == verdicts["side"].iloc[-1]]
    rising = not HIGHER_IS_BETTER[rows["figure"].iloc[0]]
    return list(rows.sort_values("effect", ascending=rising)["change"])


def forests(verdicts: pd.DataFrame, matters: Mapping[str, float], title: str = "") -> Figure:
    """The three figures beside each other for one design, in the order of SDR.

    Args:
        verdicts: rows of one design.
        matters: figure -> smallest difference worth knowing of.
    """
    order = best_first(verdicts[verdicts["figure"] == EFFECTS[0]])
    sheet, axes = plt.subplots(
        1, 3, figsize=(13, 1.5 + 0.36 * len(order)), layout="constrained", sharey=True
    )
    for ax, name in zip(axes, EFFECTS, strict=True):
        forest(ax, verdicts[verdicts["figure"] == name], matters[name], order)
    _legend(sheet, list(dict.fromkeys(verdicts["side"])), title)
    return sheet


def _legend(sheet: Figure, sides: Sequence[str], title: str) -> None:
    """What colours and marks mean, above the axes, under a title."""
    marks = [
        Line2D([], [], color=colour, marker=MAIN_MARK, lw=1.8, label=WORDS.get(name, name))
        for name, colour in {**COLOURS, "not enough runs": "0.35"}.items()
    ]
    for side in sides[:-1]:
        mark = SIDE_MARKS.get(side, "o")
        marks.append(Line2D([], [], color="0.7", marker=mark, lw=0.9, ms=3.5, label=side))
    sheet.legend(
        handles=marks,
        title=plain(title),
        fontsize=8,
        frameon=False,
        ncols=6,
        loc="outside upper center",
    )


def interactions(ax: Axes, table: pd.DataFrame) -> Axes:
    """What pairs give beyond the sum of their parts, in points of SDR at 2 mm.

    Args:
        table: of `findings.pair_table`, rows of one side and of SDR at 2 mm.
    """
    ax.axvline(0, color="0.5", lw=0.8)
    for y, row in enumerate(table.to_dict("records")):
        span = [[100 * (row["effect"] - row["low"])], [100 * (row["high"] - row["effect"])]]
        ax.errorbar(100 * row["effect"], y, None, span, fmt="o", color=SERIES[0], ms=6, lw=1.8)
    ax.set_yticks(range(len(table)), [plain(name) for name in table["pair"]], fontsize=8)
    ax.set(xlabel="beyond the sum of the two, points of SDR at 2 mm", ylim=(len(table) - 0.4, -0.6))
    return tidy(ax)
