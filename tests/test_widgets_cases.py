"""Explorers of cases: their orders, what a slider changes, and that maps lie where points do."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, write_native
from matplotlib.figure import Figure

from lmkit import cases, data, plots_cases, samples, stages, widgets, widgets_cases
from lmkit.case_desk import Desk, Pictures
from lmkit.config import InputError, make_config
from lmkit.widgets import png

# a: off on one landmark; b: never sure; c: one landmark not annotated
ROWS = [  # image, landmark, x, error_mm, peak, ere_mm, second_share, trust
    ("a.png", "tip", 30, 6.0, 0.9, 1.0, 0.3, True),
    ("a.png", "base", 40, 0.2, 0.8, 1.1, 0.1, True),
    ("b.png", "tip", 31, 1.0, 0.2, 4.0, 0.2, False),
    ("b.png", "base", 41, 2.0, 0.7, 0.5, 0.2, True),
    ("c.png", "tip", 32, np.nan, 0.6, 2.0, 0.9, False),
    ("c.png", "base", 42, 0.1, 0.6, 0.1, np.nan, False),
]


def by_hand(**columns) -> pd.DataFrame:
    names = ["image", "landmark", "x", "error_mm", "peak", "ere_mm", "second_share", "trust"]
    table = pd.DataFrame(ROWS, columns=names).assign(risk=[0.5, 0.6, 2.0, 0.7, 2.5, 2.4])
    table = table.assign(split="test", patient="p", side="right", y=20.0, x_true=30.0, y_true=20.0)
    table.loc[table["error_mm"].isna(), ["x_true", "y_true"]] = np.nan
    return table.assign(second_x=50.0, second_y=25.0, **columns)


@pytest.mark.parametrize(
    "by, order",
    [
        ("error", "abc"),  # largest 6, 2, 0.1
        ("mean", "abc"),  # 3.1, 1.5, 0.1
        ("peak", "bca"),  # lowest 0.2, 0.6, 0.8
        ("spread", "bca"),  # 4, 2, 1.1
        ("second", "cab"),  # 0.9, 0.3, 0.2
        ("trust", "cba"),  # riskiest 2.5, 2.0, 0.6
    ],
)
def test_each_order_puts_first_what_it_says(by, order):
    assert cases.in_order(cases.case_table(by_hand()), by) == [(f"{c}.png", "right") for c in order]


def test_cases_without_a_value_come_last_whatever_the_order():
    rows = by_hand()
    rows.loc[rows["image"] == "a.png", ["peak", "error_mm"]] = np.nan
    table = cases.case_table(rows)
    assert (
        cases.in_order(table, "peak")[-1]
        == cases.in_order(table, "error")[-1]
        == ("a.png", "right")
    )


def test_missing_columns_are_told_in_a_sentence_and_cannot_be_chosen():
    old = cases.case_table(by_hand().drop(columns=["ere_mm", "risk"]).assign(tta_mm=np.nan))
    assert cases.not_said(old) == (
        "Not in these predictions, so no order by: widest map (ere_mm), unsteady when moved "
        "(tta_mm), members apart (ensemble_mm), least trusted (risk)."
    )
    with pytest.raises(InputError, match=r"by: expected one of error, .*got 'spread'.*ere_mm"):
        cases.in_order(old, "spread")
    with pytest.raises(InputError, match=r"got 'nearest'$"):
        cases.in_order(old, "nearest")
    assert cases.not_said(cases.case_table(by_hand(tta_mm=1.0, ensemble_mm=1.0))) == ""
    with pytest.raises(InputError, match="expected at least one row"):
        cases.case_table(by_hand().iloc[:0])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a second, its dataset, and its predictions of all images of val and test."""
    folder = tmp_path_factory.mktemp("cases")
    tiny = TINY | {"dataset": str(write_native(folder / "crosses")), "outputs": str(folder)}
    run = stages.train_run(make_config(tiny), log=lambda _line: None)
    stages.open_test_split(run)
    return run, data.open_for(run.config), run.predictions


def altered(run, **columns):
    """The run with other predictions, in memory."""

    class Altered(type(run)):
        @property
        def predictions(self):
            return run.predictions.assign(**columns)

    return Altered(run.folder, run.config, run.about)


def test_two_runs_are_apart_by_the_distance_of_their_points_in_millimetres(trained):
    _, dataset, _ = trained
    names = dataset.images["image"].to_numpy()
    rows = by_hand().replace({"image": {"a.png": names[0], "b.png": names[1], "c.png": names[2]}})
    other = rows.assign(x=rows["x"] + [0, 0, 3, 0, 0, 0], y=rows["y"] + [0, 0, 4, 0, 5, 0])
    other["error_mm"] = [1.0, 0.2, 4.0, 2.0, np.nan, 0.1]
    both = cases.beside(rows, other.iloc[::-1], dataset)  # spacing 0.2 and 0.3 mm
    assert np.allclose(both["apart_mm"], [0, 0, np.hypot(0.6, 1.2), 0, 1.5, 0])
    assert np.allclose(both["worse_mm"], [5, 0, -3, 0, np.nan, 0], equal_nan=True)
    table = cases.case_table(both)
    first = {by: cases.in_order(table, by)[0][0] for by in ("disagreement", "worse", "better")}
    assert first == {"disagreement": names[2], "worse": names[0], "better": names[1]}
    with pytest.raises(InputError, match="other: expected predictions of the same images"):
        cases.beside(rows, other.assign(side="left"), dataset)
    with pytest.raises(InputError, match="other: expected each landmark once"):
        cases.beside(rows, pd.concat([other, other]), dataset)


def controls_of(box) -> dict:
    found = [control for column in box.children[0].children for control in column.children]
    return {control.description: control for control in found}


def picture(box) -> bytes:
    return bytes(box.children[1].value)


def test_a_moved_slider_shows_another_case_and_a_span_of_errors_leaves_some_out(trained):
    run, dataset, rows = trained
    rows = rows.assign(error_mm=np.arange(len(rows)) / 2 + 0.25)  # 0.25, 0.75 | 1.25, 1.75 | ...
    box = widgets_cases.case_explorer(run, dataset, rows)
    controls, seen = controls_of(box), [picture(box)]
    assert controls["case"].max == 3
    for name, value in (("case", 1), ("maps", "heatmaps"), ("first the", "peak")):
        controls[name].value = value
        seen.append(picture(box))
    assert controls["case"].value == 0, "another order starts at its first case"
    controls["case"].value = 3
    controls["off by, mm"].value = (1.0, 2.0)
    seen.append(picture(box))
    assert (controls["case"].max, controls["case"].value) == (0, 0)
    controls["off by, mm"].value = (1.3, 1.6)  # between two errors: no case
    seen.append(picture(box))
    assert len(set(seen)) == len(seen)
    assert all(shown.startswith(b"\x89PNG") for shown in seen)
    controls["off by, mm"].value = (0, controls["off by, mm"].max)
    assert controls["case"].max == 3


def test_an_older_run_without_weights_says_what_it_cannot_show(trained, tmp_path):
    run, dataset, rows = trained
    old = ["split", "image", "patient", "side", "landmark", "x", "y", "x_true", "y_true"]
    named = replace(run, folder=tmp_path / "a<b>$c")
    box = widgets_cases.case_explorer(named, dataset, rows[[*old, "error_mm", "peak"]])
    said = box.children[2].value
    assert "no order by: widest map (ere_mm)" in said
    assert "No heatmaps: a&lt;b&gt;$c has no model.safetensors." in said
    assert controls_of(box)["maps"].options == ("none",)
    with pytest.raises(InputError, match=r"model\.safetensors: expected this run's weights"):
        widgets_cases.static_cases(named, dataset, rows, heatmaps=True)


@pytest.mark.parametrize(
    "settings, levels",
    [
        ({}, ("heatmaps",)),
        ({"side": "both", "loss": "dsnt_js", "decoder": "argmax"}, ("heatmaps",)),
        (
            {"side": "joint", "ensemble": 2, "augment": "mirror", "tta": "mirror"},
            ("heatmaps",),
        ),
        (
            {"model": "cascade", "fine_widths": (8, 12), "crop_px": 8, "coarse_stride": 2},
            ("coarse maps", "fine maps"),
        ),
    ],
)
def test_maps_are_brightest_where_the_run_sees_each_landmark(tiny, settings, levels):
    run = stages.train_run(make_config(tiny | {"epochs": 1} | settings), log=lambda _line: None)
    dataset = data.open_for(run.config)
    maps = cases.CaseMaps(run, dataset)
    assert maps.levels() == levels
    offset, size = np.array([-3, 5]), (50, 116)  # the source is 60 x 110
    for (image, side), rows in run.predictions.groupby(["image", "side"]):
        seen = maps.near(image, side, offset, size)
        assert seen.shape == (2, *size)
        points = rows[["x", "y"]].to_numpy() - offset
        for one, (x, y) in zip(seen, points, strict=True):
            if 3 < x < size[1] - 4 and 3 < y < size[0] - 4:
                row, column = np.unravel_index(one.argmax(), one.shape)
                assert np.hypot(column - x, row - y) < 4, "a heatmap pixel covers 3.4 x 3.75"


def test_dots_lie_on_the_curve_at_the_cases_own_errors():
    ax = Figure().subplots()
    errors = np.array([0.5, 1.0, 2.0, 8.0, np.nan])
    plots_cases.case_on_curve(ax, errors, np.array([2.0, np.nan, 0.001]), (1.0, 3.0))
    dots = next(line for line in ax.lines if line.get_marker() == "x")
    assert np.allclose(dots.get_xdata(), [2.0, np.nan, 0.011], equal_nan=True)
    assert dots.get_ydata()[[0, 2]].tolist() == [0.75, 0.0]
    assert [text.get_text() for text in ax.texts] == ["1", "3"]
    assert ax.get_xlim()[1] > 8


def test_marks_stand_where_the_rows_say_and_a_second_mode_is_as_opaque_as_it_is_high():
    ax, offset = Figure().subplots(), np.array([20, 10])
    rows = by_hand().iloc[4:].assign(other_x=35.0, other_y=30.0)
    plots_cases.case(ax, np.zeros((30, 50)), offset, rows)
    triangles, pluses, rings, crosses = ax.collections
    assert triangles.get_offsets().tolist() == [[30, 15], [30, 15]]
    assert triangles.get_facecolors()[:, 3].tolist() == [0.9, 0.0]
    assert pluses.get_offsets().tolist() == [[15, 20], [15, 20]]
    assert rings.get_offsets().tolist()[1] == [10, 10]
    assert crosses.get_offsets().tolist() == [[12, 10], [22, 10]]
    assert [text.get_text() for text in ax.texts] == ["1", "2"]


def test_the_list_names_doubt_and_keeps_the_worst_of_many_landmarks():
    ax = Figure().subplots()
    rows = pd.concat([by_hand().iloc[[2]]] * 20, ignore_index=True)
    rows["error_mm"], rows["landmark"] = np.arange(20.0), "cost_$x$"
    plots_cases.case_list(ax, rows)
    lines = ax.texts[0].get_text().splitlines()
    assert lines[0].split()[:3] == ["landmark", "error", "mm"]
    assert lines[1].split() == ["3", r"cost_\$x\$", "2.00", "0.20", "4.00", "0.20", "distrusted"]
    assert lines[-1] == "and 2 with smaller errors"


def test_two_runs_side_by_side_change_with_the_slider_and_are_called_by_what_differs(trained):
    run, dataset, rows = trained
    other = altered(run, x=rows["x"] + np.arange(len(rows)), error_mm=rows["error_mm"] + 1)
    box = widgets_cases.compare_explorer(run, other, dataset)
    before, controls = picture(box), controls_of(box)
    assert [value for _, value in controls["first the"].options] == [
        "disagreement",
        "worse",
        "better",
    ]
    controls["case"].value = 1
    assert picture(box) != before
    controls["first the"].value = "worse"
    assert controls["case"].value == 0
    left, right = (replace(run, folder=run.folder.parents[1] / s / "r") for s in ("left", "right"))
    assert widgets_cases.names_of(left, right) == ("left/r", "right/r")
    figure = widgets_cases.static_compare(run, other, dataset, n=2)
    assert len([ax for ax in figure.axes if ax.get_visible()]) == 4
    with pytest.raises(InputError, match="expected predictions of split train, got none"):
        widgets_cases.compare_explorer(run, other, dataset, split="train")


def test_the_static_figure_shows_the_same_first_cases(trained):
    run, dataset, rows = trained
    figure = widgets_cases.static_cases(run, dataset, rows, by="peak", n=3, heatmaps=True)
    expected = cases.in_order(cases.case_table(rows), "peak")[:3]
    assert [ax.get_title().split(",")[0] for ax in figure.axes] == [image for image, _ in expected]


def test_a_picture_is_there_well_within_a_second_and_images_are_read_once(trained):
    _, dataset, _ = trained
    read = []
    large = np.random.default_rng(0).integers(0, 255, (600, 1100), dtype=np.uint8)
    counted = replace(dataset, reader=lambda image: read.append(image) or large)
    desk = Desk(by_hand(), cases.case_table(by_hand()), Pictures(counted))
    seconds = []
    for place in (0, 1, 2, 1):
        start = time.perf_counter()
        figure = widgets_cases.case_view(
            desk, by="error", place=place, span_mm=(0, desk.top_mm), shown="none"
        )
        png(figure)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1
    assert sorted(read) == ["a.png", "b.png", "c.png"]


def test_an_earlier_images_neighbours_do_not_keep_the_next_image_up(trained):
    _, dataset, _ = trained
    read, go_on = [], threading.Event()

    def slow(image: str) -> np.ndarray:
        read.append(image)
        assert go_on.wait(10)
        return np.zeros((5, 7), np.uint8)

    pictures = Pictures(replace(dataset, reader=slow))
    with ThreadPoolExecutor(2) as others:
        first = others.submit(pictures.get, "a.png", ["b.png", "c.png"])
        while not read or len(pictures.held) < 3:
            time.sleep(0.01)
        second = others.submit(pictures.get, "d.png")
        while "d.png" not in pictures.held:
            time.sleep(0.01)
        go_on.set()
        assert second.result().shape == first.result().shape == (5, 7)
    assert read == ["a.png", "d.png"]


def test_the_sliders_next_images_are_there_before_they_are_asked_for(trained):
    run, dataset, _ = trained
    read = []
    counted = replace(dataset, reader=lambda image: read.append(image) or dataset.read(image))
    lined_up = samples.line_up(counted, "right")
    box = widgets.augmentation_explorer(counted, lined_up, run.config)
    end = time.monotonic() + 10
    while len(read) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert read == [str(image) for image in lined_up.images[:3]]
    before, controls = picture(box), controls_of(box)
    controls["image"].value = 1
    assert picture(box) != before
    assert read.count(read[1]) == 1
