"""Two sets of errors on the same patients."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from lmkit import comparisons, runs
from lmkit.config import InputError, RunConfig


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


def test_errors_from_labels_that_were_corrected_in_between_are_not_compared():
    a = half("left", ["p1", "p2"], [[1, 2], [3, 4]]).assign(
        x_true=5.0, y_true=[1.0, 2.0, np.nan, 4]
    )
    b = a.assign(error_mm=1.0)
    assert comparisons.compare_runs(a, b, "old", "new")["mre_mm"]["effect"] == pytest.approx(-1.5)
    b.loc[[1, 3], "x_true"] += 0.5
    with pytest.raises(InputError, match=r"^old, new: .* got 2 that differ, .* left b of p1; run"):
        comparisons.compare_runs(a, b, "old", "new")
    b = a.assign(y_true=1.0)  # annotated now, and was not
    with pytest.raises(InputError, match="got 3 that differ"):
        comparisons.compare_runs(a, b, "old", "new")


def made_run(folder, fingerprint, finished=True):
    """A run folder that holds nothing but what it was made of."""
    folder.mkdir(parents=True)
    about = {"dataset_fingerprint": fingerprint, "n_maps": 2}
    stored = {"settings": RunConfig().model_dump(mode="json"), "about": about}
    (folder / "config.yaml").write_text(yaml.safe_dump(stored))
    if finished:
        (folder / "metrics.json").write_text(json.dumps({"val": {}, "test": {}}))
    return runs.load_run(folder)


def test_a_run_of_the_labels_before_a_correction_is_no_rival_and_no_other_side(tmp_path):
    run = made_run(tmp_path / "right" / "quick", "today")
    made_run(tmp_path / "right" / "alike", "today")
    made_run(tmp_path / "right" / "old", "before")
    made_run(tmp_path / "right" / "begun", "today", finished=False)
    assert runs.rival_of(run, "alike").folder.name == "alike"
    with pytest.raises(InputError, match=r"old: expected .* labels of quick, got one on others"):
        runs.rival_of(run, "old")
    with pytest.raises(InputError, match="begun: expected a finished run"):
        runs.rival_of(run, "begun")
    assert runs.other_side(run) is None
    made_run(tmp_path / "left" / "quick", "before")
    with pytest.raises(InputError, match="run 03 and 04 of it again"):
        runs.other_side(run)
