"""Formats in and out: what is read is what was labelled, in the pixels of the image as shown."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SPACING, draw_cross, write_native
from PIL import Image

from lmkit import commands, convert, corrections, data, textfiles
from lmkit.config import InputError
from lmkit.formats import FORMATS
from lmkit.images import image_size, read_image
from lmkit.writers import WRITERS

H, W = 60, 110


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with images/a.png and images/b.png, of 60 x 110 pixels."""
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    for i, name in enumerate("ab"):
        picture = draw_cross((H, W), np.zeros((0, 2)), i)
        Image.fromarray(picture).save(folder / "images" / f"{name}.png")
    return folder


def points_of(ds: data.Dataset) -> dict[tuple[str, str, str], tuple[float, float]]:
    return {(r.image, r.side, r.landmark): (r.x, r.y) for r in ds.landmarks.itertuples()}


def assert_same(first: data.Dataset, second: data.Dataset) -> None:
    """The same landmarks to 0.001 px, and the same files."""
    a, b = points_of(first), points_of(second)
    assert a.keys() == b.keys()
    assert max(math.dist(a[key], b[key]) for key in a) < 1e-3
    assert (first.names, first.sides) == (second.names, second.sides)
    for image in first.images["image"]:
        assert np.array_equal(first.read(image), second.read(image))


# round trips


@pytest.mark.parametrize("way", ["coco", "labelme", "text"])
@pytest.mark.parametrize("sides", [("left", "right"), ("left",), ()])
def test_there_and_back_is_the_same_dataset(tmp_path, way, sides):
    source = write_native(tmp_path / "crosses", n=6, sides=sides)
    rows = (source / "landmarks.csv").read_text().splitlines()
    (source / "landmarks.csv").write_text("\n".join(rows[:1] + rows[2:]) + "\n")  # not annotated
    convert.convert(source, tmp_path / way, to=way)
    lost = convert.convert(tmp_path / way, tmp_path / "back")
    assert lost == []
    assert_same(data.open_dataset(source), data.open_dataset(tmp_path / "back"))


@pytest.mark.parametrize("way", ["coco", "labelme", "native"])
def test_patients_splits_and_spacings_survive_where_the_format_has_a_place(tmp_path, native, way):
    assert convert.convert(native, tmp_path / way, to=way) == []
    convert.convert(tmp_path / way, tmp_path / "back")
    first, again = data.open_dataset(native), data.open_dataset(tmp_path / "back")
    assert again.images.sort_values("image", ignore_index=True).equals(first.images)
    assert again.name == "crosses"


def test_text_files_say_what_they_cannot_carry(tmp_path, native):
    lost = convert.convert(native, tmp_path / "text", to="text")
    assert lost == ["10 patients that are not the file's name", "12 splits"]
    assert data.open_dataset(tmp_path / "text").spacing_mm[3].tolist() == list(SPACING)


def test_measurements_a_second_reading_and_mirror_pairs_come_along(tmp_path):
    source = write_native(tmp_path / "crosses", n=6, sides=())
    about = yaml.safe_load((source / "dataset.yaml").read_text())
    about |= {"mirror_pairs": [["tip", "base"]], "licence": "CC0", "citation": "us"}
    about |= {"measurements": {"length": {"kind": "distance", "points": ["tip", "base"]}}}
    (source / "dataset.yaml").write_text(yaml.safe_dump(about))
    table = pd.read_csv(source / "landmarks.csv")
    table.assign(x=table.x + 1.25)[:4].to_csv(source / "second_reading.csv", index=False)
    convert.convert(source, tmp_path / "copy")
    first, copy = data.open_dataset(source), data.open_dataset(tmp_path / "copy")
    assert copy.mirror_pairs == (("tip", "base"),)
    assert copy.measurements == first.measurements != ()
    assert (copy.licence, copy.citation) == ("CC0", "us")
    assert copy.second_reading.equals(first.second_reading)
    assert copy.fingerprint == first.fingerprint
    lost = convert.convert(source, tmp_path / "coco", to="coco")
    assert lost == ["4 points of the second reading"]
    assert data.open_dataset(tmp_path / "coco").measurements == first.measurements
    convert.convert(source, tmp_path / "text", to="text")
    text = data.open_dataset(tmp_path / "text")
    assert text.second_reading["x"].tolist() == pytest.approx((table.x[:4] + 1.25).tolist())


def test_converting_does_not_write_over_a_folder_and_leaves_none_half_done(tmp_path, native):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        convert.convert(native, tmp_path / "there")
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(native / "images" / "p00.jpg")
    rows = (native / "images.csv").read_text().splitlines()
    (native / "images.csv").write_text("\n".join([*rows, "p00.jpg,p0,,0.1,0.1"]) + "\n")
    text = (native / "landmarks.csv").read_text()
    (native / "landmarks.csv").write_text(text + "p00.jpg,left,tip,1,2\n")
    with pytest.raises(InputError, match="expected one image called p00, got two"):
        convert.convert(native, tmp_path / "new", to="labelme")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crosses", "there"]


def test_columns_keys_and_kept_labels_that_a_copy_has_no_place_for_are_named(tmp_path, native):
    for name, more in (("images", {"age": 33, "empty": ""}), ("landmarks", {"reader": "anna"})):
        table = pd.read_csv(native / f"{name}.csv").assign(**more)
        table.to_csv(native / f"{name}.csv", index=False)
    table[:4].to_csv(native / "second_reading.csv", index=False)
    about = (native / "dataset.yaml").read_text()
    (native / "dataset.yaml").write_text(about + "equipment: OPG 2019\n7: seven\n")
    kept = table[:2].assign(action="keep", x=np.nan, y=np.nan)
    corrections.append(native, kept, "anna")
    named = [
        "columns of images.csv: 'age'",
        "columns of landmarks.csv: 'reader'",
        "columns of second_reading.csv: 'reader'",
        "keys of dataset.yaml: 'equipment', 7",
        "corrections.csv: 2 labels found right, which an audit of the copy may list again",
    ]
    assert convert.convert(native, tmp_path / "copy") == named
    assert set(named) < set(convert.convert(native, tmp_path / "coco", to="coco"))
    assert convert.convert(tmp_path / "copy", tmp_path / "again") == []


@pytest.mark.parametrize("inside", ["", "out", "images/out", "../crosses/out"])
def test_a_copy_in_the_datasets_own_folder_is_refused(native, inside):
    before = sorted(native.rglob("*"))
    with pytest.raises(InputError, match=r"expected a folder outside .*crosses, got one in it"):
        convert.convert(native, native / inside, to="coco")
    assert sorted(native.rglob("*")) == before


def test_a_copy_beside_the_label_file_that_it_is_made_from_is_refused(pictures):
    (pictures / "labels.csv").write_text("image,x1,y1\na.png,1,2\nb.png,3,4\n")
    with pytest.raises(InputError, match=r"out: expected a folder outside .*set, got one in it"):
        convert.convert(pictures / "labels.csv", pictures / "out", to="text")
    assert data.open_dataset(pictures).landmarks["x"].tolist() == [1, 3]


def test_the_command_line_converts_and_says_what_it_left(tmp_path, pictures, capsys):
    label = {"shapes": [shape("tip", 3.5, 4.5), shape("box", 1, 1) | {"shape_type": "rectangle"}]}
    (pictures / "images" / "a.json").write_text(json.dumps(label | {"imagePath": "a.png"}))
    assert commands.main(["convert", str(pictures), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "1 images, 1 points, 1 landmarks, sides: none" in said
    assert "not carried over: 1 images that no label names, first b.png" in said
    assert "not carried over: 1 shapes of type 'rectangle'" in said
    assert commands.main(["convert", str(tmp_path / "no"), str(tmp_path / "x")]) == 1
    assert "error: dataset: expected" in capsys.readouterr().err


def test_every_format_is_registered_once():
    assert set(WRITERS) <= set(FORMATS)
    assert list(FORMATS)[:2] == ["native", "text"]


# text files of two readers


def two_readers(folder: Path, more: str = "") -> Path:
    for reader, off in (("ann", 0.0), ("bob", 3.0)):
        (folder / f"annotations_{reader}").mkdir()
        for name in "ab":
            text = f"{10 + off},{20}\n{30},{40 + 2 * off}\n"
            (folder / f"annotations_{reader}" / f"{name}.txt").write_text(text)
    (folder / "annotations_bob" / "b.txt").write_text(",\n30,40\n")
    (folder / "dataset.yaml").write_text("landmarks: [tip, base]\n" + more)
    return folder


def test_two_readers_are_averaged_where_both_marked_a_point(pictures):
    ds = data.open_dataset(two_readers(pictures))
    assert points_of(ds)["a.png", "all", "tip"] == (11.5, 20)
    assert points_of(ds)["a.png", "all", "base"] == (30, 43)
    assert points_of(ds)["b.png", "all", "tip"] == (10, 20)  # Ann's alone
    assert ds.second_reading is None


def test_two_readers_are_kept_apart_where_the_dataset_names_them(pictures):
    ds = data.open_dataset(two_readers(pictures, "readers: [bob, ann]\n"))
    assert points_of(ds)["a.png", "all", "tip"] == (13, 20)
    assert ("b.png", "all", "tip") not in points_of(ds)
    second = ds.second_reading.set_index(["image", "landmark"])["x"]
    assert second["b.png", "tip"] == 10
    (pictures / "dataset.yaml").write_text("readers: [bob, eve]")
    with pytest.raises(InputError, match=r"readers: expected average, or two of ann, bob, got"):
        data.open_dataset(pictures)


def test_classes_after_the_points_are_left_out_and_it_is_said(pictures):
    """As in the files of the ISBI 2015 challenge: points, then a class a line."""
    folder = two_readers(pictures)
    for path in folder.glob("annotations_ann/*.txt"):
        path.write_text(path.read_text() + "1\n3\n2 \n\n")
    assert points_of(data.open_dataset(folder))["a.png", "all", "tip"] == (11.5, 20)
    (note,) = textfiles.read_text_files(folder).notes
    assert note.startswith("lines of one number after the points of 2 files, first")
    (folder / "annotations_ann" / "a.txt").write_text("10,20\n30\n")
    with pytest.raises(InputError, match=r"a.txt line 2: expected x,y, got '30'"):
        data.open_dataset(folder)


def text_files(folder: Path, about: str, **labels: str) -> Path:
    (folder / "annotations").mkdir(exist_ok=True)
    for name, text in ({"a": "1,2\n3,4\n", "b": "5,6\n7,8\n"} | labels).items():
        (folder / "annotations" / f"{name}.txt").write_text(text)
    (folder / "dataset.yaml").write_text("landmarks: [tip, base]\n" + about)
    return folder


def test_text_files_may_have_mirror_pairs_and_measure_from_the_edge(tmp_path, pictures):
    folder = text_files(pictures, "mirror_pairs: [[tip, base]]\npixel_zero: edge\n")
    ds = data.open_dataset(folder)
    assert ds.mirror_pairs == (("tip", "base"),)
    assert points_of(ds)["a.png", "all", "tip"] == (0.5, 1.5)
    assert convert.convert(folder, tmp_path / "out", to="text") == []
    assert_same(ds, data.open_dataset(tmp_path / "out"))
    assert data.open_dataset(tmp_path / "out").mirror_pairs == ds.mirror_pairs


def test_sides_that_no_folder_of_text_files_has_are_refused(pictures):
    folder = text_files(pictures, "sides: [left, right]\n")
    with pytest.raises(InputError, match=r"dataset.yaml: sides: expected a folder .* got images/"):
        data.open_dataset(folder)


def test_the_native_folder_measures_from_pixel_centres_only(native):
    path = native / "dataset.yaml"
    path.write_text(path.read_text() + "pixel_zero: edge\n")
    with pytest.raises(InputError, match=r"dataset.yaml: pixel_zero: expected centre"):
        data.open_dataset(native)


@pytest.mark.parametrize("pairs", ["[tip, tip]", "[tip, base], [base, end]"])
def test_a_landmark_is_in_one_mirror_pair_and_not_its_own_mirror(pictures, pairs):
    header = "image,tip_x,tip_y,base_x,base_y,end_x,end_y\n"
    (pictures / "labels.csv").write_text(header + "a.png,1,2,3,4,5,6\n")
    (pictures / "dataset.yaml").write_text(f"mirror_pairs: [{pairs}]\n")
    with pytest.raises(InputError, match=r"yaml: mirror_pairs: expected .* in one pair, .* again"):
        data.open_dataset(pictures)


@pytest.mark.parametrize("text, line", [("1,2\n\n5,6\n", 2), ("\n3,4\n5,6\n", 1)])
def test_a_blank_line_between_points_is_named(pictures, text, line):
    folder = text_files(pictures, "", b=text)
    with pytest.raises(InputError, match=f"b.txt line {line}: expected x,y, .* got a blank line"):
        data.open_dataset(folder)


def test_blank_lines_after_the_points_do_not_count(pictures):
    folder = text_files(pictures, "", a="1,2\r\n3,4\r\n\r\n \n")
    assert points_of(data.open_dataset(folder))["a.png", "all", "base"] == (3, 4)


def test_a_reader_that_is_not_read_is_named(tmp_path, pictures):
    folder = two_readers(pictures, "readers: [ann, bob]\n")
    (folder / "annotations_eve").mkdir()
    with pytest.warns(UserWarning, match=r"annotations_eve: .* as annotations_ann and"):
        data.open_dataset(folder)
    assert "annotations_eve" in convert.convert(folder, tmp_path / "out")[-1]


def test_files_of_macos_and_of_jupyter_are_no_labels_and_no_images(pictures):
    folder = text_files(pictures, "")
    for place in ("images/._a.png", "annotations/._a.txt"):
        (folder / place).write_bytes(b"\0\5\x16\7\xff")
    assert len(data.open_dataset(folder).images) == 2
    wide = pictures / "wide"
    (wide / ".ipynb_checkpoints").mkdir(parents=True)
    (pictures / "images").rename(wide / "images")
    for place in ("labels.csv", ".ipynb_checkpoints/labels-checkpoint.csv"):
        (wide / place).write_text("image,x1,y1\na.png,1,2\n")
    assert len(data.open_dataset(wide).images) == 1


# wide CSV


@pytest.mark.parametrize(
    "text, names",
    [
        ("image,0_x,0_y,1_x,1_y\na.png,10.5,20,30,40\nb.png,,,31,41\n", ("0", "1")),
        ("image,x1,y1,x2,y2\na.png,10.5,20,30,40\nb,,,31,41\n", ("1", "2")),
        (
            "file,tip_y,base_y,tip_x,base_x\nimages/a.png,20,40,10.5,30\nb.png,,41,,31\n",
            ("tip", "base"),
        ),
        ("\ufeffimage;x1;y1;x2;y2\na.png;10,5;20;30;40\nb.png;;;31;41\n", ("1", "2")),
    ],
)
def test_a_wide_table_has_two_columns_for_each_landmark(pictures, text, names):
    (pictures / "labels.csv").write_text(text, encoding="utf-8")
    ds = data.open_dataset(pictures)
    assert ds.names == names
    assert ds.points("all")[0].tolist() == [[10.5, 20], [30, 40]]
    assert np.isnan(ds.points("all")[1, 0]).all()
    assert ds.points("all")[1, 1].tolist() == [31, 41]
    assert np.isnan(ds.spacing_mm).all()


def test_a_wide_table_may_state_side_patient_split_and_spacing(pictures):
    (pictures / "labels.csv").write_text(
        "image,side,patient,split,spacing_mm,tip_x,tip_y\n"
        "a.png,left,7,train,0.2,80,20\na.png,right,7,train,0.2,30,21\nb.png,left,8,test,0.3,81,22\n"
    )
    ds = data.open_dataset(pictures)
    assert ds.sides == ("left", "right")
    assert ds.images["patient"].tolist() == ["7", "8"]
    assert ds.images["split"].tolist() == ["train", "test"]
    assert ds.spacing_mm.tolist() == [[0.2, 0.2], [0.3, 0.3]]
    assert points_of(ds)["a.png", "right", "tip"] == (30, 21)


@pytest.mark.parametrize(
    "column, known",
    [
        ("patient_id", "patient"), ("Patient", "patient"), ("Side", "side"), ("Split", "split"),
        ("Spacing_mm", "spacing_mm"),
    ],
)  # fmt: skip
def test_a_column_that_is_nearly_a_known_one_is_refused(pictures, column, known):
    (pictures / "labels.csv").write_text(f"image,{column},x1,y1\na.png,left,1,2\n")
    with pytest.raises(InputError, match=f"row 1: unknown column '{column}'; did you mean {known}"):
        data.open_dataset(pictures)


def test_a_capital_image_column_is_named(pictures):
    (pictures / "labels.csv").write_text("Image,x1,y1\na.png,1,2\n")
    with pytest.raises(InputError, match=r"unknown column 'Image'; did you mean image\?"):
        data.open_dataset(pictures)


def test_capital_axes_drop_no_landmark_and_half_a_pair_is_refused(pictures):
    text = "image,size,patient_age,tip_x,tip_y,base_X,base_Y\na.png,1,50,1,2,30,40\n"
    (pictures / "labels.csv").write_text(text)
    ds = data.open_dataset(pictures)
    assert points_of(ds)["a.png", "all", "base"] == (30, 40)
    (pictures / "labels.csv").write_text(text.replace("base_Y", "bas_y"))
    with pytest.raises(InputError, match=r"row 1: expected bas_y and bas_x, got bas_y alone"):
        data.open_dataset(pictures)


def test_the_second_sides_row_fills_what_the_first_leaves_open(pictures):
    text = "image,side,patient,split,spacing_mm,x1,y1\na.png,left,7,,,1,2\n"
    text += "a.png,right,,test,0.3,8,2\n"
    (pictures / "labels.csv").write_text(text)
    row = data.open_dataset(pictures).images.iloc[0]
    assert row[["patient", "split", "spacing_x_mm"]].tolist() == ["7", "test", 0.3]


@pytest.mark.parametrize("column, one, two", [("patient", "7", "8"), ("spacing_mm", ".1", ".2")])
def test_two_rows_of_an_image_that_disagree_are_both_named(pictures, column, one, two):
    text = f"image,side,{column},x1,y1\na.png,left,{one},1,2\na.png,right,{two},8,2\n"
    (pictures / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=r"labels.csv row 3: .* for a.png as in row 2, got"):
        data.open_dataset(pictures)


def test_one_spacing_for_all_images_stands_in_dataset_yaml(pictures):
    (pictures / "labels.csv").write_text("image,x1,y1\na.png,1,2\nb.png,3,4\n")
    (pictures / "dataset.yaml").write_text("spacing_mm: [0.1, 0.25]\nname: mine\n")
    ds = data.open_dataset(pictures)
    assert ds.name == "mine"
    assert ds.spacing_mm.tolist() == [[0.1, 0.25], [0.1, 0.25]]


def test_one_spacing_in_dataset_yaml_fills_the_native_folders_empty_cells_only(native):
    table = pd.read_csv(native / "images.csv", dtype=str)
    table.loc[3:, "spacing_x_mm"] = ""
    table.to_csv(native / "images.csv", index=False)
    about = yaml.safe_load((native / "dataset.yaml").read_text()) | {"spacing_mm": 0.5}
    (native / "dataset.yaml").write_text(yaml.safe_dump(about))
    spacing = data.open_dataset(native).spacing_mm
    assert spacing[2].tolist() == list(SPACING)
    assert spacing[3].tolist() == [0.5, SPACING[1]]


# COCO


def coco(*annotations: dict, names=("tip", "base"), **more) -> dict:
    images = [
        {"id": i, "file_name": f"{n}.png", "width": W, "height": H} for i, n in ((7, "a"), (9, "b"))
    ]
    categories = [{"id": 3, "name": "tooth", "keypoints": list(names)}]
    return {"images": images, "categories": categories, "annotations": list(annotations)} | more


def test_coco_visibility_0_is_not_annotated_and_1_and_2_are(pictures):
    value = coco(
        {"id": 1, "image_id": 7, "category_id": 3, "keypoints": [10.5, 20, 2, 30, 40, 1]},
        {"id": 2, "image_id": 9, "category_id": 3, "keypoints": [0, 0, 0, 31, 41, 2]},
    )
    (pictures / "annotations").mkdir()
    (pictures / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(value))
    ds = data.open_dataset(pictures)
    assert ds.points("all")[0].tolist() == [[10.5, 20], [30, 40]]
    assert np.isnan(ds.points("all")[1, 0]).all()
    assert set(ds.images["split"]) == {"val"}


def test_coco_categories_left_and_right_are_sides(pictures):
    categories = [
        {"id": i, "name": n, "keypoints": ["tip"]} for i, n in ((1, "left"), (2, "right"))
    ]
    value = coco(
        {"id": 1, "image_id": 7, "category_id": 1, "keypoints": [80, 20, 2]},
        {"id": 2, "image_id": 7, "category_id": 2, "keypoints": [30, 21, 2]},
        categories=categories,
    )
    (pictures / "labels.json").write_text(json.dumps(value))
    with pytest.warns(UserWarning, match=r"1 images left out, first b.png: no point"):
        ds = data.open_dataset(pictures)
    assert (ds.names, ds.sides) == (("tip",), ("left", "right"))
    assert points_of(ds) == {
        ("a.png", "left", "tip"): (80, 20),
        ("a.png", "right", "tip"): (30, 21),
    }


def test_names_that_all_begin_with_a_side_are_sides_unless_the_dataset_has_none(pictures):
    value = coco(
        {"id": 1, "image_id": 7, "category_id": 3, "keypoints": [80, 20, 2, 30, 21, 2]},
        {"id": 2, "image_id": 9, "category_id": 3, "keypoints": [81, 20, 2, 31, 21, 2]},
        names=("left_eye", "right_eye"),
    )
    (pictures / "labels.json").write_text(json.dumps(value))
    ds = data.open_dataset(pictures)
    assert (ds.names, ds.sides) == (("eye",), ("left", "right"))
    (pictures / "dataset.yaml").write_text("sides: []")
    ds = data.open_dataset(pictures)
    assert (ds.names, ds.sides) == (("left_eye", "right_eye"), ())


def test_names_of_which_only_some_begin_with_a_side_stay_whole(pictures):
    value = coco(
        {"id": 1, "image_id": 7, "category_id": 3, "keypoints": [80, 20, 2, 55, 21, 2]},
        {"id": 2, "image_id": 9, "category_id": 3, "keypoints": [81, 20, 2, 55, 21, 2]},
        names=("left_eye", "nose"),
    )
    (pictures / "labels.json").write_text(json.dumps(value))
    assert data.open_dataset(pictures).names == ("left_eye", "nose")


# LabelMe, CVAT, Label Studio: the zero of their pixels is the image's edge


def shape(label: str, x: float, y: float, **more) -> dict:
    return {"label": label, "points": [[x, y]], "shape_type": "point", "group_id": None} | more


def labelme(folder: Path, name: str, *shapes: dict, **more) -> None:
    value = {"version": "5.5.0", "shapes": list(shapes), "imagePath": f"{name}.png"}
    value |= {"imageData": None, "imageHeight": H, "imageWidth": W} | more
    (folder / "images" / f"{name}.json").write_text(json.dumps(value))


def test_labelme_measures_from_the_edge_so_the_first_pixels_centre_is_a_half(pictures):
    labelme(pictures, "a", shape("base", 30.5, 40.5), shape("tip", 0.5, 0.5))
    labelme(pictures, "b", shape("tip", 10.75, 20), imagePath="..\\elsewhere\\images\\b.png")
    ds = data.open_dataset(pictures)
    assert points_of(ds)["a.png", "all", "tip"] == (0, 0)
    assert points_of(ds)["a.png", "all", "base"] == (30, 40)
    assert points_of(ds)["b.png", "all", "tip"] == (10.25, 19.5)
    assert ds.names == ("base", "tip")
    (pictures / "dataset.yaml").write_text("landmarks: [tip, base]\npixel_zero: centre\n")
    ds = data.open_dataset(pictures)
    assert points_of(ds)["b.png", "all", "tip"] == (10.75, 20)
    assert ds.names == ("tip", "base")


def test_labelme_labels_led_by_a_side_have_one(pictures):
    labelme(pictures, "a", shape("left_tip", 80.5, 20.5), shape("Right tip", 30.5, 21.5))
    labelme(pictures, "b", shape("left_tip", 81.5, 20.5))
    ds = data.open_dataset(pictures)
    assert (ds.names, ds.sides) == (("tip",), ("left", "right"))
    assert points_of(ds)["a.png", "right", "tip"] == (30, 21)


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
 <image id="0" name="a.png" subset="Train" width="110" height="60">
  <points label="tip" points="10.50,20.50" occluded="1">
   <attribute name="side">left</attribute></points>
  <points label="row" points="30.5,40.5;31.5,41.5"><attribute name="side">left</attribute></points>
  <box label="crown" xtl="1" ytl="2" xbr="3" ybr="4"/>
 </image>
 <image id="1" name="b.png" width="110" height="60">
  <skeleton label="tooth"><attribute name="side">right</attribute>
   <points label="tip" outside="0" points="50.50,21.00"/>
   <points label="row_1" outside="1" points="0.00,0.00"/>
  </skeleton>
 </image>
</annotations>"""


def test_cvat_points_and_skeletons_are_read_with_their_side(tmp_path, pictures):
    (pictures / "annotations.xml").write_text(CVAT)
    ds = data.open_dataset(pictures)
    assert points_of(ds) == {
        ("a.png", "left", "tip"): (10, 20),
        ("a.png", "left", "row_1"): (30, 40),
        ("a.png", "left", "row_2"): (31, 41),
        ("b.png", "right", "tip"): (50, 20.5),
    }
    assert ds.images.set_index("image")["split"]["a.png"] == "train"
    lost = convert.convert(pictures, tmp_path / "out")
    assert lost == ["1 points marked occluded, now as others", "1 box elements"]


def keypoint(label: str, x: float, y: float, **more) -> dict:
    value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]}
    region = {"type": "keypointlabels", "original_width": W, "original_height": H, "value": value}
    return region | {"image_rotation": 0} | more


def test_label_studio_percent_become_pixels(tmp_path, pictures):
    choice = {"id": "r1", "type": "choices", "value": {"choices": ["Left"]}}
    first = [keypoint("tip", 50, 50, id="r1"), choice]
    tasks = [
        {
            "id": 1,
            "data": {"img": "/data/upload/3/0a1b2c3d-a.png", "reader": "x"},
            "annotations": [
                {"was_cancelled": True, "result": [keypoint("tip", 1, 1)]},
                {"result": [keypoint("tip", 2, 2)]},
                {"ground_truth": True, "result": first},
            ],
        },
        {
            "id": 2,
            "data": {"img": "/data/local-files/?d=images/b.png"},
            "annotations": [{"result": [keypoint("left_tip", 0, 100, id="r2")]}],
        },
    ]
    tasks[1]["annotations"][0]["result"][0]["value"]["keypointlabels"] = ["tip"]
    tasks[1]["annotations"][0]["result"].append(choice | {"id": "r2"})
    (pictures / "export.json").write_text(json.dumps(tasks))
    ds = data.open_dataset(pictures)
    # 50 % of 110 is 55, half of the way, between pixels 54 and 55; the edge is at -0.5 and 59.5
    assert points_of(ds)["a.png", "left", "tip"] == (54.5, 29.5)
    assert points_of(ds)["b.png", "left", "tip"] == (-0.5, 59.5)
    assert convert.convert(pictures, tmp_path / "out") == ["1 further annotations of a task"]


def test_label_studios_short_export_is_read(pictures):
    plain = {"x": 10, "y": 20, "keypointlabels": ["tip"], "original_width": W, "original_height": H}
    tasks = [{"id": 1, "img": "s3://bucket/a.png", "kp": [plain]}]
    tasks += [{"id": 2, "img": "b.png", "kp": [plain | {"x": 30}]}]
    (pictures / "export.json").write_text(json.dumps(tasks))
    assert points_of(data.open_dataset(pictures))["b.png", "all", "tip"] == (32.5, 11.5)


def cvat_of(*insides: str) -> str:
    images = "".join(
        f'<image id="{i}" name="{name}.png" width="{W}" height="{H}">{inside}</image>'
        for i, (name, inside) in enumerate(zip("ab", insides, strict=True))
    )
    return f"<annotations><version>1.1</version>{images}</annotations>"


def cvat_points(x: int, side: str = "") -> str:
    attribute = f'<attribute name="Side">{side}</attribute>' if side else ""
    return f'<points label="tip" points="{x},20">{attribute}</points>'


@pytest.mark.parametrize(
    "insides",
    [
        [cvat_points(80, "left"), cvat_points(20, "right")],
        [
            f'<skeleton label="{side}">{cvat_points(x)}</skeleton>'
            for side, x in (("Left", 80), ("right", 20))
        ],
    ],
)
def test_cvats_side_is_an_attribute_of_any_case_or_the_skeletons_name(pictures, insides):
    (pictures / "annotations.xml").write_text(cvat_of(*insides))
    points = points_of(data.open_dataset(pictures))
    assert points == {
        ("a.png", "left", "tip"): (79.5, 19.5),
        ("b.png", "right", "tip"): (19.5, 19.5),
    }


def test_points_of_one_name_in_two_skeletons_are_two_landmarks(pictures):
    skeletons = [f'<skeleton label="{m}">{cvat_points(80)}</skeleton>' for m in ("m2", "m3")]
    (pictures / "annotations.xml").write_text(cvat_of(*skeletons))
    assert data.open_dataset(pictures).names == ("m2_tip", "m3_tip")


def test_cocos_side_is_an_attribute_of_any_case(pictures):
    more = {"category_id": 3, "keypoints": [80, 20, 2, 55, 21, 2], "attributes": {"Side": "Left"}}
    value = coco({"id": 1, "image_id": 7} | more, {"id": 2, "image_id": 9} | more)
    (pictures / "labels.json").write_text(json.dumps(value))
    assert data.open_dataset(pictures).sides == ("left",)


def whole_choice(i: int, image: str, side: str) -> dict:
    choice = {"id": "c1", "type": "choices", "value": {"choices": [side]}}
    result = [keypoint("tip", 50, 50, id="k1"), choice]
    return {"id": i, "data": {"image": image}, "annotations": [{"result": result}]}


def short_choice(i: int, image: str, side: object) -> dict:
    plain = {"x": 50, "y": 50, "keypointlabels": ["tip"]}
    plain |= {"original_width": W, "original_height": H}
    return {"id": i, "image": image, "kp": [plain], "side": side}


@pytest.mark.parametrize("task", [whole_choice, short_choice])
def test_label_studios_choice_for_the_whole_image_is_the_side_of_its_points(pictures, task):
    tasks = [task(1, "a.png", "Left"), task(2, "b.png", "Right")]
    (pictures / "export.json").write_text(json.dumps(tasks))
    points = points_of(data.open_dataset(pictures))
    assert list(points) == [("a.png", "left", "tip"), ("b.png", "right", "tip")]


def test_label_studios_image_of_both_sides_is_refused(pictures):
    task = whole_choice(1, "a.png", "Left")
    task["data"]["Side"] = "right"
    (pictures / "export.json").write_text(json.dumps([task]))
    with pytest.raises(InputError, match=r"task 1: side: expected left \| right for the image"):
        data.open_dataset(pictures)


# pixels: EXIF, depth, DICOM


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_an_image_is_read_the_way_up_that_viewers_show_it(tmp_path, suffix, turn):
    shown = np.full((40, 64), 30, np.uint8)
    shown[:12, :20] = 220  # bright at the top left, once shown
    undo = {  # what stores it so that this orientation shows it upright
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(shown)
    stored = stored.transpose(undo[turn]) if turn > 1 else stored
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif)
    assert image_size(path) == (40, 64)
    read = read_image(path)
    assert read.shape == (40, 64)
    assert read[:10, :18].mean() > 200
    assert read[14:, 22:].mean() < 50


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_kept(tmp_path, suffix):
    deep = (np.arange(60 * 110, dtype=np.uint16) * 9).reshape(60, 110)
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}"), deep)


def test_sixteen_bits_of_which_0_is_white_are_turned_bright_for_dark(tmp_path):
    deep = (np.arange(5 * 7, dtype=np.uint16) * 9).reshape(5, 7)
    Image.fromarray(deep).save(tmp_path / "a.tif")
    whole = bytearray((tmp_path / "a.tif").read_bytes())
    entry = whole.index((262).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    whole[entry + 8] = 0  # the entry's value: MinIsWhite
    (tmp_path / "a.tif").write_bytes(whole)
    assert np.array_equal(read_image(tmp_path / "a.tif"), 65535 - deep)


def test_empty_dicom_windows_and_slopes_do_nothing(tmp_path):
    empty = dict.fromkeys(["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"])
    write_dicom(tmp_path / "a.dcm", RAMP, **empty)
    assert np.array_equal(read_image(tmp_path / "a.dcm"), RAMP)


def write_dicom(path: Path, stored: np.ndarray, kind: str = "MONOCHROME2", bits: int = 12, **tags):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, generate_uid()
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, kind
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = stored.itemsize * 8, bits, bits - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    for tag, value in tags.items():
        setattr(ds, tag, value)
    ds.PixelData = stored.tobytes()
    ds.save_as(path, enforce_file_format=True)
    return ds


RAMP = np.linspace(100, 4000, 5 * 7).round().astype(np.uint16).reshape(5, 7)


def test_dicom_values_are_those_stored_and_monochrome1_is_inverted(tmp_path):
    write_dicom(tmp_path / "two.dcm", RAMP)
    write_dicom(tmp_path / "one.dcm", 4095 - RAMP, "MONOCHROME1")
    for name in ("two", "one"):
        read = read_image(tmp_path / f"{name}.dcm")
        assert read.dtype == np.uint16
        assert np.array_equal(read, RAMP)
        assert image_size(tmp_path / f"{name}.dcm") == (5, 7)


def test_eight_bit_dicom_stays_eight_bit_and_signed_values_start_at_zero(tmp_path):
    byte = (RAMP // 16).astype(np.uint8)
    write_dicom(tmp_path / "byte.dcm", byte, bits=8)
    assert read_image(tmp_path / "byte.dcm").dtype == np.uint8
    assert np.array_equal(read_image(tmp_path / "byte.dcm"), byte)
    signed = RAMP.astype(np.int16) - 1024
    write_dicom(tmp_path / "signed.dcm", signed, bits=16, RescaleSlope=1, RescaleIntercept=-10)
    assert np.array_equal(read_image(tmp_path / "signed.dcm"), RAMP - RAMP.min())


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_a_dicom_window_clips_what_lies_outside(tmp_path, kind):
    write_dicom(tmp_path / "a.dcm", RAMP, kind, WindowCenter=2000, WindowWidth=1000)
    read = read_image(tmp_path / "a.dcm").astype(int)
    read = 65535 - read if kind == "MONOCHROME1" else read
    assert (read[RAMP < 1499] == 0).all()
    assert (read[RAMP > 2500] == 65535).all()
    inside = (RAMP > 1510) & (RAMP < 2490)
    # C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) of the range
    assert read[inside] / 65535 == pytest.approx((RAMP[inside] - 1999.5) / 999 + 0.5, abs=1e-3)


@pytest.mark.parametrize(
    "tag, more, source",
    [
        ("PixelSpacing", {}, "PixelSpacing"),
        ("PixelSpacing", {"PixelSpacingCalibrationType": "FIDUCIAL"}, "PixelSpacing FIDUCIAL"),
        ("ImagerPixelSpacing", {}, "ImagerPixelSpacing"),
        ("NominalScannedPixelSpacing", {}, "NominalScannedPixelSpacing"),
    ],
)
def test_dicom_states_the_spacing_of_rows_first_which_is_y(tmp_path, pictures, tag, more, source):
    write_dicom(pictures / "images" / "c.dcm", RAMP, **{tag: [0.3, 0.1]}, **more)
    (pictures / "labels.csv").write_text("image,x1,y1\na.png,1,2\nc.dcm,3,4\n")
    ds = data.open_dataset(pictures)
    assert ds.spacing_mm[1].tolist() == [0.1, 0.3]
    assert np.isnan(ds.spacing_mm[0]).all()
    assert ds.images["spacing_source"].tolist() == ["", source]
    convert.convert(pictures, tmp_path / "out")
    stored = pd.read_csv(tmp_path / "out" / "images.csv", keep_default_na=False)
    assert stored["spacing_source"].tolist() == ["", source]
    assert data.open_dataset(tmp_path / "out").images["spacing_source"].tolist() == ["", source]


def test_the_images_of_one_dicom_patient_stay_in_one_split(pictures):
    for i in range(6):
        write_dicom(pictures / f"{i}.dcm", RAMP, PatientID=f"id{i // 2}")
    rows = "".join(f"{i}.dcm,3,4\n" for i in range(6))
    (pictures / "labels.csv").write_text("image,x1,y1\n" + rows)
    images = data.open_dataset(pictures).images
    assert images["patient"].nunique() == 3
    assert images.groupby("patient")["split"].nunique().max() == 1
    assert not images["patient"].str.contains("id").any()  # a digest, not the number itself


def test_one_patient_id_in_all_dicom_images_is_no_patient(pictures):
    for i in range(6):
        write_dicom(pictures / f"{i}.dcm", RAMP + i, PatientID="ANONYMOUS")
    rows = "".join(f"{i}.dcm,3,4\n" for i in range(6))
    (pictures / "labels.csv").write_text("image,x1,y1\n" + rows)
    with pytest.warns(UserWarning, match="PatientID: expected one per patient, got the same in"):
        assert data.open_dataset(pictures).images["patient"].tolist() == list("012345")


def test_half_a_spacing_beside_a_dicom_header_is_refused(pictures):
    write_dicom(pictures / "images" / "c.dcm", RAMP, PixelSpacing=[0.3, 0.1])
    (pictures / "labels.csv").write_text("image,spacing_x_mm,x1,y1\nc.dcm,0.5,3,4\n")
    with pytest.raises(InputError, match=r"c.dcm: spacing: .* got spacing_x_mm 0.5 alone"):
        data.open_dataset(pictures)


# predictions out

PREDICTED = pd.DataFrame(
    [
        ("a.png", side, name, x, y, 0.5 + x / 1000)
        for side, x0 in (("left", 80.0), ("right", 30.0))
        for name, x, y in (("tip", x0, 20.25), ("base", x0 + 4, 40.5))
    ],
    columns=["image", "side", "landmark", "x", "y", "peak"],
)


def test_predictions_go_out_as_native_csv(tmp_path):
    (path,) = convert.write_predictions(PREDICTED, tmp_path / "out", "native")
    assert pd.read_csv(path).equals(PREDICTED.drop(columns="peak"))


def test_predictions_go_out_in_the_old_systems_layout(tmp_path):
    paths = convert.write_predictions(PREDICTED, tmp_path / "out", "pg")
    assert [path.name for path in paths] == ["LEFT-PG-Predictions.csv", "RIGHT-PG-Predictions.csv"]
    lines = paths[1].read_text().splitlines()
    assert lines[0] == ",file,0_act,1_act,0_y,1_y,0_x,1_x"
    assert lines[1] == "0,a.png,0.53,0.534,20.25,40.5,30.0,34.0"


def test_predictions_go_out_as_coco_and_labelme_that_are_read_again(tmp_path, pictures):
    for to in ("coco", "labelme"):
        out = tmp_path / to
        convert.write_predictions(PREDICTED, out, to, images=pictures / "images")
        (out / "a.png").write_bytes((pictures / "images" / "a.png").read_bytes())
        again = points_of(data.open_dataset(out))
        assert again == {(r.image, r.side, r.landmark): (r.x, r.y) for r in PREDICTED.itertuples()}
    whole = json.loads((tmp_path / "coco" / "predictions.json").read_text())
    assert whole["annotations"][1]["score"] == pytest.approx(0.532)
    assert (whole["images"][0]["width"], whole["images"][0]["height"]) == (W, H)


def test_predictions_with_a_landmark_twice_or_without_a_column_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected each landmark of an image once, got \['a.png'"):
        convert.write_predictions(pd.concat([PREDICTED, PREDICTED[:1]]), tmp_path / "o", "pg")
    with pytest.raises(InputError, match="expected columns"):
        convert.write_predictions(PREDICTED.drop(columns="x"), tmp_path / "o", "pg")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "first, second, label",
    [
        ("/data/p1/img.png", "/data/p2/img.png", "img.json"),
        ("a.png", "a.jpg", "a.json"),
        ("p1/a.png", "p1_a.png", "p1_a.json"),
    ],
)
def test_two_images_that_would_share_a_labelme_file_are_refused(tmp_path, first, second, label):
    rows = [(first, "all", "tip", 1.0, 2.0), (second, "all", "tip", 30.0, 40.0)]
    table = pd.DataFrame(rows, columns=["image", "side", "landmark", "x", "y"])
    message = f"expected one image for LabelMe's file {label}, got {first} and {second}; rename"
    with pytest.raises(InputError, match=message):
        convert.write_predictions(table, tmp_path / "o", "labelme")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("to", ["coco", "labelme"])
def test_predictions_with_and_without_sides_in_one_table_are_refused(tmp_path, to):
    table = pd.concat([PREDICTED[:1], PREDICTED[1:2].assign(side="all", image="b.png")])
    message = "predictions: side: expected all in all rows, or left and right, got all, left; write"
    with pytest.raises(InputError, match=message):
        convert.write_predictions(table, tmp_path / "o", to)


def test_the_command_line_writes_the_predictions_of_a_run(tmp_path, capsys):
    PREDICTED.assign(split=["val", "val", "test", "test"]).to_csv(tmp_path / "p.csv", index=False)
    given = ["predictions", str(tmp_path / "p.csv"), str(tmp_path / "o"), "--to", "pg"]
    assert commands.main([*given, "--split", "test"]) == 0
    assert capsys.readouterr().out.strip().endswith("RIGHT-PG-Predictions.csv")


@pytest.mark.parametrize(
    "change, split, message",
    [
        (
            {"split": "val"},
            "tset",
            "p.csv: --split: expected val | test, got tset; did you mean te",
        ),
        ({}, "test", "p.csv: expected a column split for --split test, got image, side, landmark,"),
    ],
)
def test_a_split_that_the_predictions_do_not_have_is_an_error(
    tmp_path, capsys, change, split, message
):
    table = pd.concat([PREDICTED.assign(**change), PREDICTED.assign(side="all", split="test")])
    table = table if change else table.drop(columns="split")
    table.to_csv(tmp_path / "p.csv", index=False)
    given = ["predictions", str(tmp_path / "p.csv"), str(tmp_path / "o"), "--to", "pg"]
    assert commands.main([*given, "--split", split]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_the_command_line_takes_na_and_none_for_names_and_no_name_for_an_error(tmp_path, capsys):
    rows = "None,all,NA,1,2,\nNone,all,null,,NaN,0.5\n007,all,NA,3,4,1\n"
    (tmp_path / "p.csv").write_text("image,side,landmark,x,y,peak\n" + rows)
    given = ["predictions", str(tmp_path / "p.csv"), str(tmp_path / "o"), "--to", "coco"]
    assert commands.main(given) == 0
    whole = json.loads((tmp_path / "o" / "predictions.json").read_text())
    assert [entry["file_name"] for entry in whole["images"]] == ["None", "007"]
    assert whole["categories"][0]["keypoints"] == ["NA"]
    assert [entry["keypoints"] for entry in whole["annotations"]] == [[1, 2, 2], [3, 4, 2]]
    assert [entry.get("score") for entry in whole["annotations"]] == [None, 1]
    (tmp_path / "p.csv").write_text("image,side,landmark,x,y\na.png,all,,1,2\n")
    assert commands.main([*given[:2], str(tmp_path / "p"), "--to", "pg"]) == 1
    assert "landmark: expected a name in each row, got none in some" in capsys.readouterr().err
