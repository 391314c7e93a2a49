"""Two sets of errors on the same patients."""

import numpy as np
import pandas as pd
import pytest

from lmkit import comparisons
from lmkit.config import InputError


def half(side, patients, errors):
    """(P, 2) errors, mm, as rows of predictions.csv."""
    return pd.DataFrame(
        {
            "image": np.repeat(patients, 2),
            "patient": np.repeat(patients, 2),
            "side": side,
            "landmark": ["a", "b"] * len(patients),
            "error_mm": np.ravel(errors),
        }
    )


def test_only_patients_with_both_sides_are_compared():
    left = half("left", ["p1", "p2", "p3"], [[1, 1], [3, 5], [9, 9]])
    right = half("right", ["p2", "p1", "p4"], [[2, 2], [1, 2], [0, 0]])
    found = comparisons.compare_sides(left, right)
    assert found["n_patients"] == 2
    assert found["mre_mm"]["a"] == pytest.approx(2.5)
    assert found["mre_mm"]["b"] == pytest.approx(1.75)
    table = comparisons.comparison_table(found, "left", "right")
    assert table.loc["MRE, mm", "right − left"] == pytest.approx(-0.75)
    assert table.loc["SDR 2 mm", "left"] == pytest.approx(0.5)
    assert table.loc["failures > 4 mm", "left"] == pytest.approx(0.25)
    # by patient the sides differ by 0.5 and -2: of the four ways to swap them two give 1.5 or
    # more in sum, one as seen and one with both turned, and two give 2.5
    assert table.loc["MRE, mm", "p"] == pytest.approx(1.0)


def test_landmarks_that_one_side_lacks_are_left_out():
    left = half("left", ["p1", "p2"], [[1, np.nan], [1, 1]])
    right = half("right", ["p1", "p2"], [[2, 2], [2, 2]])
    assert comparisons.compare_sides(left, right)["n_landmarks"] == 3


def test_sides_of_different_patients_cannot_be_compared():
    with pytest.raises(InputError, match="expected images with both sides, got none"):
        comparisons.compare_sides(half("left", ["p1"], [[1, 1]]), half("right", ["p2"], [[1, 1]]))
