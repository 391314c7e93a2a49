"""Figures of notebook 06: how fast recipes are, what they buy, and how their cost grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from lmkit.plots import SERIES, look, plain, tidy


def speed(axes: Sequence[Axes], recipes: Mapping[str, Mapping[str, float]]) -> Sequence[Axes]:
    """Images per second, trained and predicted, one bar per recipe, the first one on top.

    Args:
        axes: two.
        recipes: name -> measurement, see `benchmark.measure`.
    """
    names = list(recipes)
    values = {
        "training, images per second": [m["train_images_per_s"] for m in recipes.values()],
        "prediction, images per second": [1000 / m["predict_ms"] for m in recipes.values()],
    }
    for ax, (title, numbers) in zip(axes, values.items(), strict=True):
        drawn = ax.barh(range(len(names)), numbers, color=SERIES[0], height=0.6)
        ax.bar_label(drawn, fmt="%.3g", padding=3, fontsize=8)
        ax.set(xscale="log", title=title, yticks=range(len(names)))
        ax.set_yticklabels([plain(name) for name in names])
        ax.xaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        ax.invert_yaxis()
        ax.margins(x=0.25)
        tidy(ax)
    axes[1].set_yticklabels([])
    return axes


def parts(ax: Axes, recipes: Mapping[str, Mapping[str, Any]]) -> Axes:
    """What a training step consists of, one stacked bar per recipe, in percent."""
    names = list(recipes)
    left = np.zeros(len(names))
    for i, part in enumerate(recipes[names[0]]["shares"]):
        share = 100 * np.array([recipes[name]["shares"][part] for name in names])
        style = {"color": look(i)["colour"], "hatch": "//" * (i // len(SERIES)), "label": part}
        drawn = ax.barh(range(len(names)), share, left=left, height=0.6, **style)
        labels = [f"{value:.0f}" if value >= 3 else "" for value in share]
        ax.bar_label(drawn, labels, label_type="center", fontsize=8)
        left += share
    ax.set(xlabel="share of a training step, %", yticks=range(len(names)), xlim=(0, 100))
    ax.set_yticklabels([plain(name) for name in names])
    ax.invert_yaxis()
    ax.legend(fontsize=8, frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.45, 1.0))
    return tidy(ax)


def goals(ax: Axes, runs: Mapping[str, pd.DataFrame], sdr_2mm: Sequence[float]) -> Axes:
    """Validation SDR at 2 mm against minutes of training, one curve per run.

    Args:
        runs: name -> history; its `seconds` are summed up.
        sdr_2mm: values to mark, in [0, 1].
    """
    for i, (name, history) in enumerate(runs.items()):
        minutes = history["seconds"].cumsum() / 60
        style = {"color": look(i)["colour"], "ls": look(i)["dashes"], "label": plain(name)}
        ax.plot(minutes, history["val_sdr_2mm"], lw=1.6, **style)
    for value in sdr_2mm:
        ax.axhline(value, color="0.85", lw=0.8, zorder=0)
    ax.set(xscale="log", xlabel="minutes of training", ylabel="SDR at 2 mm, validation")
    ax.set_ylim(0, 1.02)
    ax.xaxis.set_major_formatter(lambda value, _place: f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return tidy(ax)


def growth(axes: np.ndarray, measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> np.ndarray:
    """Training, prediction and memory against what grows, on double-logarithmic axes.

    Args:
        axes: (3, number of what grows): rows trained images per second, ms per predicted image and
            peak memory, MB: the GPU's where there is one, else the process's.
        measured: what grows -> measurements, each with its value under that name.
    """
    on_gpu = any(m.get("gpu_peak_mb") for found in measured.values() for m in found)
    rows = (
        ("trained images/s", "train_images_per_s"),
        ("prediction, ms/image", "predict_ms"),
        ("peak GPU memory, MB", "gpu_peak_mb") if on_gpu else ("peak memory, MB", "peak_mb"),
    )
    labels = {"images": "images", "landmarks": "landmarks", "size": "input, megapixels"}
    for column, (what, found) in zip(axes.T, measured.items(), strict=True):
        x = [m[what] / 1e6 if what == "size" else m[what] for m in found]
        for ax, (title, key) in zip(column, rows, strict=True):
            y = [m[key] for m in found]
            ax.plot(x, y, "o-", color=SERIES[0])
            for at in zip(x, y, strict=True):
                said = f"{at[1]:.1f}" if at[1] < 100 else f"{at[1]:,.0f}"
                ax.annotate(said, at, (0, 8), textcoords="offset points", fontsize=8, ha="center")
            ax.set(xscale="log", yscale="log", ylim=(min(y) / 2, max(y) * 3))
            ax.set_xticks(x, [f"{value:,.2g}" if value < 10 else f"{value:,.0f}" for value in x])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_minor_formatter(NullFormatter())
            ax.yaxis.set_major_formatter(lambda value, _place: f"{value:,g}")
            ax.margins(x=0.15)
            if what == "images":
                ax.set_ylabel(title)
            tidy(ax)
        column[-1].set_xlabel(labels[what])
    return axes
