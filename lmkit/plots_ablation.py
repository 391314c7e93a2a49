"""Figures of notebook 05: effects with their intervals, curves, seeds, and what a gain costs."""

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
from lmkit.plots import SERIES, plain
from lmkit.verdicts import HELPS, HURTS, TITLES, TOGETHER, UNCHANGED, UNITS, p_text

COLOURS = {HELPS: SERIES[2], HURTS: SERIES[5], "no effect": SERIES[0]}  # others grey
SIDE_MARKS = {"left": "<", "right": ">", TOGETHER: "o"}
ROOM = 4.0  # of the axis of effects, in usual reaches
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # under words that cross a line
WORDS = {"no effect": "none that matters", "not enough runs": "not enough runs"}


def _tidy(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    return ax


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
    times = 1 if UNITS[figure] == "mm" else 100
    sides = list(dict.fromkeys(verdicts["side"]))
    names = list(order) or best_first(verdicts)
    ax.axvspan(-times * matters, times * matters, color="0.93", zorder=0)
    ax.axvline(0, color="0.5", lw=0.8, zorder=1)
    top = -0.12 * (len(sides) - 1)  # of a row, where the last side is
    for k, side in enumerate(sides):
        rows = verdicts[verdicts["side"] == side].set_index("change").reindex(names)
        first = 0.24 * (len(sides) - 1 - k) + top
        for y, row in enumerate(rows.to_dict("records")):
            if row["effect"] == row["effect"]:
                _effect(ax, y + first, row, times, side, main=side == sides[-1])
    last = verdicts[verdicts["side"] == sides[-1]].set_index("change").reindex(names)
    _cut(ax, times * last[["low", "effect", "high"]].to_numpy(float), times * matters, top)
    better = "right" if HIGHER_IS_BETTER[figure] else "left"
    ax.set(xlabel=f"{TITLES[figure]}, {UNITS[figure]}; better to the {better}")
    ax.set_yticks(range(len(names)), [plain(name) for name in names], fontsize=8)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    return _tidy(ax)


def _cut(ax: Axes, spans: np.ndarray, matters: float, top: float) -> None:
    """Narrow the x axis to ROOM times the usual reach of the (N, 3) low, effect and high of the
    rows; what lies beyond is stated at the edge, at row + top."""
    far = np.nanmax(np.abs(spans), axis=1, initial=0)
    reach = max(ROOM * float(np.nanmedian(far)), 2 * matters) if len(far) else 2 * matters
    low, high = ax.get_xlim()
    ax.set_xlim(max(low, -reach), min(high, reach))
    for y, effect in enumerate(spans[:, 1]):
        if abs(effect) > reach:
            right = effect > 0
            words = f"{effect:+.0f} ▸" if right else f"◂ {effect:+.0f}".replace("-", "−")
            x, align = (0.99, "right") if right else (0.01, "left")
            told = ax.text(x, y + top, words, fontsize=8, ha=align, va="center", bbox=PAPER)
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
        fmt=SIDE_MARKS.get(side, "o"),
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
        Line2D([], [], color=colour, marker="o", lw=1.8, label=WORDS.get(name, name))
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


def learning(ax: Axes, curves: Mapping[str, pd.Series], base: str, shown: int = 7) -> Axes:
    """Validation SDR at 2 mm by epoch or minutes: the base black, the best at the end in colour,
    others grey.

    Args:
        curves: what was changed -> shares, by what the index is called.
        base: its name.
        shown: how many strategies get a colour.
    """
    ranked = sorted((n for n in curves if n != base), key=lambda n: -curves[n].iloc[-1])
    for name in ranked[shown:]:
        ax.plot(curves[name].index, 100 * curves[name], color="0.8", lw=0.9)
    for colour, name in zip(SERIES, ranked[:shown], strict=False):
        ax.plot(curves[name].index, 100 * curves[name], color=colour, lw=1.5, label=plain(name))
    if base in curves:
        ax.plot(curves[base].index, 100 * curves[base], color="k", lw=2, ls="--", label=plain(base))
    by = {str(curve.index.name) for curve in curves.values()}
    along = "minutes of training" if by == {"minutes"} else "epoch"
    ax.set(xlabel=along, ylabel="SDR at 2 mm on validation, %")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _tidy(ax)


def seeds(ax: Axes, table: pd.DataFrame, base: str) -> Axes:
    """Every seed's SDR at 2 mm, strategies by their mean; the band is the base's own range.

    Args:
        table: of `evidence.seed_table`, percent.
    """
    table = table.sort_values("mean", ascending=False)
    columns = [c for c in table if c not in ("mean", "range")]
    own = table.loc[base, columns]
    ax.axvspan(own.min(), own.max(), color="0.9", zorder=0)
    for y, (name, row) in enumerate(table.iterrows()):
        colour = "k" if name == base else SERIES[0]
        ax.plot(row[columns].astype(float), [y] * len(columns), "o", color=colour, ms=4, alpha=0.7)
        ax.plot(row["mean"], y, "|", color=colour, ms=12, mew=2)
    ax.set_yticks(range(len(table)), [plain(str(name)) for name in table.index], fontsize=8)
    ax.set(xlabel="SDR at 2 mm on validation, %", ylim=(len(table) - 0.4, -0.6))
    return _tidy(ax)


def price(ax: Axes, table: pd.DataFrame) -> Axes:
    """Points of SDR gained against training time, times that of the base.

    Args:
        table: of `evidence.cost_table`, rows of one design.
    """
    ax.axhline(0, color="0.5", lw=0.8)
    ax.axvline(1, color="0.5", lw=0.8)
    ax.plot(table["times"], table["SDR gained, points"], "o", color=SERIES[0], ms=5)
    for key, row in table.iterrows():
        name = key[1] if isinstance(key, tuple) else key
        at = (row["times"], row["SDR gained, points"])
        ax.annotate(plain(name), at, (4, 3), textcoords="offset points", fontsize=7)
    ax.set(xlabel="training time, times the base's", ylabel="SDR at 2 mm gained, points")
    ax.margins(x=0.2)
    return _tidy(ax)


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
    return _tidy(ax)
