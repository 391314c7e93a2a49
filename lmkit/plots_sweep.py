"""Figures of notebook 05 on the runs of a sweep: learning curves, seeds, and what a gain costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lmkit.plots import SERIES, beside, plain, tidy
from lmkit.plots_effects import ROOM, beyond
from lmkit.verdicts import number

ALIKE = 0.05  # of training time: runs that differ less cost the same
NO_COST = "all trained for about as long: no price to compare"


def learnings(panels: Mapping[str, Mapping[str, pd.Series]], base: str, shown: int = 7) -> Figure:
    """Learning curves of one design, a panel per side; a strategy has one colour in all of them.

    Args:
        panels: side -> curves, see `learning`.
    """
    sheet, axes = plt.subplots(
        1, len(panels), figsize=(12, 4), layout="constrained", sharey=True, squeeze=False
    )
    colours = best_coloured(list(panels.values()), base, shown)
    for ax, (side, curves) in zip(axes[0], panels.items(), strict=True):
        learning(ax, curves, base, colours).set_title(plain(side))
    return sheet


def best_coloured(
    panels: Sequence[Mapping[str, pd.Series]], base: str, shown: int = 7
) -> dict[str, str]:
    """Strategy -> colour, of those that are best at the end, mean over panels; not the base."""
    ends: dict[str, list[float]] = {}
    for curves in panels:
        for name, curve in curves.items():
            if name != base and len(curve):
                ends.setdefault(name, []).append(float(curve.iloc[-1]))
    ranked = sorted(ends, key=lambda name: -float(np.mean(ends[name])))
    return dict(zip(ranked[:shown], SERIES, strict=False))


def learning(
    ax: Axes,
    curves: Mapping[str, pd.Series],
    base: str,
    colours: Mapping[str, str] | None = None,
) -> Axes:
    """Validation SDR at 2 mm by epoch or minutes: the base black, some in colour, others grey.

    Args:
        curves: what was changed -> shares, by what the index is called; empty ones are left out.
        base: its name.
        colours: of strategies, the same in all panels of a figure; by default the best at the end
            of these curves get one.
    """
    curves = {name: curve for name, curve in curves.items() if len(curve)}
    colours = best_coloured([curves], base) if colours is None else colours
    grey = [name for name in curves if name != base and name not in colours]
    for i, name in enumerate(grey):
        label = f"others ({len(grey)})" if i == len(grey) - 1 else None
        _curve(ax, curves[name], color="0.8", lw=0.9, label=label)
    for name in (name for name in colours if name in curves):
        _curve(ax, curves[name], color=colours[name], lw=1.5, label=plain(name))
    if base in curves:
        _curve(ax, curves[base], color="k", lw=2, ls="--", label=plain(base))
    by = {str(curve.index.name) for curve in curves.values()}
    along = "minutes of training" if by == {"minutes"} else "epoch"
    ax.set(xlabel=along, ylabel="SDR at 2 mm on validation, %")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = ax.get_legend_handles_labels()[0]
    handles = [*handles[len(grey[:1]) :], *handles[: len(grey[:1])]]  # the others last
    beside(ax, len(handles), handles=handles)
    return tidy(ax)


def _curve(ax: Axes, curve: pd.Series, **style: Any) -> None:
    """One curve in percent; by minutes in steps, and a single point as a mark."""
    steps = "steps-post" if curve.index.name == "minutes" else "default"
    mark = "o" if len(curve) == 1 else None
    ax.plot(curve.index, 100 * curve, drawstyle=steps, marker=mark, ms=4, **style)


def seeds(ax: Axes, table: pd.DataFrame, base: str) -> Axes:
    """Every seed's SDR at 2 mm, strategies by their mean; the band is the base's own range.

    One whose mean is many times further from the base than the usual is not drawn to scale, so that
    the usual ones can be read: an arrow with its mean stands at the edge.

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
    far = (table["mean"] - table.loc[base, "mean"]).abs()
    reach = max(ROOM * float(far.median()), 2 * float(table["range"].median()), 1.0)
    low, high = table.loc[base, "mean"] - reach, table.loc[base, "mean"] + reach
    values = table[columns].to_numpy(float)
    inside = values[(values >= low) & (values <= high)]
    room = 0.07 * max(np.ptp(inside), 1.0)
    ax.set_xlim(inside.min() - room, inside.max() + room)
    for y, mean in enumerate(table["mean"]):
        if not low <= mean <= high:
            beyond(ax, y, f"{mean:.0f} %", right=mean > high)
    ax.set_yticks(range(len(table)), [plain(str(name)) for name in table.index], fontsize=8)
    ax.set(xlabel="SDR at 2 mm on validation, %", ylim=(len(table) - 0.4, -0.6))
    return tidy(ax)


def costs_differ(table: pd.DataFrame) -> bool:
    """Whether some run of a design trained longer than its base, or less long, by ALIKE or more.

    Where minutes were given, these are compared: how much of them a run uses up is no price.

    Args:
        table: of `evidence.cost_table`, rows of one design.
    """
    times = table["times"].where(table["given"].isna(), table["given"]).dropna()
    return bool((times.clip(lower=1).max() / times.clip(upper=1).min()) >= 1 + ALIKE)


def price(ax: Axes, table: pd.DataFrame) -> Axes | None:
    """Points of SDR gained against training time, times that of the base; names at the right, and
    what lies many times further from zero than the usual at the edge, its gain beside its name.

    Args:
        table: of `evidence.cost_table`, rows of one design.
    Returns: None where all cost the same; a sentence then stands in place of the axes.
    """
    if not costs_differ(table):
        ax.set_axis_off()
        ax.text(0.5, 0.5, NO_COST, ha="center", va="center", transform=ax.transAxes)
        return None
    table = table.dropna(subset=["times"]).sort_values("SDR gained, points")
    gains = table["SDR gained, points"].to_numpy(float)
    reach = max(ROOM * float(np.median(np.abs(gains))), 1.0)
    drawn = np.clip(gains, -reach, reach)
    ax.axhline(0, color="0.5", lw=0.8)
    ax.axvline(1, color="0.5", lw=0.8)
    for x, y, gain in zip(table["times"], drawn, gains, strict=True):
        mark = "o" if gain == y else ("^" if gain > 0 else "v")
        ax.plot(x, y, mark, color=SERIES[0], ms=5)
    ax.set(xlabel="training time, times the base's", ylabel="SDR at 2 mm gained, points")
    ax.margins(x=0.1, y=0.1)
    names = [str(key[1] if isinstance(key, tuple) else key) for key in table.index]
    told = [
        name if gain == y else f"{name} ({number(gain, 1, signed=True)})".replace("-", "−")
        for name, gain, y in zip(names, gains, drawn, strict=True)
    ]
    _names_beside(ax, told, table["times"].to_numpy(float), drawn)
    return tidy(ax)


def _names_beside(ax: Axes, names: Sequence[str], x: np.ndarray, y: np.ndarray) -> None:
    """A name for each point right of the axes, a line to it; none lies on another.

    Args:
        x, y: (N,) of the points, y rising.
    """
    figure, line_in = cast(Figure, ax.get_figure()), 9 / 72  # a line of 7 points, with air
    if len(names) * line_in > 0.7 * figure.get_figheight():
        figure.set_figheight(len(names) * line_in / 0.7)
    step = line_in / (0.75 * figure.get_figheight())  # of the axes' height, which labels shorten
    low, high = ax.get_ylim()
    at = (y - low) / (high - low)
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + step)
    over = max(at[-1] - 1, 0.0)
    for i in reversed(range(len(at))):
        at[i] = min(at[i], 1 - step * (len(at) - 1 - i)) if over else at[i]
    for name, place, point in zip(names, at, zip(x, y, strict=True), strict=True):
        ax.annotate(
            plain(name),
            point,
            (1.04, place),
            textcoords="axes fraction",
            fontsize=7,
            va="center",
            arrowprops={"arrowstyle": "-", "color": "0.75", "lw": 0.6, "shrinkB": 3},
        )
