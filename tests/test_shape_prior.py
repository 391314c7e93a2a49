"""Choosing among modes by the shapes that patients have."""

import numpy as np
import pandas as pd
import pytest

from lmkit import shape_prior

MEAN = np.array([[10.0, 20.0], [20.0, 20.0], [26.0, 18.0]])


def label_sets(n, rng):
    """(n, 3, 2) mm: a common shift and small changes of shape."""
    return MEAN + rng.normal(0, 3, (n, 1, 2)) + rng.normal(0, 0.4, (n, 3, 2))


@pytest.fixture
def prior():
    return shape_prior.fit_prior(label_sets(300, np.random.default_rng(0)))


def test_the_squared_distance_is_that_of_the_gaussian():
    prior = shape_prior.ShapePrior(np.array([1.0, 2.0, 0, 0]), np.diag([4.0, 1.0, 1.0, 9.0]))
    points = np.array([[3.0, 2.0], [0.0, 3.0]])
    assert prior.squared(points) == pytest.approx(2.0)
    assert prior.squared(points[:1]) == pytest.approx(1.0), "the first landmark alone"


def test_a_landmark_on_the_neighbour_is_brought_back_by_its_second_mode(prior):
    modes = np.stack([MEAN, MEAN + np.array([5, 5])], axis=1)  # the other modes lie off
    modes[2] = [MEAN[2] + np.array([11, 0]), MEAN[2]]
    shares = np.array([[1, 0.5], [1, 0.5], [1, 0.5]])
    assert shape_prior.choose(prior, modes, shares).tolist() == [0, 0, 1]


def test_a_possible_configuration_is_never_changed(prior):
    modes = np.stack([MEAN + np.array([1, 0]), MEAN], axis=1)  # the second ones fit even better
    assert shape_prior.choose(prior, modes, np.ones((3, 2))).tolist() == [0, 0, 0]


def test_a_mode_that_is_not_there_is_not_chosen(prior):
    modes = np.stack([MEAN, MEAN], axis=1)
    modes[2, 0] += [11, 0]
    modes[2, 1] = np.nan
    assert (
        shape_prior.choose(prior, modes, np.array([[1, 0.5], [1, 0.5], [1, 0]])).tolist() == [0] * 3
    )


def test_too_few_label_sets_are_refused():
    with pytest.raises(ValueError, match="at least 6 whole label sets for 3 landmarks, got 5"):
        shape_prior.fit_prior(label_sets(5, np.random.default_rng(0)))


def test_a_table_is_repaired_in_pixels_with_its_error():
    rng, spacing, names = np.random.default_rng(0), np.array([0.5, 0.25]), ["a", "b", "c"]
    train = label_sets(60, rng) / spacing
    labels = pd.DataFrame(
        [
            (f"t{i}", "right", n, *xy)
            for i, s in enumerate(train)
            for n, xy in zip(names, s, strict=True)
        ],
        columns=["image", "side", "landmark", "x", "y"],
    )
    images = pd.DataFrame({"image": [*labels["image"].unique(), "new"]})
    images = images.assign(spacing_x_mm=spacing[0], spacing_y_mm=spacing[1])
    true = MEAN / spacing
    found = true + np.array([[0, 0], [0, 0], [22, 0]])  # the third 11 mm off
    rows = {
        "image": "new",
        "patient": "p",
        "side": "right",
        "landmark": names,
        "error_mm": [0, 0, 11.0],
    }
    rows |= {"x": found[:, 0], "y": found[:, 1], "x_true": true[:, 0], "y_true": true[:, 1]}
    rows |= {"second_x": true[:, 0], "second_y": true[:, 1], "second_share": 0.6}
    rows |= {"third_x": np.nan, "third_y": np.nan, "third_share": 0.0}
    table = pd.DataFrame(rows, index=[7, 8, 9])
    mended = shape_prior.repair_shapes(table, labels, images)
    assert mended.index.tolist() == [7, 8, 9]
    assert mended["moved"].tolist() == [False, False, True]
    assert mended["x"].tolist() == pytest.approx(true[:, 0].tolist())
    assert mended["error_mm"].tolist() == pytest.approx([0, 0, 0])
    few = shape_prior.repair_shapes(table, labels[labels["image"] < "t13"], images)
    assert few["x"].tolist() == table["x"].tolist()
    assert not few["moved"].any()
