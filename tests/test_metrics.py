"""Millimetres and rates against values computed by hand, and the old system's published table."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from lmkit import evaluate, losses, metrics, resampling, stats
from lmkit.config import InputError


def test_radial_error_uses_the_spacing_of_each_axis_and_image():
    true = np.zeros((2, 3, 2))
    pred = np.tile([[3.0, 4.0]], (2, 3, 1))
    spacing = np.array([[1.0, 1.0], [0.2, 0.1]])[:, None]
    error = metrics.radial_error_mm(pred, true, spacing)
    assert error.shape == (2, 3)
    assert error[0, 0] == 5
    assert error[1, 2] == pytest.approx(math.hypot(0.6, 0.4))


def test_a_missing_point_has_no_error():
    true = np.array([[[1.0, 2.0], [math.nan, math.nan]]])
    assert np.isnan(metrics.radial_error_mm(true + 1, true, 0.5)).tolist() == [[False, True]]


@pytest.mark.parametrize("spacing", [0, -0.1, math.nan])
def test_a_spacing_that_is_not_positive_is_refused(spacing):
    with pytest.raises(ValueError, match="spacing_mm: expected > 0"):
        metrics.radial_error_mm(np.zeros((1, 2)), np.zeros((1, 2)), spacing)


def test_summary_of_a_small_table_by_hand():
    errors = np.array([[1.0, 2.0, math.nan], [4.0, 5.0, 3.0]])
    summary = metrics.summarise(errors, ["a", "b", "c"])
    assert (summary["n_images"], summary["n_landmarks"], summary["n_missing"]) == (2, 5, 1)
    assert summary["mre_mm"] == 3
    assert summary["sd_mm"] == pytest.approx(math.sqrt(2))  # divisor N
    assert summary["median_mm"] == 3
    assert summary["failure_rate"] == 0.2  # 5 is over 4 mm, 4 is not
    assert summary["sdr"] == {"2": 0.4, "2.5": 0.4, "3": 0.6, "4": 0.8}
    assert summary["per_landmark"]["c"]["mre_mm"] == 3
    assert summary["per_landmark"]["c"]["n_missing"] == 1


def test_a_hit_is_within_or_on_the_threshold_unless_strict():
    errors = np.array([[2.0, 1.0]])
    assert metrics.summarise(errors)["sdr"]["2"] == 1
    assert metrics.summarise(errors, strict=True)["sdr"]["2"] == 0.5


def test_nothing_annotated_gives_none_and_not_nan():
    summary = metrics.summarise(np.full((2, 3), math.nan))
    assert summary["mre_mm"] is None
    assert summary["sdr"]["2"] is None
    assert summary["n_missing"] == 6


def test_a_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"error_mm: expected \(N, 2\), got \(3, 4\)"):
        metrics.summarise(np.zeros((3, 4)), ["a", "b"])


def test_repeated_predictions_are_refused():
    row = {"image": "a", "side": "left", "patient": "1", "landmark": "tip", "error_mm": 1.0}
    with pytest.raises(InputError, match="once, got repeats"):
        metrics.error_matrix(pd.DataFrame([row, row]))


PUBLISHED = {  # what the authors' own evaluation prints, see the README beside the table
    "left": ("1.128", "2.612", "0.9224", "0.9341", "0.9365", "0.9412"),
    "right": ("2.476", "7.148", "0.8494", "0.8635", "0.8729", "0.8871"),
}


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_old_systems_table_is_reproduced_to_every_digit(side, shared_data):
    rows = pd.read_csv(shared_data / "pell_gregory" / "test_predictions.csv").query("side == @side")
    error = metrics.radial_error_mm(
        rows[["x_pred", "y_pred"]].to_numpy(), rows[["x_true", "y_true"]].to_numpy(), 1 / 6
    )
    summary = metrics.summarise(error.reshape(-1, 5), strict=True)
    rates = [f"{share:.4f}" for share in summary["sdr"].values()]
    assert (f"{summary['mre_mm']:.3f}", f"{summary['sd_mm']:.3f}", *rates) == PUBLISHED[side]
    assert summary["n_images"] == 85


def test_intervals_hold_the_figure_and_shrink_with_patients():
    rng = np.random.default_rng(0)
    few, many = (rng.exponential(2, (n, 3)) for n in (20, 320))
    spans = []
    for errors in (few, many):
        interval = stats.bootstrap_intervals(errors, np.arange(len(errors)))
        low, high = interval["mre_mm"]
        assert low < errors.mean() < high
        assert interval["sdr"]["2"][0] < (errors <= 2).mean() < interval["sdr"]["2"][1]
        spans.append(high - low)
    assert 2.5 < spans[0] / spans[1] < 6  # about sqrt(16)


def test_the_bootstrapped_median_is_that_of_the_resampled_errors():
    errors = np.array([[1.0, 5.0], [2.0, 9.0], [4.0, math.nan]])
    owner, times = np.array([0, 0, 1, 1, 2]), np.array([[1, 1, 1], [0, 3, 0], [2, 0, 1]])
    medians = resampling.medians(errors[~np.isnan(errors)], owner, times)
    # 1 5 2 9 4 -> 4;   2 9 2 9 2 9 -> 5.5;   1 5 1 5 4 -> 4
    assert medians.tolist() == [4, 5.5, 4]


def test_resampling_patients_is_wider_than_resampling_rows_would_be():
    rng = np.random.default_rng(1)
    per_patient = rng.exponential(2, 40).repeat(5)[:, None] + np.zeros((1, 4))
    clustered = stats.bootstrap_intervals(per_patient, np.arange(40).repeat(5))["mre_mm"]
    independent = stats.bootstrap_intervals(per_patient, np.arange(200))["mre_mm"]
    assert clustered[1] - clustered[0] > 1.7 * (independent[1] - independent[0])


def test_one_patient_gives_no_interval():
    interval = stats.bootstrap_intervals(np.ones((2, 3)), np.array(["a", "a"]))
    assert interval["mre_mm"] is None
    assert interval["sdr"]["4"] is None


def test_two_test_patients_have_a_headline_without_interval_and_a_reason_for_it():
    rows = pd.DataFrame(
        [("test", f"i{k}", f"p{k}", "all", "tip", error) for k, error in enumerate([1.0, 3.0])],
        columns=["split", "image", "patient", "side", "landmark", "error_mm"],
    )
    summary = evaluate.score(rows)["test"]
    assert evaluate.headline(summary) == "MRE 2.00 mm, median 2.00 mm"
    assert "it takes 5 test patients with labels" in evaluate.why_no_interval(summary)
    shown = metrics.dashed(evaluate.interval_table(summary))
    assert shown.loc["MRE, mm"].tolist() == [2.0, "–", "–"]
    assert shown.loc["SDR 2 mm", "95 % from"] != "–"
    many = pd.concat([rows.assign(image=f"{k}", patient=f"{k}") for k in range(6)])
    many["image"] += many["error_mm"].astype(str)
    summary = evaluate.score(many)["test"]
    assert evaluate.why_no_interval(summary) == ""
    assert evaluate.headline(summary).startswith("MRE 2.00 mm (95 % interval ")


def test_mse_counts_annotated_landmarks_only():
    B, L, H, W = 2, 3, 5, 7
    maps, target = torch.zeros(B, L, H, W), torch.zeros(B, L, H, W)
    maps[0, 1, 2, 3] = 6.0
    annotated = torch.zeros(B, L, dtype=torch.bool)
    assert losses.mse(maps, target, annotated).item() == 0
    annotated[0, 1] = annotated[1, 2] = True
    assert losses.mse(maps, target, annotated).item() == pytest.approx(36 / (H * W) / 2)


def test_mse_has_no_gradient_where_nothing_is_annotated():
    maps = torch.randn(2, 3, 5, 7, requires_grad=True)
    annotated = torch.tensor([[True, False, True], [True, True, True]])
    losses.mse(maps, torch.zeros_like(maps), annotated).backward()
    assert (maps.grad[0, 1] == 0).all()
    assert (maps.grad[0, 0] != 0).any()


def test_mse_names_shapes_that_do_not_match():
    with pytest.raises(ValueError, match=r"expected \(B, L, H, W\) twice and \(B, L\)"):
        losses.mse(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 4, 3), torch.ones(1, 2))


def test_an_error_that_is_exactly_at_the_threshold_is_within_it():
    offsets = np.array([(18, 24), (30, 0), (0, 30), (-24, 18)], float)  # 30 px of 0.1 mm
    error = metrics.radial_error_mm(offsets, np.zeros((4, 2)), 0.1)
    assert error.tolist() == [3.0] * 4
    assert metrics.success_rate(error, 3.0) == 1.0
