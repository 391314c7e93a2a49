"""Opening datasets: what is right is read right, what is wrong is named with file and row."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SPACING, draw_cross, write_native
from PIL import Image

from lmkit import data, samples
from lmkit.config import InputError, make_config


def edit(path: Path, change) -> None:
    """Rewrite a CSV file through a function of its lines."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


def test_the_native_folder_is_read_as_written(native):
    ds = data.open_dataset(native)
    assert (ds.name, ds.names, ds.sides) == ("crosses", ("tip", "base"), ("left", "right"))
    assert len(ds.images) == 12
    assert ds.spacing_mm[0].tolist() == list(SPACING)
    assert ds.read("p00.png").shape == ds.size("p00.png") == (60, 110)
    stored = pd.read_csv(native / "landmarks.csv")
    row = stored[
        (stored.image == "p03.png") & (stored.side == "left") & (stored.landmark == "base")
    ]
    assert ds.points("left")[3, 1].tolist() == row[["x", "y"]].to_numpy()[0].tolist()


def test_a_row_left_out_is_a_landmark_not_annotated(native):
    edit(native / "landmarks.csv", lambda rows: rows[:1] + rows[2:])
    points = data.open_dataset(native).points("left")
    assert np.isnan(points[0, 0]).all()
    assert np.isfinite(points[0, 1]).all()


def broken(native, file, row, column, value):
    table = pd.read_csv(native / file, dtype=str, keep_default_na=False)
    table.loc[row - 2, column] = value
    table.to_csv(native / file, index=False)


@pytest.mark.parametrize(
    "file, column, value, expected",
    [
        ("landmarks.csv", "x", "12,5", "x: expected a number, got '12,5'"),
        ("landmarks.csv", "y", "nan", "y: expected a number, got 'nan'"),
        ("landmarks.csv", "landmark", "tipp", "got 'tipp'; did you mean tip?"),
        ("landmarks.csv", "side", "Left", "side: expected left | right, got 'Left'; rename it"),
        ("landmarks.csv", "image", "p99.png", "expected an image of images.csv, got 'p99.png'"),
        ("images.csv", "spacing_x_mm", "0", "spacing_x_mm: expected > 0, got 0"),
        ("images.csv", "spacing_y_mm", "x", "spacing_y_mm: expected a number, got 'x'"),
        ("images.csv", "split", "training", "split: expected train | val | test, got 'training'"),
        ("images.csv", "patient", "", "patient: expected a number or name, got nothing"),
        ("images.csv", "image", "p77.png", "p77.png, which is missing"),
        ("images.csv", "image", "../../etc/passwd", "image: expected a file in"),
        ("images.csv", "image", "p00.png", "expected each image once"),
    ],
)
def test_a_wrong_cell_is_named_with_file_and_row(native, file, column, value, expected):
    broken(native, file, 5, column, value)
    with pytest.raises(InputError) as error:
        data.open_dataset(native)
    assert f"{native / file} row 5: " in str(error.value)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_landmark_given_twice_is_named_with_both_rows(native):
    edit(native / "landmarks.csv", lambda rows: [*rows, rows[3]])
    with pytest.raises(InputError, match=r"row 50: .*tip of p00.png again, first in row 4"):
        data.open_dataset(native)


def test_an_image_without_labels_is_named(native):
    edit(native / "landmarks.csv", lambda rows: [r for r in rows if not r.startswith("p04")])
    with pytest.raises(InputError, match=r"images.csv row 6: expected landmarks of p04.png"):
        data.open_dataset(native)


def test_a_patient_in_two_splits_is_named(native):
    broken(native, "images.csv", 13, "patient", "p0")
    with pytest.raises(InputError, match="one split per patient, got patient p0 in train and test"):
        data.open_dataset(native)


def test_a_missing_column_says_what_is_there(native):
    edit(native / "images.csv", lambda rows: [rows[0].replace("patient", "person"), *rows[1:]])
    with pytest.raises(InputError, match=r"images.csv row 1: expected columns image, patient, got"):
        data.open_dataset(native)


@pytest.mark.parametrize("name", ["dataset.yaml", "landmarks.csv"])
def test_a_missing_file_is_named(native, name):
    (native / name).unlink()
    with pytest.raises(InputError, match=name):
        data.open_dataset(native)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"dataset: expected phantom or a dataset folder, got .*no"
    ):
        data.open_dataset(tmp_path / "no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="got an empty folder"):
        data.open_dataset(tmp_path / "empty")


def test_an_image_that_cannot_be_read_is_named(native):
    ds = data.open_dataset(native)
    path = native / "images" / "p05.png"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"p05.png: expected a readable image"):
        ds.read("p05.png")


def test_deep_and_colour_images_become_grey(native):
    deep = np.arange(60 * 110, dtype=np.uint16).reshape(60, 110) * 9
    Image.fromarray(deep).save(native / "images" / "p00.png")
    colour = np.zeros((60, 110, 3), np.uint8)
    colour[..., 1] = 200
    Image.fromarray(colour).save(native / "images" / "p01.png")
    ds = data.open_dataset(native)
    assert np.array_equal(ds.read("p00.png"), deep)
    assert ds.read("p01.png").shape == (60, 110)


def test_an_empty_split_is_filled_by_patient_and_seed(native):
    table = pd.read_csv(native / "images.csv").assign(split="")
    table["patient"] = [f"p{i // 2}" for i in range(12)]
    table.to_csv(native / "images.csv", index=False)
    first, again = data.open_dataset(native), data.open_dataset(native)
    other = data.open_dataset(native, split_seed=5)
    assert first.images["split"].tolist() == again.images["split"].tolist()
    assert first.images["split"].tolist() != other.images["split"].tolist()
    assert first.images.groupby("patient")["split"].nunique().max() == 1
    # six patients at 0.7, 0.1, 0.2: ends at 4.2, 4.8, 6 -> 4, 1, 1
    assert first.images.groupby("split")["patient"].nunique().to_dict() == {
        "train": 4,
        "val": 1,
        "test": 1,
    }


def test_the_fingerprint_follows_pixels_and_labels(native):
    first = data.open_dataset(native).fingerprint
    assert data.open_dataset(native).fingerprint == first
    broken(native, "landmarks.csv", 5, "x", "33.25")
    second = data.open_dataset(native).fingerprint
    Image.fromarray(draw_cross((60, 110), np.zeros((0, 2)), 99)).save(native / "images" / "p02.png")
    assert len({first, second, data.open_dataset(native).fingerprint}) == 3


def old_layout(folder: Path, n: int = 5) -> Path:
    """images/<side>/*.png with annotations/<side>/*.txt, three landmarks."""
    for side, middle in (("left", 80), ("right", 30)):
        (folder / "images" / side).mkdir(parents=True)
        (folder / "annotations" / side).mkdir(parents=True)
        for i in range(n):
            points = np.array([[middle, 20 + i], [middle + 3.5, 30], [middle, 41]])
            picture = draw_cross((60, 110), points[:0], i)  # the same picture on both sides
            Image.fromarray(picture).save(folder / "images" / side / f"{i}-e.png")
            text = "".join(f"{x},{y}\n" for x, y in points)
            (folder / "annotations" / side / f"{i}-e.txt").write_text(text)
    return folder


def test_the_old_layout_is_read_with_the_file_name_as_patient(tmp_path):
    ds = data.open_dataset(old_layout(tmp_path / "old"))
    assert (ds.sides, ds.names) == (("left", "right"), ("1", "2", "3"))
    assert ds.images["image"].tolist() == [f"{i}-e.png" for i in range(5)]
    assert ds.images["patient"].tolist() == [f"{i}-e" for i in range(5)]
    assert ds.points("left")[2].tolist() == [[80, 22], [83.5, 30], [80, 41]]
    assert ds.points("right")[4, 0].tolist() == [30, 24]


def test_files_of_one_name_with_other_pixels_are_two_images_of_one_patient(tmp_path):
    folder = old_layout(tmp_path / "old")
    Image.fromarray(draw_cross((60, 110), np.zeros((0, 2)), 99)).save(
        folder / "images/left/1-e.png"
    )
    ds = data.open_dataset(folder)
    assert {"left/1-e.png", "right/1-e.png"} <= set(ds.images["image"])
    assert ds.images.loc[ds.images["patient"] == "1-e", "split"].nunique() == 1
    assert np.isnan(ds.points("left")[ds.images["image"] == "right/1-e.png"]).all()


def test_a_label_file_with_too_few_lines_is_named(tmp_path):
    folder = old_layout(tmp_path / "old")
    path = folder / "annotations" / "right" / "3-e.txt"
    path.write_text("1,2\n3,4\n")
    with pytest.raises(InputError) as error:
        data.open_dataset(folder)
    assert str(error.value) == f"{path}: expected 3 lines of x,y, one per landmark, got 2"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1,2\n3;4\n5,6\n", "line 2: expected x,y, got '3;4'"),
        ("1,2\n3,4\n5,six\n", "line 3: y: expected a number, got 'six'"),
        ("1,2\n3,inf\n5,6\n", "line 2: y: expected a number, got 'inf'"),
    ],
)
def test_a_wrong_line_in_a_label_file_is_named(tmp_path, text, expected):
    folder = old_layout(tmp_path / "old")
    path = folder / "annotations" / "left" / "0-e.txt"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        data.open_dataset(folder)
    assert str(error.value) == f"{path} {expected}"


def test_an_image_without_its_label_file_is_named(tmp_path):
    folder = old_layout(tmp_path / "old")
    (folder / "annotations" / "left" / "2-e.txt").unlink()
    with pytest.raises(InputError, match=r"2-e.png: expected its landmarks in .*2-e.txt"):
        data.open_dataset(folder)


def test_a_dataset_without_spacing_opens_and_asks_for_it_before_millimetres(tmp_path):
    folder = old_layout(tmp_path / "old")
    assert np.isnan(data.open_dataset(folder).spacing_mm).all()
    with pytest.raises(InputError, match=r"pass spacing_mm, such as -p spacing_mm 0.1667"):
        data.open_for(make_config({"dataset": str(folder)}))
    ds = data.open_for(make_config({"dataset": str(folder), "spacing_mm": "0.164 0.2"}))
    assert ds.spacing_mm[3].tolist() == [0.164, 0.2]
    (folder / "dataset.yaml").write_text("spacing_mm: [0.1, 0.3]\nname: mine\n")
    stated = data.open_dataset(folder)
    assert (stated.name, stated.spacing_mm[0].tolist()) == ("mine", [0.1, 0.3])


def test_one_side_shows_each_labelled_image_once(native):
    edit(
        native / "landmarks.csv", lambda rows: [r for r in rows if not r.startswith("p02.png,left")]
    )
    ds = data.open_dataset(native)
    left, right = samples.line_up(ds, "left"), samples.line_up(ds, "right")
    assert (len(left), len(right)) == (11, 12)
    assert "p02.png" not in left.images
    assert left.points.shape == (11, 2, 2)
    assert left.spacing_mm.shape == (11, 2)


def test_both_sides_are_pooled_with_the_left_one_mirrored(native):
    ds = data.open_dataset(native)
    pooled = samples.line_up(ds, "both")
    assert len(pooled) == 24
    assert pooled.mirrored.sum() == 12
    assert set(pooled.sides[pooled.mirrored].ravel()) == {"left"}
    assert pooled.points[12].tolist() == ds.points("left")[0].tolist()  # source pixels, as stored


@pytest.mark.parametrize("side, other", [("left", "right"), ("right", "left")])
def test_a_pooled_side_trains_on_the_other_one_mirrored_and_is_judged_on_its_own(
    native, side, other
):
    ds = data.open_dataset(native)
    pooled = samples.line_up(ds, side, pool=True)
    train = pooled.split("train")
    assert (len(train), train.mirrored.sum()) == (16, 8)
    assert set(train.sides[train.mirrored].ravel()) == {other}
    assert set(train.sides[~train.mirrored].ravel()) == {side}
    assert train.points[8].tolist() == ds.points(other)[0].tolist()  # source pixels, as stored
    for split in ("val", "test"):
        assert not pooled.split(split).mirrored.any()
        assert pooled.split(split).images.tolist() == (
            samples.line_up(ds, side).split(split).images.tolist()
        )


def test_pooling_changes_nothing_where_there_is_nothing_to_pool(tmp_path, native):
    half = data.open_dataset(write_native(tmp_path / "half", sides=("left",)))
    assert len(samples.line_up(half, "left", pool=True)) == 12
    plain = data.open_dataset(write_native(tmp_path / "plain", sides=()))
    assert len(samples.line_up(plain, "left", pool=True)) == 12
    assert len(samples.line_up(data.open_dataset(native), "both", pool=True)) == 24


def test_joint_asks_for_every_landmark_of_every_side(native):
    ds = data.open_dataset(native)
    joint = samples.line_up(ds, "joint")
    assert joint.points.shape == (12, 4, 2)
    assert joint.landmarks == ("tip", "base", "tip", "base")
    assert joint.sides[0].tolist() == ["left", "left", "right", "right"]


def test_a_dataset_without_sides_ignores_the_side(tmp_path):
    ds = data.open_dataset(write_native(tmp_path / "plain", sides=()))
    for side in ("left", "both", "joint"):
        assert samples.run_side(ds, side) == "all"
        assert len(samples.line_up(ds, side)) == 12


def test_a_side_that_the_dataset_lacks_is_named(tmp_path):
    ds = data.open_dataset(write_native(tmp_path / "half", sides=("left",)))
    with pytest.raises(InputError, match=r"expected a side of crosses \(left\), got 'both'"):
        samples.line_up(ds, "both")


def test_no_patients_to_train_on_is_said_with_the_counts(native):
    table = pd.read_csv(native / "images.csv").assign(split="val")
    table.to_csv(native / "images.csv", index=False)
    lined_up = samples.line_up(data.open_dataset(native), "left")
    with pytest.raises(InputError, match=r"split train: expected images.*'val': 12"):
        lined_up.split("train")


def test_the_ultrasound_set_opens_with_its_point_outside_the_image(shared_data):
    ds = data.open_dataset(shared_data / "us_hc18")
    assert (len(ds.images), ds.images["patient"].nunique(), ds.sides) == (622, 501, ())
    points = ds.points("all")
    assert points.shape == (622, 4, 2)
    assert (points[..., 1] < -0.5).sum() == 1
    assert ds.spacing_mm.min() == pytest.approx(0.049, abs=1e-3)
    assert not math.isnan(ds.spacing_mm.max())


def test_spaces_around_column_names_do_not_count(native):
    path = native / "landmarks.csv"
    path.write_text(
        path.read_text().replace("image,side,landmark,x,y", "image, side, landmark,x ,y")
    )
    assert len(data.open_dataset(native).landmarks) == 48
