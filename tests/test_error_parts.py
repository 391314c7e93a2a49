"""What an error consists of."""

import numpy as np
import pandas as pd
import pytest

from lmkit import error_parts

NAMES = ["mesial", "distal", "top"]
TRUE = {"left": [[100, 50], [150, 50], [180, 40]], "right": [[400, 50], [350, 50], [320, 40]]}
SPACING = (0.2, 0.1)  # the tooth: 10 mm wide


def case(image, side, shifts):
    """Rows of one label set whose predictions are off by `shifts`, px."""
    true = np.array(TRUE[side], float)
    pred = true + np.array(shifts, float)
    error = np.hypot(*((pred - true) * SPACING).T)
    rows = {"image": image, "patient": image, "side": side, "landmark": NAMES, "error_mm": error}
    rows |= {"x": pred[:, 0], "y": pred[:, 1], "x_true": true[:, 0], "y_true": true[:, 1]}
    return pd.DataFrame(rows)


@pytest.fixture
def tables():
    still = [0, 0]
    predictions = pd.concat(
        [
            case("a", "left", [[1, 3], [0, 0], [0, 45]]),  # 0.2 and 0.3 mm; 4.5 mm down
            case("a", "right", [[-300, 0], [50, 0], [-60, 0]]),
            case("b", "left", [still, still, [60, 0]]),  # one tooth on
            case("c", "left", [still, [np.nan, 0], still]),
        ],
        ignore_index=True,
    )
    images = pd.DataFrame({"image": ["a", "b", "c"]}).assign(
        spacing_x_mm=SPACING[0], spacing_y_mm=SPACING[1]
    )
    landmarks = pd.DataFrame(
        [
            (i, s, n, x, y)
            for i in "abc"
            for s in TRUE
            for n, (x, y) in zip(NAMES, TRUE[s], strict=True)
        ],
        columns=["image", "side", "landmark", "x", "y"],
    )
    return predictions, images, landmarks


def kinds(explained, image, side):
    rows = explained[(explained["image"] == image) & (explained["side"] == side)]
    return rows["kind"].tolist()


def test_each_error_gets_its_kind(tables):
    predictions, images, landmarks = tables
    found = error_parts.explain_errors(predictions, images, landmarks, row=("mesial", "distal"))
    assert kinds(found, "a", "left") == ["located", "located", "elsewhere"]
    # onto the left side; onto its own mesial cusp; one tooth on
    assert kinds(found, "a", "right") == ["other side", "landmark", "neighbour"]
    assert kinds(found, "b", "left") == ["located", "located", "neighbour"]
    assert kinds(found, "c", "left") == ["located", "", "located"]


def test_errors_are_split_along_and_across_the_row_of_each_side(tables):
    found = error_parts.explain_errors(*tables, row=("mesial", "distal"))
    first = found.iloc[0]
    assert (first["along_mm"], first["across_mm"]) == pytest.approx((0.2, 0.3))
    distal = found[(found["image"] == "a") & (found["side"] == "right")].iloc[2]
    assert distal["along_mm"] == pytest.approx(12), "the right row runs to the left"
    assert np.isnan(found[found["kind"] == ""]["along_mm"]).all()


def test_a_doubtful_label_is_said_before_another_structure(tables):
    flagged = pd.DataFrame({"image": ["b"], "side": ["left"]})
    found = error_parts.explain_errors(*tables, flagged=flagged, row=("mesial", "distal"))
    assert kinds(found, "b", "left") == ["located", "located", "label"]


def test_without_the_other_sides_labels_nothing_lies_there(tables):
    predictions, images, _ = tables
    found = error_parts.explain_errors(predictions, images, row=("mesial", "distal"))
    assert kinds(found, "a", "right")[0] == "elsewhere", "30 tooth widths are no neighbour"


def test_the_row_is_found_where_none_is_named(tables):
    predictions, images, landmarks = tables
    found = error_parts.explain_errors(predictions, images, landmarks)
    assert kinds(found, "b", "left")[2] == "neighbour"
    with pytest.raises(ValueError, match="row: expected two of"):
        error_parts.explain_errors(predictions, images, row=("mesial", "no such"))


def test_the_two_landmarks_that_the_row_runs_along_come_with_the_errors(tables):
    found = error_parts.explain_errors(*tables, row=("mesial", "distal"))
    assert found.attrs["row"] == dict.fromkeys(TRUE, ("mesial", "distal"))
    alone = tables[0][tables[0]["landmark"] == "top"]
    assert error_parts.explain_errors(alone, *tables[1:]).attrs["row"] == {}


def test_repairs_say_what_each_kind_costs():
    table = pd.DataFrame(
        {
            "kind": ["located"] * 4 + ["neighbour", "label", "elsewhere", ""],
            "error_mm": [1.0, 1.5, 2.0, 3.0, 12.0, 9.0, 7.0, np.nan],
        }
    )
    rates = error_parts.repaired_rates(table)
    assert rates.loc["as it is", "sdr"] == pytest.approx(3 / 7)
    assert rates.loc["precision", "sdr"] == pytest.approx(4 / 7)
    assert rates.loc["identity", "sdr"] == pytest.approx((3 + 0.75) / 7)
    assert rates.loc["labels", "sdr"] == pytest.approx(3 / 6)
    assert rates.loc["elsewhere", "gain"] == pytest.approx(0.75 / 7)
    assert rates["landmarks"].tolist() == [0, 1, 1, 1, 1]


def test_counts_and_directions_rest_on_the_annotated(tables):
    found = error_parts.explain_errors(*tables, row=("mesial", "distal"))
    counts = error_parts.kind_counts(found)
    assert counts["landmarks"].sum() == 11
    assert counts.loc["neighbour", "images"] == 2
    assert counts["share_of_error"].sum() == pytest.approx(1)
    spread = error_parts.directional(found)
    assert spread.loc["mesial", "landmarks"] == 3
    assert spread.loc["mesial", "along mean, mm"] == pytest.approx(0.2 / 3)
