"""Telling failures from a measure of uncertainty, and promising a radius."""

import math

import numpy as np
import pytest

from lmkit import uncertainty


def test_auc_counts_pairs_and_half_of_the_ties():
    risk = np.array([0.1, 0.4, 0.4, 0.9, np.nan])
    failed = np.array([False, False, True, True, True])
    # pairs (failure, success): 0.4 over 0.1, 0.4 as 0.4, 0.9 over both: 3.5 of 4
    assert uncertainty.auc(risk, failed) == pytest.approx(3.5 / 4)
    assert uncertainty.auc(-risk, failed) == pytest.approx(0.5 / 4)


def test_auc_is_nothing_without_both_kinds():
    assert math.isnan(uncertainty.auc(np.ones(3), np.zeros(3, bool)))
    assert math.isnan(uncertainty.auc(np.ones(3), np.ones(3, bool)))


def test_shapes_that_differ_are_named():
    with pytest.raises(ValueError, match=r"two of shape \(N,\), got \(3,\) and \(2,\)"):
        uncertainty.auc(np.ones(3), np.ones(2, bool))


def test_risk_coverage_keeps_the_surest_first_and_ties_together():
    table = uncertainty.risk_coverage(np.array([3.0, 1.0, 2.0, 2.0]), np.array([1, 0, 1, 0], bool))
    assert table["coverage"].tolist() == [0.25, 0.75, 1.0]
    assert table["failure_rate"].tolist() == pytest.approx([0, 1 / 3, 1 / 2])
    assert table["threshold"].tolist() == [1, 2, 3]


def test_surprise_is_the_mean_log_of_the_tail_shares():
    reference = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    measures = np.array([[0.0, 5.0], [2.5, 40.0], [np.nan, 30.0]])
    # shares at least as large: all of 3; 1 of 3 and none; one of 3; each + 1 over 4
    expected = [0, -(math.log(2 / 4) + math.log(1 / 4)) / 2, -math.log(2 / 4)]
    assert uncertainty.surprise(measures, reference).tolist() == pytest.approx(expected)


def test_surprise_wants_the_same_measures():
    with pytest.raises(ValueError, match=r"expected \(N, K\) and \(M, K\)"):
        uncertainty.surprise(np.ones((3, 2)), np.ones((4, 3)))


def test_a_calibrated_risk_gives_the_rates_it_was_made_with():
    rng = np.random.default_rng(0)
    score = rng.normal(2, 3, 20_000)
    failed = rng.random(20_000) < 1 / (1 + np.exp(-(0.7 * score - 3)))
    slope, offset = uncertainty.calibrated(score, failed)
    assert slope == pytest.approx(0.7, abs=0.03)
    assert offset == pytest.approx(-3, abs=0.1)
    table = uncertainty.calibration(uncertainty.probability(score, (slope, offset)), failed)
    assert uncertainty.expected_calibration_error(table) < 0.01


def test_calibration_stays_finite_where_risk_parts_failures_wholly_or_none_failed():
    score = np.arange(10.0)
    for failed in (score > 7, np.zeros(10, bool)):
        line = uncertainty.calibrated(score, failed)
        rates = uncertainty.probability(score, line)
        assert np.isfinite(line).all()
        assert (np.diff(rates) >= 0).all()
        assert rates.max() < 0.95


def test_the_calibration_error_is_the_weighted_gap():
    table = uncertainty.calibration(np.array([0.1, 0.1, 0.9]), np.array([0, 1, 1], bool), bins=2)
    assert table["n"].tolist() == [2, 1]
    # |0.1 - 0.5| for two, |0.9 - 1| for one
    assert uncertainty.expected_calibration_error(table) == pytest.approx((0.4 * 2 + 0.1) / 3)


def test_a_conformal_radius_is_the_rank_that_theory_asks():
    errors = np.column_stack([np.arange(1.0, 20), np.r_[np.arange(1.0, 9), [np.nan] * 11]])
    # 19 errors: the 18th for 90 %; 8 errors are too few to promise 90 %
    assert uncertainty.conformal_radii(errors, 0.9).tolist() == [18, np.inf]
    assert uncertainty.conformal_radii(errors, 0.5).tolist() == [10, 5]


@pytest.mark.parametrize("errors, level", [(np.ones(3), 0.9), (np.ones((3, 2)), 1.0)])
def test_wrong_conformal_arguments_are_named(errors, level):
    with pytest.raises(ValueError, match="error_mm, level: expected"):
        uncertainty.conformal_radii(errors, level)


def test_conformal_radii_cover_new_patients_as_promised():
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(200), 2)
    own = rng.gamma(2, 0.4, 200)[patients]  # both sides of a patient err together
    errors = own[:, None] * rng.gamma(3, 0.3, (400, 3))
    covered = uncertainty.conformal_coverage(errors, patients, 0.9, splits=40)
    assert covered.mean() == pytest.approx(0.9, abs=0.015)
    assert len(set(covered.tolist())) > 10, "the splits differ"


def test_where_nobody_failed_the_patients_say_how_sure_that_is():
    score, failed = np.linspace(0, 2, 200), np.zeros(200, bool)
    stated = uncertainty.probability(score, uncertainty.calibrated(score, failed, patients=40))
    assert stated == pytest.approx(1 / 42, abs=1e-4)  # Platt's target for 40 that did not fail
    points = uncertainty.probability(score, uncertainty.calibrated(score, failed))
    assert points == pytest.approx(1 / 202, abs=1e-4)
    failed[-3:] = True
    with_some = uncertainty.calibrated(score, failed, patients=40)
    assert with_some == uncertainty.calibrated(score, failed)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_as_many_labels_as_a_radius_takes_give_one_and_one_fewer_gives_none(level):
    n = uncertainty.fewest_labels(level)
    assert np.isfinite(uncertainty.conformal_radii(np.ones((n, 1)), level)).all()
    assert np.isinf(uncertainty.conformal_radii(np.ones((n - 1, 1)), level)).all()


def test_a_radius_that_is_not_promised_holds_nothing():
    """Infinite ones held everything: 100 % from six patients of whom nobody could say a thing."""
    patients = np.arange(8)
    assert np.isnan(uncertainty.conformal_coverage(np.ones((8, 2)), patients, 0.9)).all()
    errors = np.ones((40, 2))
    errors[3:, 1] = np.nan  # a landmark with three labels
    assert uncertainty.conformal_coverage(errors, np.arange(40), 0.9).tolist() == [1.0] * 20
