"""Figures of trust and of kinds of errors draw what the tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lmkit import plots_trust, uncertainty


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_the_risk_curve_ends_at_the_rate_of_all(ax):
    risk, failed = np.array([0.1, 0.2, 0.3, 0.9]), np.array([False, False, False, True])
    plots_trust.risk_coverage(ax, {"risk": risk}, failed)
    curve = ax.lines[0].get_xydata()
    assert curve[-1].tolist() == [100, 25]
    assert curve[2].tolist() == [75, 0]
    assert "AUC 1.00" in ax.get_legend().get_texts()[0].get_text()


def test_without_a_failure_there_is_no_auc_to_show(ax):
    plots_trust.risk_coverage(ax, {"peak": np.array([0.1, 0.2])}, np.zeros(2, bool))
    assert ax.get_legend().get_texts()[0].get_text() == "peak"


def test_calibration_is_drawn_in_percent_with_its_error(ax):
    table = uncertainty.calibration(np.array([0.1, 0.5]), np.array([False, True]), bins=2)
    plots_trust.calibration(ax, {"risk": table})
    assert ax.lines[1].get_xydata().ravel().tolist() == pytest.approx([10, 0, 50, 100])
    assert "ECE 30.0 points" in ax.get_legend().get_texts()[0].get_text()


def test_kinds_are_bars_and_located_points_are_not_among_them(ax):
    counts = pd.DataFrame(
        {"landmarks": [90, 10], "share": [0.9, 0.1], "share_of_error": [0.4, 0.6]},
        index=["located", "neighbour"],
    )
    plots_trust.error_kinds(ax, counts)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([10, 60])
    assert ax.get_yticklabels()[0].get_text() == "neighbour (10)"


def test_no_failure_is_said(ax):
    counts = pd.DataFrame(
        {"landmarks": [9], "share": [1.0], "share_of_error": [1.0]}, index=["located"]
    )
    plots_trust.error_kinds(ax, counts)
    assert ax.texts[0].get_text() == "none"


def test_along_and_across_marks_each_landmarks_mean(ax):
    rows = pd.DataFrame(
        {
            "landmark": ["a", "a", "b"],
            "kind": ["located", "located", "elsewhere"],
            "along_mm": [1.0, 2.0, 30.0],
            "across_mm": [-1.0, 0.0, 0.0],
        }
    )
    plots_trust.along_across(ax, rows)
    assert ax.lines[0].get_xydata().ravel().tolist() == [1.5, -0.5]
    assert ax.get_xlim()[1] == pytest.approx(2.2), "as far as the located errors reach"


def test_a_model_that_finds_nothing_gets_a_figure_that_says_so_and_no_warning(ax):
    rows = pd.DataFrame(
        {"landmark": ["tip"], "kind": ["elsewhere"], "along_mm": [40.0], "across_mm": [9.0]}
    )
    plots_trust.along_across(ax, rows)
    assert ax.get_legend() is None
    assert ax.texts[0].get_text() == "no error is that small"
    assert ax.get_xlim() == (-4, 4)


def located(names):
    """Two located points of each landmark, (0, 0) and (1, 1) mm."""
    rows = [(name, "located", xy, xy) for name in names for xy in (0.0, 1.0)]
    return pd.DataFrame(rows, columns=["landmark", "kind", "along_mm", "across_mm"])


def test_nineteen_landmarks_are_all_drawn_and_no_two_look_alike(ax):
    names = [f"landmark {i}" for i in range(19)]
    plots_trust.along_across(ax, located(names))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
    assert len(ax.collections) == 19
    means = [(line.get_color(), line.get_marker()) for line in ax.lines[:19]]
    assert len(set(means)) == 19


def test_ten_probabilities_are_ten_curves(ax):
    table = uncertainty.calibration(np.array([0.1, 0.5]), np.array([False, True]), bins=2)
    plots_trust.calibration(ax, {f"p{i}": table for i in range(10)})
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines[1:]}) == 10


@pytest.mark.parametrize(
    "row, said",
    [
        ({"all": ("sella", "nasion")}, "along sella → nasion, mm"),
        ({"left": ("a", "b"), "right": ("a", "b")}, "along the row, mm"),
    ],
)
def test_without_sides_the_axis_names_the_two_landmarks_it_runs_along(ax, row, said):
    rows = located(["sella", "nasion"])
    rows.attrs["row"] = row
    plots_trust.along_across(ax, rows)
    assert ax.get_xlabel() == said
