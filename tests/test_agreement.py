"""Agreement against values by hand, scipy and the real coordinates; the observer's limit."""

import json
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.collections import PathCollection

from lmkit import agreement, data, measures, observer, phantom, plots_agreement
from lmkit.config import InputError
from lmkit.declare import declared
from lmkit.phantom_faults import READING_SD_PX

TRUE = np.array([1.0, 2.0, 3.0, 6.0])
PREDICTED = np.array([2.0, 2.0, 5.0, 7.0])  # differences 1, 0, 2, 1
PATIENTS = np.array(["a", "b", "c", "d"])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def small_phantom():
    return data.open_dataset("phantom", phantom_patients=(0, 0, 40), phantom_seed=5)


def published(shared_data) -> pd.DataFrame:
    """The real coordinates as predictions.csv, the landmarks named as the phantom's."""
    rows = pd.read_csv(shared_data / "pell_gregory" / "test_predictions.csv")
    names = dict(enumerate(phantom.NAMES, 1))
    rows = rows.rename(columns={"x_pred": "x", "y_pred": "y"})
    return rows.assign(patient=rows["image"], landmark=rows["landmark"].map(names))


def spread_over(table: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted classes A, B, C of a confusion matrix, a row per case."""
    pairs = [
        (t, p)
        for t, row in zip("ABC", table, strict=False)
        for p, n in zip("ABC", row, strict=False)
        for _ in range(n)
    ]
    return tuple(np.array(side) for side in zip(*pairs, strict=True))


# --- numbers


def test_bias_limits_and_concordance_by_hand():
    got = agreement.numbers(TRUE, PREDICTED, PATIENTS)
    # differences 1 0 2 1: mean 1, squares about it 0 1 1 0, so sd = sqrt(2 / 3)
    sd = math.sqrt(2 / 3)
    assert got["bias"] == pytest.approx(1)
    assert got["sd"] == pytest.approx(sd)
    assert [got["lower"], got["upper"]] == pytest.approx([1 - 1.959964 * sd, 1 + 1.959964 * sd])
    assert (got["mae"], got["median_ae"]) == (pytest.approx(1), pytest.approx(1))
    # means 3 and 4; sums of squares 14 and 18, of products 15; 2 * 15 / (14 + 18 + 4 * 1)
    assert got["ccc"] == pytest.approx(30 / 36)
    assert (got["n"], got["n_missing"], got["n_patients"]) == (4, 0, 4)


def test_numbers_that_lie_far_from_zero_agree_as_those_near_it():
    near = agreement.numbers(TRUE, PREDICTED, PATIENTS)
    far = agreement.numbers(TRUE + 1e7, PREDICTED + 1e7, PATIENTS)
    for name in agreement.NUMBER_FIGURES:
        assert far[name] == pytest.approx(near[name], rel=1e-6), name


def test_intervals_are_those_of_scipy_where_every_case_is_a_patient_of_its_own():
    rng = np.random.default_rng(8)
    true, difference = rng.normal(10, 3, 70), rng.normal(0.4, 1, 70)
    got = agreement.numbers(true, true + difference, np.arange(70), resamples=9999)
    figures = {
        "bias": np.mean,
        "mae": lambda d, axis: np.abs(d).mean(axis),
        "upper": lambda d, axis: d.mean(axis) + 1.95996 * d.std(axis, ddof=1),
    }
    for name, figure in figures.items():
        expected = scipy.stats.bootstrap(
            (difference,), figure, method="BCa", n_resamples=9999, rng=np.random.default_rng(1)
        ).confidence_interval
        width = expected.high - expected.low
        assert got["intervals"][name] == pytest.approx(list(expected), abs=0.08 * width), name


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng, n = np.random.default_rng(1), 200
    own, shared, patients = 0.1, 0.08, np.repeat(np.arange(60), 2)  # two sides a patient
    sd = math.hypot(own, shared)
    truth = {"bias": 0.02, "sd": sd, "upper": 0.02 + 1.959964 * sd}
    truth["ccc"] = 2 * 0.2 / (0.2 + 0.2 + sd**2 + 0.02**2)
    held = dict.fromkeys(truth, 0)
    for seed in range(n):
        true = rng.normal(0.3, 0.4, 60)[patients] + rng.normal(0, 0.2, 120)
        error = rng.normal(0.02, shared, 60)[patients] + rng.normal(0, own, 120)
        got = agreement.numbers(true, true + error, patients, resamples=500, seed=seed)
        for name, value in truth.items():
            low, high = got["intervals"][name]
            held[name] += low <= value <= high
    for name, count in held.items():
        assert 0.90 <= count / n <= 0.99, f"{name}: {count / n}"


def test_both_sides_of_a_patient_are_drawn_together():
    rng = np.random.default_rng(2)
    true, predicted = rng.normal(0, 1, (2, 50))
    twice = [np.tile(values, 2) for values in (true, predicted)]
    alone = agreement.numbers(true, predicted, np.arange(50))
    together = agreement.numbers(*twice, np.tile(np.arange(50), 2))
    apart = agreement.numbers(*twice, np.arange(100))
    assert together["intervals"]["bias"] == pytest.approx(alone["intervals"]["bias"])
    assert np.ptp(apart["intervals"]["bias"]) < 0.8 * np.ptp(together["intervals"]["bias"])


def test_what_is_not_measured_is_counted_and_left_out():
    true, predicted = np.append(TRUE, [np.nan, 3]), np.append(PREDICTED, [4, np.nan])
    got = agreement.numbers(true, predicted, np.append(PATIENTS, ["e", "f"]))
    assert (got["n"], got["n_missing"], got["n_patients"]) == (4, 2, 4)
    assert got["bias"] == pytest.approx(1)
    nothing = agreement.numbers(np.array([np.nan]), np.array([1.0]), np.array(["a"]))
    assert nothing["n"] == 0
    assert nothing["bias"] is None
    assert nothing["intervals"]["bias"] is None


def test_of_four_patients_a_bias_has_no_interval_and_of_five_it_has_one():
    four = agreement.numbers(TRUE, PREDICTED, np.array(["a", "b", "c", "d"]))
    assert set(four["intervals"].values()) == {None}
    true, predicted = np.append(TRUE, 2.5), np.append(PREDICTED, 2.75)
    five = agreement.numbers(true, predicted, np.array(["a", "b", "c", "d", "e"]))
    low, high = five["intervals"]["bias"]
    assert low < five["bias"] < high


def test_one_case_has_a_difference_but_no_spread_and_no_interval():
    got = agreement.numbers(TRUE[:1], PREDICTED[:1], PATIENTS[:1])
    assert got["bias"] == 1
    assert got["sd"] is None
    assert set(got["intervals"].values()) == {None}
    with pytest.raises(ValueError, match=r"expected \(N,\) each, got \(4,\), \(4,\), \(3,\)"):
        agreement.numbers(TRUE, PREDICTED, PATIENTS[:3])


# --- classes


def test_kappa_of_two_classes_by_hand():
    # 35 of 50 agree; by chance (25 * 30 + 25 * 20) / 50^2 = 0.5, so kappa = 0.2 / 0.5
    true, predicted = spread_over([[20, 5], [10, 15]])
    got = agreement.class_agreement(true, predicted, ("A", "B"), np.arange(50))
    assert got["confusion"] == [[20, 5], [10, 15]]
    assert got["accuracy"] == pytest.approx(0.7)
    assert got["kappa"] == pytest.approx(0.4)
    assert got["kappa_linear"] == pytest.approx(0.4)  # with two classes the weights say nothing
    low, high = got["intervals"]["kappa"]
    assert low < 0.4 < high
    # the delta method's standard error of this kappa is 0.127: 0.15 to 0.65
    assert [low, high] == pytest.approx([0.15, 0.65], abs=0.04)


def test_linear_kappa_of_three_classes_by_hand():
    # rows 10 10 10, columns 9 13 8; weights 0, 1, 2 steps off
    true, predicted = spread_over([[7, 2, 1], [2, 8, 0], [0, 3, 7]])
    got = agreement.class_agreement(true, predicted, ("A", "B", "C"), np.arange(30))
    assert got["accuracy"] == pytest.approx(22 / 30)
    assert got["kappa"] == pytest.approx(1 - (8 / 30) / (20 / 30))
    steps_seen = 2 + 2 * 1 + 2 + 0 + 0 + 3
    # by chance: row A 13/3 + 2 * 8/3, row B 9/3 + 8/3, row C 2 * 9/3 + 13/3
    steps_by_chance = (13 + 16) / 3 + (9 + 8) / 3 + (18 + 13) / 3
    assert got["kappa_linear"] == pytest.approx(1 - steps_seen / steps_by_chance)


def test_classes_that_all_agree_leave_room_for_patients_not_seen():
    true = np.array(["A", "B"] * 10)
    got = agreement.class_agreement(true, true, ("A", "B", "C"), np.arange(20))
    exact = scipy.stats.binomtest(0, 20).proportion_ci().high  # Clopper and Pearson
    assert got["intervals"]["accuracy"] == pytest.approx([1 - exact, 1])
    assert (got["kappa"], got["intervals"]["kappa"]) == (1, None)
    alike = agreement.class_agreement(true[::2], true[::2], ("A", "B"), np.arange(10))
    assert alike["kappa"] is None  # nothing but A: chance agrees as well as anybody


def test_a_class_without_a_name_is_missing_and_an_unknown_one_is_refused():
    true, predicted = np.array(["A", "", "B", "A"]), np.array(["A", "B", "", "B"])
    got = agreement.class_agreement(true, predicted, ("A", "B"), PATIENTS)
    assert (got["n"], got["n_missing"]) == (2, 2)
    assert got["confusion"] == [[1, 1], [0, 0]]
    with pytest.raises(ValueError, match=r"expected A \| B, got 'C'"):
        agreement.class_agreement(np.array(["C"]), np.array(["A"]), ("A", "B"), PATIENTS[:1])


def test_draws_with_a_single_class_do_not_spoil_the_interval_of_kappa():
    true, predicted = np.array(["A"] * 5 + ["B"]), np.array(["A"] * 4 + ["B", "B"])
    got = agreement.class_agreement(true, predicted, ("A", "B"), np.arange(6), resamples=500)
    assert np.isfinite(got["intervals"]["kappa"]).all()


# --- the table of a run


def wrong_cases() -> tuple[pd.DataFrame, tuple[measures.Measurement, ...]]:
    """Heights under a level line at y = 10: A above, B to 4 px below, C deeper; 0.5 mm a px."""
    names = ("a", "b", "top")
    keys = {"depth": {"kind": "line_height", "point": "top", "line": ["a", "b"]}}
    keys["grade"] = {"kind": "class", "of": "depth", "below": {"C": -2, "B": 0}, "else": "A"}
    rows = []
    tops = {"1.png": (9, 12), "2.png": (18, 10.5), "3.png": (11, 11.5), "4.png": (20, 4)}
    for image, (true, predicted) in tops.items():
        for name, y_true, y in (("a", 10, 10), ("b", 10, 10), ("top", true, predicted)):
            x = {"a": 0, "b": 10, "top": 20}[name]
            rows.append((image, image[0], "left", name, x, y, x, y_true))
    columns = ["image", "patient", "side", "landmark", "x", "y", "x_true", "y_true"]
    return pd.DataFrame(rows, columns=columns), declared("f", keys, names)


def test_a_borderline_case_misses_by_the_mm_between_point_and_border():
    rows, (_, grade) = wrong_cases()
    got = agreement.borderline(rows, grade, (1.0, 0.5)).set_index("image")
    assert list(got.index) == ["1.png", "2.png", "4.png"]  # the true point nearest its border first
    # true 0.5 mm above the line (A), predicted 1 mm under it (B)
    assert got.loc["1.png", ["class_true", "class_predicted"]].tolist() == ["A", "B"]
    assert got.loc["1.png", ["border", "true_off", "predicted_off"]].tolist() == [0, 0.5, -1]
    # true 4 mm under (C: 2 mm beyond its border), predicted 0.25 mm under it (B)
    assert got.loc["2.png", ["border", "true_off", "predicted_off"]].tolist() == [-2, -2, 1.75]
    # across two borders: held against that of the true class
    assert got.loc["4.png", ["class_true", "class_predicted"]].tolist() == ["C", "A"]
    assert got.loc["4.png", ["border", "true_off", "predicted_off"]].tolist() == [-2, -3, 5]
    with pytest.raises(ValueError, match="measurement: expected a class, got the line_height"):
        agreement.borderline(rows, grade.of, 1.0)


def test_every_measurement_of_a_run_gets_its_agreement_and_a_row_per_figure():
    rows, measurements = wrong_cases()
    found = agreement.agree(measures.measure(rows, measurements, (1.0, 0.5)), measurements)
    assert found["depth"]["bias"] == pytest.approx(np.mean([-1.5, 3.75, -0.25, 8]))
    assert found["grade"]["confusion"] == [[0, 1, 1], [0, 1, 0], [0, 1, 0]]
    table = agreement.table(found)
    assert table.loc[("depth", "bias"), "unit"] == "mm"
    assert table.loc[("depth", "ccc"), "unit"] == ""
    assert table.loc[("grade", "accuracy"), "value"] == pytest.approx(0.25)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert len(table) == len(agreement.NUMBER_FIGURES) + len(agreement.CLASS_FIGURES)


@pytest.mark.parametrize("side, accuracy", [("left", 0.82), ("right", 0.85)])
def test_the_classes_of_the_published_predictions_are_as_right_as_published(
    shared_data, side, accuracy
):
    rows = published(shared_data)
    rows = rows[rows["side"] == side]
    measured = measures.measure(rows, phantom.MEASUREMENTS, 1 / 6)
    found = agreement.agree(measured, phantom.MEASUREMENTS)["pell_gregory"]
    assert round(found["accuracy"], 2) == accuracy
    assert (found["n"], found["n_missing"]) == (85, 0)
    wrong = agreement.borderline(rows, phantom.MEASUREMENTS[1], 1 / 6)
    assert len(wrong) == 85 - np.trace(found["confusion"])
    # most of the wrong ones are a matter of a millimetre: their label is that near to the border
    assert (wrong["true_off"].abs() < 1).mean() > 0.5


def test_published_labels_of_another_scale_keep_their_class_but_shrink_their_mm(shared_data):
    rows = published(shared_data)
    rows = rows[rows["side"] == "right"]
    small = rows["image"].str.match(r"(231-503-e|27-k|33-5560)\.png")
    got = measures.measure(rows, phantom.MEASUREMENTS, 1 / 6)
    of_small = got["image"].isin(set(rows.loc[small, "image"]))
    assert of_small.sum() == 3 * 4
    gap, grade = (got["measurement"] == name for name in ("m2_m3_gap", "pell_gregory"))
    assert got.loc[gap & of_small, "true"].max() < 0.6 * got.loc[gap & ~of_small, "true"].median()
    assert (got.loc[grade & of_small, ["class_true", "class_predicted"]] == "B").all(axis=None)


# --- readers


def two_readings() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Two images, two landmarks; `tip` always 1 px right and 2 px up, `base` 3 px left or right."""
    rows = [(f"{k}.png", "all", name, 10.0 * k, 7.0) for k in (1, 2) for name in ("tip", "base")]
    first = pd.DataFrame(rows, columns=["image", "side", "landmark", "x", "y"])
    second = first.assign(x=first.x + np.array([1, 3, 1, -3]), y=first.y - np.array([2, 0, 2, 0]))
    images = pd.DataFrame({"image": ["1.png", "2.png"], "patient": ["p", "q"]})
    return first, second, images.assign(spacing_x_mm=[0.2, 0.4], spacing_y_mm=[0.5, 0.5])


def test_the_observers_limit_by_hand():
    got = observer.observer_limit(*two_readings())
    assert list(got.index) == ["tip", "base", "all"]
    tip, base = got.loc["tip"], got.loc["base"]
    assert tip.mre_mm == pytest.approx((math.hypot(0.2, 1) + math.hypot(0.4, 1)) / 2)
    assert (tip.offset_x_mm, tip.offset_y_mm) == (pytest.approx(0.3), pytest.approx(-1))
    assert tip.sd_x_mm == pytest.approx(math.sqrt(2) * 0.1)
    assert tip.sd_y_mm == pytest.approx(0)
    assert base.offset_x_mm == pytest.approx((0.6 - 1.2) / 2)
    assert base.sd_x_mm == pytest.approx(1.8 / math.sqrt(2))
    assert (base.sdr_2mm, base.failure_rate, got.loc["all"].n) == (1, 0, 4)


def test_what_one_reader_alone_has_read_is_left_out():
    first, second, images = two_readings()
    limit = observer.observer_limit(first, second[:3], images)
    assert limit.loc["base"].n == 1
    assert limit.loc["all"].n == 3
    with pytest.raises(InputError, match="landmarks that were read twice, got none among the 4"):
        observer.observer_limit(first, second.assign(image="3.png"), images)


def test_a_model_stands_beside_the_readers_on_the_same_landmarks():
    first, second, images = two_readings()
    predictions = first[:3].assign(x=first.x + 2, patient="p", error_mm=np.nan)
    table, difference = observer.beside_model(first, second, images, predictions)
    assert table["n"].tolist() == [3, 3, 3]
    readers = [math.hypot(0.2, 1), 0.6, math.hypot(0.4, 1)]
    assert table["mre_mm"].iloc[0] == pytest.approx(np.mean(readers))
    assert table["mre_mm"].iloc[1] == pytest.approx(np.mean([0.4, 0.4, 0.8]))
    against_second = [math.hypot(0.2, 1), 0.2, math.hypot(0.4, 1)]
    assert table["mre_mm"].iloc[2] == pytest.approx(np.mean(against_second))
    effect = difference["mre_mm"]["effect"]
    assert effect == pytest.approx(table["mre_mm"].iloc[1] - table["mre_mm"].iloc[0])
    with pytest.raises(InputError, match="expected images of the second reading, got none"):
        observer.beside_model(first, second, images, predictions.assign(image="9.png"))


def test_the_phantoms_second_reader_is_found_to_err_as_it_was_made(small_phantom):
    ds = small_phantom
    limit = observer.observer_limit(ds.landmarks, ds.second_reading, ds.images)
    spacing = ds.spacing_mm.mean()
    for name, (along_px, across_px) in READING_SD_PX.items():
        both = math.hypot(limit.loc[name].sd_x_mm, limit.loc[name].sd_y_mm)
        assert both == pytest.approx(spacing * math.hypot(along_px, across_px), rel=0.2), name
        assert limit.loc[name].low < limit.loc[name].mre_mm < limit.loc[name].high
    assert limit[["offset_x_mm", "offset_y_mm"]].abs().to_numpy().max() < 0.2


def test_a_second_reading_is_measured_as_predictions_are(small_phantom):
    ds = small_phantom
    both = observer.readings(ds.landmarks, ds.second_reading, ds.images)
    found = agreement.agree(measures.measure(both, ds.measurements, ds.images), ds.measurements)
    assert found["pell_gregory"]["n"] == 80  # both sides of 40 patients
    assert found["pell_gregory"]["n_patients"] == 40
    assert 0.6 < found["pell_gregory"]["accuracy"] < 1  # a reader's jitter moves cases at a border
    assert abs(found["m2_m3_gap"]["bias"]) < 0.4


# --- figures


def test_a_bland_altman_plot_shows_the_bands_and_counts_what_is_off_the_axis():
    rng = np.random.default_rng(0)
    true = rng.normal(10, 2, 60)
    predicted = true + rng.normal(0, 0.5, 60)
    predicted[7] += 40
    found = agreement.numbers(true, predicted, np.arange(60)) | {"unit": "mm"}
    ax = plots_agreement.bland_altman(plt.figure().gca(), true, predicted, found, "the_gap")
    assert ax.get_ylabel() == "predicted − true, mm"
    assert ax.get_title() == "the gap, n = 60 (1 beyond the axis)"
    assert sum(len(c.get_offsets()) for c in ax.collections) == 60
    assert len(ax.patches) == 3  # the intervals of bias and limits
    low, high = ax.get_ylim()
    assert low < found["lower"] < found["upper"] < high


def test_figures_of_a_single_case_and_of_none_are_no_trouble():
    one = agreement.numbers(TRUE[:1], PREDICTED[:1], PATIENTS[:1]) | {"unit": ""}
    ax = plots_agreement.bland_altman(plt.figure().gca(), TRUE[:1], PREDICTED[:1], one, "m")
    assert len(ax.patches) == 0
    none = agreement.class_agreement(np.array([""]), np.array(["A"]), ("A", "B"), PATIENTS[:1])
    assert "none" in plots_agreement.confusion(plt.figure().gca(), none, "m").get_title()


def test_figures_of_nothing_are_empty():
    rows, measurements = wrong_cases()
    measured = measures.measure(rows[:0], measurements, 1.0)
    found = agreement.agree(measured, measurements)
    nothing = measured["true"].to_numpy(float)
    ax = plots_agreement.bland_altman(plt.figure().gca(), nothing, nothing, found["depth"])
    assert ax.get_title().endswith("n = 0")
    ax = plots_agreement.against_true(plt.figure().gca(), measured, measurements[1])
    assert ax.get_title() == "n = 0"
    assert agreement.table({}).empty


def test_a_confusion_matrix_states_counts_and_shares_of_the_true_class():
    found = agreement.class_agreement(
        *spread_over([[20, 5], [10, 15]]), ("A", "B"), np.arange(50), resamples=200
    )
    ax = plots_agreement.confusion(plt.figure().gca(), found, "depth_class")
    assert [t.get_text() for t in ax.texts] == ["20\n80 %", "5\n20 %", "10\n40 %", "15\n60 %"]
    assert ax.get_title().startswith("depth class: 70 % right (")


def test_wrong_classes_are_crosses_between_the_borders():
    rows, measurements = wrong_cases()
    measured = measures.measure(rows, measurements, (1.0, 0.5))
    ax = plots_agreement.against_true(plt.figure().gca(), measured, measurements[1])
    right, wrong = ax.collections
    assert (len(right.get_offsets()), len(wrong.get_offsets())) == (1, 3)
    assert [t.get_text() for t in ax.texts] == ["C", "C", "B", "B", "A", "A"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("true depth, mm", "predicted depth, mm")


def test_readers_and_model_stand_side_by_side():
    first, second, images = two_readings()
    both = observer.readings(first, second, images)
    model = both.assign(error_mm=[0.1, 0.2, 0.3, np.nan])
    ax = plots_agreement.observers(plt.figure().gca(), both, model)
    dots = [len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection)]
    assert dots == [2, 2, 2, 1]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["tip", "base"]
