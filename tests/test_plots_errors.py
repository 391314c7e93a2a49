"""Figures of errors, labels and the course of training show everything, and each thing once."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lmkit import plots, plots_errors, plots_speed


class Pictures:
    """As much of a dataset as a gallery reads."""

    def read(self, name):
        return np.zeros((60, 90), np.uint8)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def cases(errors_mm, landmarks=("a", "b")):
    """Predictions of one image per error, mm, all its landmarks being off by it."""
    rows = [
        {"image": f"i{k}", "side": "all", "landmark": name, "error_mm": error}
        | {"x": 20.0 + error, "y": 30.0, "x_true": 20.0, "y_true": 30.0}
        for k, error in enumerate(errors_mm)
        for name in landmarks
    ]
    return pd.DataFrame(rows)


def titles(errors_mm, which):
    figure = plots_errors.gallery(Pictures(), cases(errors_mm), which)
    return [ax.get_title().split("\n")[0] for ax in figure.axes if ax.get_visible()]


WHICH = ("worst",) * 4 + ("median",) * 2 + ("best",) * 2


def test_of_two_images_each_is_shown_once_and_called_all_it_is():
    assert titles([1, 5], WHICH) == ["worst, median: i1, all", "median, best: i0, all"]
    assert titles([3], WHICH) == ["worst, median, best: i0, all"]


def test_of_five_images_none_is_shown_twice_and_none_of_the_best_is_called_worst():
    assert titles([1, 2, 3, 4, 5], WHICH) == [
        *("worst: i4, all", "worst: i3, all", "median: i2, all", "median: i1, all"),
        "best: i0, all",
    ]


def test_of_many_images_the_gallery_shows_as_many_as_are_asked_for():
    shown = titles(range(20), WHICH)
    assert [title.split(":")[0] for title in shown] == list(WHICH)
    assert shown[:4] == [f"worst: i{k}, all" for k in (19, 18, 17, 16)]
    assert shown[6:] == ["best: i0, all", "best: i1, all"]


@pytest.mark.parametrize("n, aslant", [(5, False), (19, True)])
def test_names_under_the_strip_do_not_overprint(n, aslant):
    figure, ax = plt.subplots(figsize=(9, 4))
    plots_errors.error_strip(ax, cases([1.0, 2.0], [f"soft_pogonion_{i}" for i in range(n)]))
    labels = ax.get_xticklabels()
    assert len(labels) == n
    assert (labels[0].get_rotation() == 45) == aslant
    if not aslant:
        figure.canvas.draw()
        boxes = [label.get_window_extent() for label in labels]
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_the_legend_of_nineteen_landmarks_covers_no_label():
    figure, ax = plt.subplots()
    points = np.random.default_rng(0).uniform(0, 100, (7, 19, 2))
    plots.cloud(ax, points, [f"landmark {i}" for i in range(19)])
    figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    means = ax.collections[1::2]
    looks = {(*mark.get_edgecolor()[0], mark.get_paths()[0].vertices.tobytes()) for mark in means}
    assert len(means) == len(looks) == 19


def test_no_two_of_sixty_four_series_look_alike():
    looks = [plots.look(i) for i in range(64)]
    assert len({(look["colour"], look["dot"]) for look in looks}) == 64
    assert len({(look["colour"], look["cross"]) for look in looks}) == 64
    assert len({(look["colour"], look["dashes"]) for look in looks[:32]}) == 32


def test_ten_runs_are_ten_curves():
    history = pd.DataFrame({"seconds": [60.0, 60.0], "val_sdr_2mm": [0.1, 0.4]})
    runs = {f"run {i}": history for i in range(10)}
    ax = plots_speed.goals(plt.figure().add_subplot(), runs, [])
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 10
    errors = {name: np.array([1.0, 2.0]) for name in runs}
    ax = plots_errors.cumulative_error(plt.figure().add_subplot(), errors)
    assert len(ax.get_legend().get_texts()) == 10


@pytest.mark.parametrize("planned, end", [(None, 3.5), (20, 20.5)])
def test_the_history_of_an_unknown_number_of_epochs_ends_at_the_last(planned, end):
    columns = ["train_loss", "val_loss", "val_mre_mm", "val_median_mm", "val_sdr_2mm"]
    table = pd.DataFrame({name: [0.5, 0.4, 0.3] for name in [*columns, "val_sdr_4mm", "lr"]})
    figure = plots.history(plt.figure(), table.assign(epoch=[1, 2, 3]), planned)
    assert [ax.get_xlim()[1] for ax in figure.axes] == [end] * 4
