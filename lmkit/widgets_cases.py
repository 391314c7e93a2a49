"""Explorers of single cases of a finished run; each has a static figure that says the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape

import ipywidgets as w
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmkit import plots, plots_cases
from lmkit.case_desk import NO_MAPS, STEP_MM, Desk, Pictures
from lmkit.cases import ORDERS, CaseMaps, beside, case_table, not_said
from lmkit.data import Dataset
from lmkit.fields import InputError
from lmkit.runs import Run
from lmkit.widgets import WIDE, explorer

FIRST = "first the"  # before the label of an order
PAIR = ("disagreement", "worse", "better")  # orders that need two runs


def case_explorer(
    run: Run, dataset: Dataset, predictions: pd.DataFrame, other: Run | None = None
) -> w.VBox:
    """Scroll the cases of a run in a chosen order: image, maps, points, and where on the curve.

    Args:
        run: finished; its weights are needed for the heatmaps only.
        dataset: that it was trained on.
        predictions: rows of its predictions.csv, of one split.
        other: a run on the same images, to sort by where the two are apart.
    Raises: InputError for no rows, or when the other run has none of these images.
    """
    rows = predictions if other is None else beside(predictions, other.predictions, dataset)
    desk = Desk(rows, case_table(rows), Pictures(dataset), _maps_of(run, dataset))
    top = desk.top_mm
    levels = () if desk.maps is None else desk.maps.levels()
    controls = {
        "by": w.Dropdown(options=_labels(desk.cases), description=FIRST, style=WIDE),
        "place": w.IntSlider(0, min=0, max=len(desk.cases) - 1, description="case", style=WIDE),
        "span_mm": w.FloatRangeSlider(
            value=(0, top), min=0, max=top, step=STEP_MM, description="off by, mm", style=WIDE
        ),
        "shown": w.ToggleButtons(options=(NO_MAPS, *levels), description="maps", style=WIDE),
    }

    def refit(_change: dict[str, object]) -> None:
        span_mm = desk.narrowed(controls["span_mm"].value)
        count = len(desk.chosen(controls["by"].value, span_mm))
        controls["place"].max = max(0, count - 1)
        controls["place"].value = 0

    for name in ("by", "span_mm"):
        controls[name].observe(refit, names="value")
    box = explorer(partial(case_view, desk), controls)
    notes = [not_said(desk.cases), "" if levels else _no_weights(run)]
    said = "<br>".join(escape(note) for note in notes if note)
    box.children = (*box.children, w.HTML(said)) if said else box.children
    return box


def case_view(
    desk: Desk, *, by: str, place: int, span_mm: tuple[float, float], shown: str
) -> Figure:
    """One case: the image near its landmarks, its place on the curve, its figures.

    Args:
        by: a key of `ORDERS`. place: in that order.
        span_mm: only cases with a landmark off by so much, unless it is all there is.
        shown: a level of the maps, or none.
    """
    narrowed = desk.narrowed(span_mm)
    cases = desk.chosen(by, narrowed)
    figure = Figure(figsize=(11, 4.4), dpi=80)
    if not cases:
        said = f"no case has a landmark that is off by {span_mm[0]:.1f} to {span_mm[1]:.1f} mm"
        figure.text(0.5, 0.5, said, ha="center")
        return figure
    place = min(place, len(cases) - 1)
    rows, part, offset = desk.near(cases, place)
    left = figure.add_axes((0.005, 0.01, 0.395, 0.92))
    maps = desk.maps_near(cases[place], part, offset, shown)
    plots_cases.case(left, part, offset, rows, maps)
    said = f"{place + 1} of {len(cases)}: {plots_cases.title_of(rows)}"
    figure.text(0.005, 0.955, said, fontsize=9)
    curve = figure.add_axes((0.47, 0.5, 0.51, 0.46))
    every = desk.rows["error_mm"].to_numpy(float)
    plots_cases.case_on_curve(curve, every, rows["error_mm"].to_numpy(float), narrowed)
    plots_cases.case_list(figure.add_axes((0.43, 0.06, 0.56, 0.3)), rows)
    figure.text(0.43, 0.02, plots_cases.marks_of(rows), fontsize=8)
    return figure


def static_cases(
    run: Run,
    dataset: Dataset,
    predictions: pd.DataFrame,
    by: str = "error",
    n: int = 8,
    *,
    other: Run | None = None,
    heatmaps: bool = False,
) -> Figure:
    """The first n cases of an order, as `case_explorer` shows them.

    Args:
        run, dataset, predictions, other: as for `case_explorer`.
        by: a key of `ORDERS`.
        heatmaps: draw what the points are read from over each; needs the run's weights.
    Raises: InputError for an order that these predictions do not allow.
    """
    rows = predictions if other is None else beside(predictions, other.predictions, dataset)
    maps = CaseMaps(run, dataset) if heatmaps else None
    desk = Desk(rows, case_table(rows), Pictures(dataset), maps)
    cases = desk.chosen(by)[:n]
    shown = NO_MAPS if maps is None else maps.levels()[-1]
    axes = plots.grid(len(cases), min(4, len(cases)), height=3.4)
    for place, (ax, case) in enumerate(zip(axes, cases, strict=True)):
        part_rows, part, offset = desk.near(cases, place)
        maps_here = desk.maps_near(case, part, offset, shown)
        plots_cases.case(ax, part, offset, part_rows, maps_here, size=35)
        ax.set_title(plots_cases.title_of(part_rows).replace(", mean", "\nmean"), fontsize=8)
    figure = plots.figure_of(axes)
    figure.suptitle(f"{FIRST} {ORDERS[by].label}: {plots_cases.marks_of(rows)}", fontsize=9)
    figure.set_layout_engine("constrained")
    return figure


def compare_explorer(run_a: Run, run_b: Run, dataset: Dataset, split: str = "test") -> w.VBox:
    """Two runs on one image, side by side, sorted by where they differ.

    Args:
        run_a, run_b: finished, both with predictions of this split.
        dataset: that both were trained on.
    Raises: InputError when they have no image in common.
    """
    desks = _two_desks(run_a, run_b, dataset, split)
    controls = {
        "by": w.Dropdown(options=_labels(desks[0].cases, PAIR), description=FIRST, style=WIDE),
        "place": w.IntSlider(0, min=0, max=len(desks[0].cases) - 1, description="case", style=WIDE),
    }

    def to_first(_change: dict[str, object]) -> None:
        controls["place"].value = 0

    controls["by"].observe(to_first, names="value")
    return explorer(partial(compare_view, desks, names_of(run_a, run_b)), controls)


def compare_view(
    desks: tuple[Desk, Desk], names: tuple[str, str], *, by: str, place: int
) -> Figure:
    """One case of two runs, side by side in one frame, with the errors of both."""
    figure = Figure(figsize=(11, 4.1), dpi=80)
    cases = desks[0].chosen(by)
    rows, part, offset = desks[0].near(cases, place)
    for left, name, desk in zip((0.005, 0.34), names, desks, strict=True):
        ax = figure.add_axes((left, 0.01, 0.325, 0.84))
        _one_run(ax, desk, name, cases[place], part, offset)
    said = f"{place + 1} of {len(cases)}: {plots.plain(', '.join(cases[place]))}"
    figure.text(0.005, 0.945, said, fontsize=9)
    columns = ("error_mm", "other_error_mm")
    plots_cases.case_list(figure.add_axes((0.675, 0.0, 0.32, 0.85)), rows, columns)
    return figure


def static_compare(
    run_a: Run, run_b: Run, dataset: Dataset, split: str = "test", *,
    by: str = "disagreement", n: int = 3,
) -> Figure:  # fmt: skip
    """The first n cases of an order between two runs: a above, b below.

    Args:
        run_a, run_b, dataset, split: as for `compare_explorer`.
        by: disagreement, worse or better.
    """
    desks = _two_desks(run_a, run_b, dataset, split)
    cases = desks[0].chosen(by)[:n]
    axes = plots.grid(2 * len(cases), len(cases), height=3.2)
    for place, case in enumerate(cases):
        _, part, offset = desks[0].near(cases, place)
        column = axes[place :: len(cases)]
        for ax, name, desk in zip(column, names_of(run_a, run_b), desks, strict=True):
            _one_run(ax, desk, name, case, part, offset)
        column[0].set_title(f"{plots.plain(case[0])}\n{column[0].get_title()}", fontsize=8)
    return plots.figure_of(axes)


def names_of(run_a: Run, run_b: Run) -> tuple[str, str]:
    """What two runs are called beside each other: as much of their folders as tells them apart."""
    parts = [run.folder.resolve().parts[::-1] for run in (run_a, run_b)]
    differ = (i for i, (a, b) in enumerate(zip(*parts, strict=False), 1) if a != b)
    depth = next(differ, 1)
    a, b = ("/".join(part[:depth][::-1]) for part in parts)
    return a, b


def _two_desks(run_a: Run, run_b: Run, dataset: Dataset, split: str) -> tuple[Desk, Desk]:
    tables = []
    for run in (run_a, run_b):
        rows = run.predictions
        tables.append(rows[rows["split"] == split])
        if tables[-1].empty:
            raise InputError(f"{run.folder}: expected predictions of split {split}, got none")
    pictures = Pictures(dataset)
    a, b = (beside(x, y, dataset) for x, y in (tables, tables[::-1]))
    return Desk(a, case_table(a), pictures), Desk(b, case_table(b), pictures)


def _one_run(
    ax: Axes, desk: Desk, name: str, case: tuple[str, str], part: np.ndarray, offset: np.ndarray
) -> None:
    """What one of two runs says of a case."""
    rows = desk.of(case).drop(columns=["other_x", "other_y"])
    plots_cases.case(ax, part, offset, rows, size=45)
    ax.set_title(plots.plain(f"{name}: {rows['error_mm'].mean():.2f} mm"), fontsize=9)


def _labels(cases: pd.DataFrame, names: Sequence[str] = tuple(ORDERS)) -> list[tuple[str, str]]:
    """(label, key) of the orders that there are, for a menu."""
    return [(ORDERS[name].label, name) for name in names if name in cases]


def _maps_of(run: Run, dataset: Dataset) -> CaseMaps | None:
    """The run's maps, where its weights are still there."""
    return CaseMaps(run, dataset) if (run.folder / "model.safetensors").exists() else None


def _no_weights(run: Run) -> str:
    return f"No heatmaps: {run.folder.name} has no model.safetensors."
