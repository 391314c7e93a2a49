"""Figures of how far predictions can be trusted, and of what errors consist."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lmkit import uncertainty
from lmkit.metrics import FAILURE_MM
from lmkit.plots import SERIES, beside, look, plain, tidy
from lmkit.tables import NO_SIDE


def risk_coverage(ax: Axes, measures: Mapping[str, np.ndarray], failed: np.ndarray) -> Axes:
    """The failure rate of the predictions kept, when the least sure are set aside.

    Args:
        measures: name -> (N,) larger = less sure.
        failed: (N,) bool.
    """
    for i, (name, risk) in enumerate(measures.items()):
        curve = uncertainty.risk_coverage(np.asarray(risk), failed)
        score = uncertainty.auc(np.asarray(risk), failed)
        label = f"{plain(name)}" + ("" if np.isnan(score) else f", AUC {score:.2f}")
        lw = 2.2 if name == "risk" else 1.2
        style = {"color": look(i)["colour"], "ls": look(i)["dashes"], "lw": lw}
        ax.plot(100 * curve["coverage"], 100 * curve["failure_rate"], label=label, **style)
    everything = 100 * float(np.mean(failed))
    ax.axhline(everything, color="0.6", lw=0.8, ls="--")
    ax.annotate(" nothing set aside", (0, everything), fontsize=7, color="0.4", va="bottom")
    ax.axvline(90, color="0.85", lw=0.8, zorder=0)
    ax.set(xlabel="predictions kept, %", ylabel=f"of these off by over {FAILURE_MM:g} mm, %")
    ax.set(xlim=(0, 100), ylim=(0, None))
    ax.legend(fontsize=7, frameon=False)
    return tidy(ax)


def calibration(ax: Axes, tables: Mapping[str, pd.DataFrame]) -> Axes:
    """Predicted beside observed rates of failure; on the diagonal, the probability is honest.

    Args:
        tables: name -> rows of `uncertainty.calibration`.
    """
    top = max(float(t[["predicted", "observed"]].to_numpy().max()) for t in tables.values())
    top = 100 * min(1.0, 1.1 * top + 0.01)
    ax.plot([0, top], [0, top], color="0.6", lw=0.8, ls="--")
    for i, (name, table) in enumerate(tables.items()):
        error, own = uncertainty.expected_calibration_error(table), look(i)
        label = f"{plain(name)}, ECE {100 * error:.1f} points"
        style = {"color": own["colour"], "marker": own["dot"], "ls": own["dashes"]}
        ax.plot(100 * table["predicted"], 100 * table["observed"], ms=4, lw=1, label=label, **style)
    ax.set(xlim=(0, top), ylim=(0, top), xlabel="predicted to fail, %", ylabel="failed, %")
    ax.legend(fontsize=7, frameon=False)
    return tidy(ax)


def error_kinds(ax: Axes, counts: pd.DataFrame) -> Axes:
    """How many points each kind of error but `located` concerns, and its share of the summed error.

    Args:
        counts: of `error_parts.kind_counts`.
    """
    rows = counts.drop(index="located", errors="ignore")
    place = np.arange(len(rows))
    ax.barh(place - 0.19, 100 * rows["share"], 0.36, color=SERIES[0], label="of the points")
    ax.barh(
        place + 0.19, 100 * rows["share_of_error"], 0.36, color=SERIES[1],
        label="of the summed error",
    )  # fmt: skip
    labels = [
        f"{plain(str(kind))} ({n})" for kind, n in zip(rows.index, rows.landmarks, strict=True)
    ]
    ax.set_yticks(place, labels)
    ax.invert_yaxis()
    ax.set(xlabel="%", title=f"errors over {FAILURE_MM:g} mm, by what they lie on (points)")
    if len(rows):
        ax.legend(fontsize=7, frameon=False)
    else:
        ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center", color="0.4")
    return tidy(ax)


def along_across(ax: Axes, explained: pd.DataFrame, reach_mm: float = 4.0) -> Axes:
    """Located errors along and across the row of structures, one colour and mark per landmark.

    Args:
        explained: of `error_parts.explain_errors`.
    """
    part = explained[explained["kind"] == "located"]
    for i, (name, rows) in enumerate(part.groupby("landmark", sort=False)):
        own = look(i)
        style = {"color": own["colour"], "marker": own["dot"], "linewidths": 0}
        ax.scatter(rows["along_mm"], rows["across_mm"], s=8, alpha=0.5, **style)
        middle = rows[["along_mm", "across_mm"]].mean()
        style = {"color": own["colour"], "label": plain(str(name))}
        ax.plot(*middle, own["cross"], ms=11, mew=2, **style)
    reach = part[["along_mm", "across_mm"]].abs().to_numpy()
    reach_mm = min(reach_mm, 1.1 * float(np.nanmax(reach))) if reach.size else reach_mm
    ax.axhline(0, color="0.85", lw=0.8, zorder=0)
    ax.axvline(0, color="0.85", lw=0.8, zorder=0)
    ax.set(xlim=(-reach_mm, reach_mm), ylim=(reach_mm, -reach_mm), aspect="equal")
    pairs = explained.attrs.get("row", {})
    along = "along the row" if NO_SIDE not in pairs else "along {} → {}".format(*pairs[NO_SIDE])
    ax.set(xlabel=f"{plain(along)}, mm", ylabel="across, mm (down is positive)")
    if len(part):
        beside(ax, part["landmark"].nunique())
    else:
        said = "no error is that small"
        ax.text(0.5, 0.6, said, transform=ax.transAxes, ha="center", color="0.4")
    return tidy(ax)
