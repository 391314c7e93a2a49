"""Measurements from landmarks: declared right, computed by hand, wrong ones named."""

import math

import numpy as np
import pandas as pd
import pytest
import yaml

from lmkit import data, lines, measures, phantom, phantom_shape
from lmkit.config import InputError
from lmkit.declare import declared
from lmkit.phantom_faults import second_reader

NAMES = ("a", "b", "c", "d", "top")
SPACING = np.array([2.0, 0.5])  # mm per pixel in x and y, so that swapped axes show


def one(keys: dict) -> measures.Measurement:
    return declared("dataset.yaml", {"m": keys}, NAMES)[0]


def value(keys: dict, points, spacing=SPACING) -> float:
    points = np.asarray(points, float)
    names = NAMES[: len(points)] if len(points) < 5 else NAMES
    return float(measures.values(declared("f", {"m": keys}, names)[0], points, names, spacing))


def case(image, points, predicted, side="left", patient="p", names=NAMES) -> pd.DataFrame:
    """The rows of predictions.csv for one image and side."""
    (x_true, y_true), (x, y) = np.array(points, float).T, np.array(predicted, float).T
    columns = {"image": image, "patient": patient, "side": side, "landmark": names}
    return pd.DataFrame(columns | {"x": x, "y": y, "x_true": x_true, "y_true": y_true})


DEPTH = {"kind": "between", "point": "top", "from": ["a", "b"], "to": ["c", "d"]}
RULE = {
    "grade": {"kind": "class", "of": "depth", "below": {"A": 0, "B": 1}, "else": "C"},
    "depth": DEPTH,
}


# --- by hand


def test_a_distance_is_in_mm_with_the_spacing_of_each_axis():
    got = value({"kind": "distance", "points": ["a", "c"]}, [(1, 1), (9, 9), (4, 5)])
    assert got == pytest.approx(math.hypot(3 * 2.0, 4 * 0.5))


def test_an_angle_is_that_of_the_object_and_not_of_the_pixels():
    # from b: 1 px to the right is 2 mm, 4 px down are 2 mm, so a point at (1, 4) is at 45 degrees
    corner = {"kind": "angle", "points": ["a", "b", "c"]}
    assert value(corner, [(1, 0), (0, 0), (1, 4)]) == pytest.approx(45)
    assert value(corner, [(1, 0), (0, 0), (1, -4)]) == pytest.approx(45)  # either way round
    assert value(corner, [(1, 0), (0, 0), (-2, 0)]) == pytest.approx(180)
    assert math.isnan(value(corner, [(0, 0), (0, 0), (1, 4)]))


def test_an_angle_between_two_lines_follows_their_directions():
    keys = {"kind": "angle", "lines": [["a", "b"], ["c", "d"]]}
    assert value(keys, [(0, 0), (3, 0), (7, 1), (8, 5)]) == pytest.approx(45)
    assert value(keys, [(0, 0), (3, 0), (8, 5), (7, 1)]) == pytest.approx(135)


def test_a_height_over_a_line_is_positive_above_it_and_in_mm():
    # the line falls 1 px a px: y = 10 + x; at x = 4 it is at 14, and 6 px above y = 20
    points = [(0, 10), (8, 18), (4, 20)]
    keys = {"kind": "line_height", "point": "c", "line": ["a", "b"]}
    assert value(keys, points) == pytest.approx(-6 * 0.5)
    assert value(keys, [*points[:2], (4, 10)]) == pytest.approx(4 * 0.5)
    assert value(keys, [points[1], points[0], points[2]]) == pytest.approx(-3)  # either order
    # in mm the line goes 2 along and 0.5 down: the shortest way is 2 / hypot(2, 0.5) of it
    shortest = value(keys | {"along": "perpendicular"}, points)
    assert shortest == pytest.approx(-3 * 2 / math.hypot(2, 0.5))


def test_a_vertical_line_has_no_height_and_gives_no_warning():
    keys = {"kind": "line_height", "point": "c", "line": ["a", "b"]}
    for along in ("vertical", "perpendicular"):
        assert math.isnan(value(keys | {"along": along}, [(3, 0), (3, 9), (5, 5)]))


@pytest.mark.parametrize("y, place, grade", [(20, -0.5, "A"), (30, 0, "B"), (35, 0.25, "B")])
@pytest.mark.parametrize("spacing", [1.0, (0.2, 0.3)])
def test_a_place_between_lines_is_0_on_the_first_and_1_on_the_second(y, place, grade, spacing):
    # first line y = 10 + x / 2, second y = 50; at x = 40 they are at 30 and 50
    points = np.array([(0, 10), (20, 20), (-5, 50), (25, 50), (40, y)], float)
    rule, depth = declared("f", RULE, NAMES)
    assert measures.values(depth, points, NAMES, np.array(spacing)) == pytest.approx(place)
    assert measures.classes(rule, points, NAMES, np.array(spacing)) == grade


def test_classes_follow_heights_where_the_lines_have_crossed():
    # first line y = x / 2, second y = 20 - x / 2: at x = 40 they are at 20 and 0, the second on top
    corners = [(0, 0), (10, 5), (0, 20), (10, 15)]
    rule, depth = declared("f", RULE, NAMES)
    points = np.array([[*corners, (40, y)] for y in (-5, 10, 30)], float)
    got = measures.values(depth, points, NAMES, SPACING)
    assert got == pytest.approx([1.25, 0.5, -0.5])  # the axis itself is upside down there
    # above the first line is A, whatever the second; below both is C
    assert measures.classes(rule, points, NAMES, SPACING).tolist() == ["A", "A", "C"]
    assert lines.between(np.array([20, 9.0]), points[0, :2], points[0, 2:4])[1] != 0
    assert np.isnan(lines.between(np.array([20.0, 9.0]), points[0, :2], points[0, 2:4])).all()


def test_margins_are_mm_along_y_below_the_border():
    points = np.array([(0, 10), (20, 20), (-5, 50), (25, 50), (40, 36)], float)
    rule = declared("f", RULE, NAMES)[0]
    assert measures.margins(rule, points, NAMES, SPACING) == pytest.approx([6 * 0.5, -14 * 0.5])
    assert rule.margin_unit == "mm"


def test_a_value_on_a_border_is_beyond_it():
    keys = {"gap": {"kind": "distance", "points": ["a", "b"]}}
    keys["size"] = {"kind": "class", "of": "gap", "below": {"small": 2, "middle": 4}, "else": "big"}
    rule = declared("f", keys, NAMES)[1]
    points = np.array([[(0, 0), (x, 0), (0, 0), (0, 0), (0, 0)] for x in (0.9, 1, 1.9, 2)], float)
    got = measures.classes(rule, points, NAMES, SPACING)
    assert got.tolist() == ["small", "middle", "middle", "big"]


# --- the table


def test_measure_gives_a_row_per_case_and_measurement_whatever_the_order_of_rows():
    true = [(0, 10), (20, 20), (-5, 50), (25, 50), (40, 35)]
    first, second = case("1.png", true, true), case("2.png", true, true, "right", "q")
    second.loc[4, "y"] = 60
    rows = pd.concat([first, second]).sample(frac=1, random_state=3)
    got = measures.measure(rows, declared("f", RULE, NAMES), 0.5)
    assert len(got) == 2 * 2
    got = got.set_index(["image", "side", "measurement"])
    moved = got.loc[("2.png", "right", "grade")]
    assert (moved.true, moved.predicted) == (pytest.approx(0.25), pytest.approx(1.5))
    assert (moved.class_true, moved.class_predicted, moved.patient) == ("B", "C", "q")
    kept = got.loc[("1.png", "left", "depth")]
    assert (kept.true, kept.predicted) == (pytest.approx(0.25), pytest.approx(0.25))
    assert (kept.class_true, kept.unit) == ("", "")


def test_a_missing_landmark_makes_a_number_nan_and_a_class_empty():
    true = [(0, 10), (20, 20), (-5, 50), (25, 50), (40, 35)]
    rows = pd.concat([case("1.png", true, true), case("2.png", true, true)], ignore_index=True)
    rows.loc[2, ["x_true", "y_true"]] = np.nan
    rows = rows.drop(index=9)  # the top of the second image has no row at all
    got = measures.measure(rows, declared("f", RULE, NAMES), 0.5)
    first, second = (got[got.image == name] for name in ("1.png", "2.png"))
    assert first.true.isna().all()
    assert first.predicted.notna().all()
    assert first.set_index("measurement").class_true["grade"] == ""
    assert first.set_index("measurement").class_predicted["grade"] == "B"
    assert second[["true", "predicted"]].isna().all(axis=None)


def test_each_image_is_measured_with_its_own_spacing():
    keys = declared("f", {"gap": {"kind": "distance", "points": ["a", "b"]}}, NAMES)
    points = [(0, 0), (3, 4), (0, 0), (0, 0), (0, 0)]
    rows = pd.concat([case(f"{k}.png", points, points) for k in (1, 2)])
    images = pd.DataFrame({"image": ["2.png", "1.png"], "spacing_x_mm": [1.0, 2.0]})
    images["spacing_y_mm"] = [1.0, 0.5]
    assert measures.measure(rows, keys, images).true.tolist() == [math.hypot(6, 2), 5]
    with pytest.raises(InputError, match="expected a spacing for every image, got none for 1"):
        measures.measure(rows, keys, images[:1])


def test_a_dataset_that_declares_nothing_or_predicted_nothing_has_no_measurements():
    points = [(0, 0), (3, 4), (0, 0), (0, 0), (0, 0)]
    rows = case("1.png", points, points)
    for got in (
        measures.measure(rows, (), 1.0),
        measures.measure(rows[:0], declared("f", RULE, NAMES), 1.0),
    ):
        assert (list(got), len(got)) == (measures.COLUMNS, 0)


def test_a_table_that_cannot_be_measured_is_named():
    points = [(0, 0), (3, 4), (0, 0), (0, 0), (0, 0)]
    rows, keys = case("1.png", points, points), declared("f", RULE, NAMES)
    with pytest.raises(InputError, match="got none named x_true"):
        measures.measure(rows.drop(columns="x_true"), keys, 1.0)
    with pytest.raises(InputError, match="each image, side and landmark once, got repeats"):
        measures.measure(pd.concat([rows, rows]), keys, 1.0)
    with pytest.raises(InputError, match=r"expected rows of landmark top, .* got a, b, c, d"):
        measures.measure(rows[:4], keys, 1.0)
    with pytest.raises(ValueError, match="spacing_mm: expected > 0, got 0"):
        measures.measure(rows, keys, 0.0)


# --- declarations


@pytest.mark.parametrize(
    "keys, expected",
    [
        ({"kind": "distanc"}, "kind: expected distance | angle | line_height | between | class"),
        ({"kind": "distanc"}, "did you mean distance?"),
        ({}, "kind: expected"),
        ("distance", "kind: expected"),
        ({"kind": "distance"}, "points: expected for a distance, got nothing"),
        ({"kind": "distance", "points": ["a"]}, "points: expected two landmarks [a, b], got ['a']"),
        ({"kind": "distance", "points": ["a", "tap"]}, "got 'tap'; did you mean top?"),
        ({"kind": "distance", "points": ["a", "a"]}, "expected different landmarks, got 'a' twice"),
        ({"kind": "distance", "points": ["a", "b"], "unit": "px"}, "unit: expected mm, got 'px'"),
        ({"kind": "distance", "points": ["a", "b"], "pont": "c"}, "'pont'; did you mean points?"),
        ({"kind": "angle"}, "got neither"),
        ({"kind": "angle", "points": ["a", "b"]}, "points: expected three landmarks [a, b, c]"),
        ({"kind": "angle", "lines": ["a", "b"]}, "lines: expected two landmarks [a, b], got 'a'"),
        ({"kind": "line_height", "point": "top", "line": "a"}, "line: expected two landmarks"),
        (
            {"kind": "line_height", "point": "top", "line": ["a", "b"], "along": "x"},
            "along: expected vertical | perpendicular, got 'x'",
        ),
        (DEPTH | {"from": ["a"]}, "from: expected two landmarks [a, b], got ['a']"),
        (DEPTH | {"unit": "mm"}, "unit: expected none: it is a number without unit, got 'mm'"),
    ],
)
def test_a_wrong_measurement_is_named_with_file_and_key(keys, expected):
    with pytest.raises(InputError) as error:
        declared("mine/dataset.yaml", {"m3": keys}, NAMES)
    assert str(error.value).startswith("mine/dataset.yaml: measurements: m3: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"of": "deph"}, "of: expected a measurement (depth), got 'deph'; did you mean depth?"),
        ({"of": "grade"}, "of: expected a measurement with a number, got 'grade', itself"),
        ({"of": "other"}, "of: expected a measurement with a number, got 'other', a class"),
        ({"below": {"A": 1, "B": 0}}, "below: expected rising numbers, got {'A': 1, 'B': 0}"),
        ({"below": {"A": "low"}}, "below: A: expected a number, got 'low'"),
        ({"below": {"A": True}}, "below: A: expected a number, got True"),
        ({"below": {False: 1}}, "below: expected a name, in quotes where YAML would read"),
        ({"below": [0, 1]}, "below: expected class: number, ..., got [0, 1]"),
        ({"else": "A"}, "else: expected another class, got 'A' again"),
    ],
)
def test_a_wrong_class_is_named_with_file_and_key(change, expected):
    other = {"kind": "class", "of": "grade", "below": {"A": 0}, "else": "B"}
    about = RULE | {"grade": RULE["grade"] | change} | ({"other": other} if "of" in change else {})
    with pytest.raises(InputError) as error:
        declared("dataset.yaml", about, NAMES)
    assert str(error.value).startswith("dataset.yaml: measurements: grade: ")
    assert expected in str(error.value)


def test_a_list_of_measurements_is_refused_and_none_is_no_measurement():
    with pytest.raises(InputError, match=r"measurements: expected lines of `name: \{kind"):
        declared("dataset.yaml", [DEPTH], NAMES)
    assert declared("dataset.yaml", None, NAMES) == ()


def test_what_it_says_in_dataset_yaml_is_what_the_dataset_measures(native):
    path = native / "dataset.yaml"
    before = data.open_dataset(native)
    about = yaml.safe_load(path.read_text())
    about["measurements"] = {"gap": {"kind": "distance", "points": ["tip", "base"], "unit": "mm"}}
    path.write_text(yaml.safe_dump(about))
    after = data.open_dataset(native)
    assert before.measurements == ()
    assert [(m.name, m.kind, m.points) for m in after.measurements] == [
        ("gap", "distance", ("tip", "base"))
    ]
    assert after.fingerprint == before.fingerprint  # the same images and landmarks
    about["measurement"] = about.pop("measurements")
    path.write_text(yaml.safe_dump(about))
    with pytest.raises(InputError, match="unknown key 'measurement'; did you mean measurements"):
        data.open_dataset(native)


# --- a second reading


def test_a_second_reading_is_read_checked_and_leaves_runs_valid(native):
    before = data.open_dataset(native)
    assert before.second_reading is None
    rows = (native / "landmarks.csv").read_text().splitlines()
    (native / "second_reading.csv").write_text("\n".join(rows[:6]))
    after = data.open_dataset(native)
    pd.testing.assert_frame_equal(after.second_reading, after.landmarks[:5])
    assert after.fingerprint == before.fingerprint, "nothing is trained on it"
    (native / "second_reading.csv").write_text("\n".join([*rows[:4], "p00.png,left,tipp,1,2"]))
    with pytest.raises(InputError, match=r"second_reading.csv row 5: landmark: .*'tipp'"):
        data.open_dataset(native)
    (native / "second_reading.csv").unlink()
    assert data.open_dataset(native).fingerprint == before.fingerprint


def test_the_phantom_is_read_a_second_time_and_measures_depth_class_distance_and_angle():
    dataset = data.open_dataset("phantom", phantom_patients=(3, 1, 2), phantom_seed=4)
    expected = second_reader(dataset.landmarks, 4)
    pd.testing.assert_frame_equal(dataset.second_reading, expected)
    kinds = {m.kind: m for m in dataset.measurements}
    assert set(kinds) == {"between", "class", "distance", "angle"}
    assert kinds["class"].of == kinds["between"]


# --- the rule of Pell and Gregory


def test_the_phantoms_depth_is_the_declared_measurement():
    points = data.open_dataset("phantom", phantom_patients=(30, 0, 0)).points("right")
    m3_depth, rule = phantom.MEASUREMENTS[:2]
    got = measures.values(m3_depth, points, phantom.NAMES, np.array([0.2, 0.3]))
    assert got.tolist() == phantom_shape.depth(points).tolist()
    names = measures.classes(rule, points, phantom.NAMES, np.array([0.2, 0.3]))
    assert names.tolist() == phantom_shape.depth_class(points).tolist()
    assert set(names) == {"A", "B"} or set(names) == {"A", "B", "C"}


def test_labels_clicked_at_another_scale_keep_their_class_but_not_their_mm():
    points = data.open_dataset("phantom", phantom_patients=(30, 0, 0)).points("left")
    depth, rule, gap, angle = phantom.MEASUREMENTS
    scaled = points * 0.4
    for m, factor in ((depth, 1), (gap, 0.4), (angle, 1)):
        was, now = (measures.values(m, p, phantom.NAMES, SPACING) for p in (points, scaled))
        assert now == pytest.approx(factor * was)
    was, now = (measures.classes(rule, p, phantom.NAMES, SPACING) for p in (points, scaled))
    assert was.tolist() == now.tolist()
