"""The dataset check lists every planted fault, and nothing on a sound dataset."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import write_native
from PIL import Image

from lmkit import commands, data, lookalikes
from lmkit.audit import check_dataset
from lmkit.config import InputError, make_config
from lmkit.plots_check import offenders
from lmkit.textfiles import read_text_files


def scene(seed: int, size: tuple[int, int] = (60, 110)) -> np.ndarray:
    """(H, W) uint8: a smooth random picture, another one for each seed."""
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (6, 9), dtype=np.uint8))
    return np.asarray(small.resize((size[1], size[0]), Image.Resampling.BICUBIC))


@pytest.fixture
def sound(tmp_path):
    """Ten patients with pictures that do not look alike."""
    folder = write_native(tmp_path / "sound", n=10)
    for i, path in enumerate(sorted((folder / "images").iterdir())):
        Image.fromarray(scene(i)).save(path)
    return folder


def change(folder, file: str, row: int, **cells) -> None:
    """Other cells in a row of a CSV file, counted as in the file: the header is row 1."""
    table = pd.read_csv(folder / file, dtype=str, keep_default_na=False)
    for column, value in cells.items():
        table.loc[row - 2, column] = str(value)
    table.to_csv(folder / file, index=False)


def listed(check) -> set[tuple[str, str]]:
    return set(zip(check.problems["problem"], check.problems["image"], strict=True))


def test_a_sound_dataset_has_no_problem_and_its_counts(sound):
    check = check_dataset(sound)
    assert check.problems.empty
    counts = check.counts.set_index("what")["value"]
    assert (counts["images"], counts["patients"], counts["points"]) == (10, 10, 40)
    assert counts["train: images, patients"] == "6, 6"
    assert counts["images with labels, left"] == 10
    assert counts["sizes"] == "1, most often 110 x 60 (10 images)"
    assert counts["spacing in y, mm"] == "0.3 to 0.3"
    assert offenders(check) is None


def test_many_faults_at_once_are_all_listed_with_file_and_row(sound):
    change(sound, "images.csv", 3, split="training")  # p01
    change(sound, "images.csv", 5, spacing_x_mm="wide")  # p03
    (sound / "images" / "p04.png").unlink()
    (sound / "images" / "p05.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    change(sound, "landmarks.csv", 26, x="12;5")  # p06 left tip
    change(sound, "landmarks.csv", 31, landmark="tipp")  # p07
    Image.fromarray(scene(99)).save(sound / "images" / "extra.png")
    check = check_dataset(sound)
    with pytest.raises(InputError):
        data.open_dataset(sound)
    rows = check.problems.set_index("image")
    assert rows.loc["p01.png", "row"] == "3"
    assert rows.loc["p01.png", "expected"] == "split: train | val | test"
    assert rows.loc["p01.png", "got"] == "'training'"
    assert rows.loc["p03.png", "problem"] == "spacing"
    assert rows.loc["p04.png", "problem"] == "missing image"
    assert rows.loc["p05.png", "problem"] == "unreadable image"
    assert ("not a number", "p06.png") in listed(check)
    assert ("points missing", "p06.png") in listed(check)
    assert ("unknown name", "p07.png") in listed(check)
    assert ("image without labels", "extra.png") in listed(check)
    assert check.problems["stops"].tolist() == sorted(check.problems["stops"], reverse=True)
    assert not any(check.problems["problem"] == "labels without an image")  # of p01, p03, p04
    assert set(check.landmarks["image"]) == {f"p{i:02d}.png" for i in (0, 2, 5, 6, 7, 8, 9)}


def test_labels_of_an_image_that_is_in_no_table_are_listed_once(sound):
    text = (sound / "landmarks.csv").read_text()
    (sound / "landmarks.csv").write_text(text + "no.png,left,tip,1,2\nno.png,left,base,1,2\n")
    (row,) = check_dataset(sound).problems.to_dict("records")
    assert (row["problem"], row["image"]) == ("labels without an image", "no.png")
    assert row["row"] == "42, 43"


@pytest.mark.parametrize("x, y, inside", [(-0.5, 0, True), (109.5, 59.5, True), (-0.6, 5, False),
                                          (5, 59.6, False)])  # fmt: skip
def test_a_point_is_inside_to_the_edge_of_the_outer_pixels(sound, x, y, inside):
    change(sound, "landmarks.csv", 2, x=x, y=y)
    check = check_dataset(sound, pixels=False)
    assert check.problems.empty == inside
    assert inside or check.problems["problem"].tolist() == ["point outside the image"]
    assert inside or f"x {x:.1f}, y {y:.1f}" in check.problems["got"].tolist()


def test_copies_are_found_whatever_was_done_to_them(sound):
    picture = scene(0)
    Image.fromarray(picture).save(sound / "images" / "p03.png", compress_level=1)
    Image.fromarray(picture).resize((220, 120)).save(sound / "images" / "p05.png")
    brighter = np.clip(picture * 0.8 + 30, 0, 255).astype(np.uint8)
    Image.fromarray(brighter).save(sound / "images" / "p09.png")
    rows = check_dataset(sound).problems.set_index("image")
    assert rows.loc["p03.png", "problem"] == "same picture"
    assert rows.loc["p05.png", "problem"] == "nearly the same picture"
    assert rows.loc["p09.png", "got"] == "that of p00.png (train and test)"
    assert "the same patient" in rows.loc["p09.png", "to_do"]
    assert len(rows) == 3


def test_blank_pictures_are_listed_as_blank_and_not_as_copies(sound):
    for name, grey in (("p02", 0), ("p06", 90)):
        Image.fromarray(np.full((60, 110), grey, np.uint8)).save(sound / "images" / f"{name}.png")
    assert listed(check_dataset(sound)) == {("blank image", "p02.png"), ("blank image", "p06.png")}


def test_a_look_depends_on_the_picture_and_not_on_its_contrast():
    looks = [lookalikes.look_at(p) for p in (scene(1), scene(2), 255 - scene(1), scene(1) // 2)]
    assert list(lookalikes.pairs(looks)) == [(0, 3, False)]
    assert list(lookalikes.pairs([])) == []


@pytest.mark.parametrize(
    "cells, problem",
    [
        ({"spacing_x_mm": "", "spacing_y_mm": ""}, "spacing missing"),
        ({"spacing_x_mm": 2, "spacing_y_mm": 3}, "spacing: odd"),
        ({"spacing_x_mm": 0.3, "spacing_y_mm": 0.2}, "spacing: x and y exchanged"),
        ({"spacing_x_mm": 0.21, "spacing_y_mm": 0.31}, ""),
    ],
)
def test_a_spacing_that_does_not_fit_the_others_is_listed(sound, cells, problem):
    change(sound, "images.csv", 6, **cells)
    wanted = {(problem, "p04.png")} if problem else set()
    assert listed(check_dataset(sound, pixels=False)) == wanted


def test_spacings_that_differ_from_image_to_image_by_nature_are_not_odd(sound):
    table = pd.read_csv(sound / "images.csv")
    spacing = np.geomspace(0.05, 0.24, 10)
    table.assign(spacing_x_mm=spacing, spacing_y_mm=spacing).to_csv(
        sound / "images.csv", index=False
    )
    assert check_dataset(sound, pixels=False).problems.empty


def test_a_dataset_without_any_spacing_says_so_once(sound):
    table = pd.read_csv(sound / "images.csv").drop(columns=["spacing_x_mm", "spacing_y_mm"])
    table.to_csv(sound / "images.csv", index=False)
    (row,) = check_dataset(sound, pixels=False).problems.to_dict("records")
    assert (row["problem"], row["image"]) == ("spacing missing", "")


@pytest.mark.parametrize("images", [range(2, 12), [6]])
def test_the_check_says_that_a_missing_spacing_stops_training_just_as_training_does(
    sound, images, capsys
):
    for row in images:
        change(sound, "images.csv", row, spacing_x_mm="", spacing_y_mm="")
    (row,) = check_dataset(sound, pixels=False).problems.to_dict("records")
    assert row["stops"]
    assert "spacing_x_mm" in row["to_do"]
    assert "with -p spacing_mm 1 each mm in tables and figures is a pixel" in row["to_do"]
    commands.main(["check", str(sound)])
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "1 problem, 1 of them to be mended before training"
    with pytest.raises(InputError, match="a pixel spacing for every image"):
        data.open_for(make_config({"dataset": str(sound)}))
    assert check_dataset(sound, pixels=False, spacing_mm=(0.2, 0.3)).problems.empty


def test_problems_that_stop_come_first_whoever_found_them(sound):
    change(sound, "landmarks.csv", 2, x=-7)
    change(sound, "images.csv", 6, spacing_x_mm="", spacing_y_mm="")
    assert check_dataset(sound, pixels=False).problems["problem"].tolist() == [
        "spacing missing",
        "point outside the image",
    ]


def test_a_spacing_other_than_the_dicom_headers_is_listed(sound):
    from test_formats import RAMP, write_dicom

    for i, cells in ((1, (0.2, 0.3)), (2, (0.3, 0.2))):
        write_dicom(sound / "images" / f"p0{i}.dcm", RAMP + i, PixelSpacing=[0.3, 0.2])
        change(sound, "images.csv", i + 2, image=f"p0{i}.dcm", spacing_x_mm=cells[0],
               spacing_y_mm=cells[1])  # fmt: skip
        text = (sound / "landmarks.csv").read_text().replace(f"p0{i}.png", f"p0{i}.dcm")
        (sound / "landmarks.csv").write_text(text)
        (sound / "images" / f"p0{i}.png").unlink()
    found = check_dataset(sound, pixels=False).problems
    found = found[found["problem"] == "spacing other than the DICOM header's"]
    assert found["image"].tolist() == ["p02.dcm"]
    assert found["got"].tolist() == ["0.3, 0.2 mm, x and y exchanged"]


def test_an_image_on_its_side_or_a_thumbnail_is_listed(sound):
    Image.fromarray(scene(3).T).save(sound / "images" / "p03.png")
    Image.fromarray(scene(4, (20, 37))).save(sound / "images" / "p04.png")
    found = {pair for pair in listed(check_dataset(sound)) if pair[0].startswith("size")}
    assert found == {("size: turned", "p03.png"), ("size: unusual", "p04.png")}


def test_a_patient_in_two_splits_is_listed(sound):
    change(sound, "images.csv", 11, patient="p0")
    (row,) = check_dataset(sound).problems.to_dict("records")
    assert row["problem"] == "patient in two splits"
    assert "p0 in train and test" in row["got"]


def test_patients_that_differ_in_capitals_or_spaces_alone_are_listed(sound):
    change(sound, "images.csv", 2, patient="Anna B")
    change(sound, "images.csv", 11, patient="ANNA  B")  # in another split
    check = check_dataset(sound)
    assert listed(check) == {("patients alike", "")}
    assert check.problems["got"].item() == "'Anna B' and 'ANNA  B'"
    assert not check.problems["stops"].item()


def test_a_broken_dataset_yaml_does_not_hide_what_is_wrong_with_the_rows(sound):
    (sound / "dataset.yaml").write_text("landmarks: [tip, base\n")
    change(sound, "landmarks.csv", 2, x="-")
    check = check_dataset(sound)
    assert ("not a number", "p00.png") in listed(check)
    assert len(check.landmarks) == 39
    (sound / "landmarks.csv").unlink()
    assert any("landmarks.csv" in file for file in check_dataset(sound).problems["file"])


def test_other_formats_are_checked_row_by_row_too(tmp_path):
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    for i, name in enumerate("abcd"):
        Image.fromarray(scene(i)).save(folder / "images" / f"{name}.png")
    (folder / "labels.csv").write_text(
        "image,x1,y1,x2,y2\na.png,1,2,3,4\nb.png,one,2,3,4\nno.png,1,2,3,4\nc.png,1,2,,\n"
    )
    found = listed(check_dataset(folder))
    assert ("not a number", "b.png") in found
    assert ("missing image", "no.png") in found
    assert ("points missing", "c.png") in found
    assert ("image without labels", "d.png") in found
    (folder / "labels.csv").unlink()
    (folder / "labels.json").write_text(json.dumps({"shapes": [], "imagePath": "a.png"}))
    (folder / "broken.json").write_text("{")
    found = check_dataset(folder).problems
    assert found["file"].str.contains("broken.json").any()
    assert (found["problem"] == "image without labels").sum() == 4


def test_the_same_fault_in_many_rows_of_a_file_is_one_line_that_says_what_to_do(tmp_path):
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    lines = ["image,side,x1,y1,x2,y2"]
    for i, side in enumerate([*["rechts", "links"] * 5, "mitte"]):
        Image.fromarray(scene(i)).save(folder / "images" / f"{i}.png")
        lines.append(f"{i}.png,{side},1,2,3,4")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    rows = check_dataset(folder).problems
    named = rows[rows["problem"] == "unknown name"]
    assert named["got"].tolist() == [
        "'rechts', 5 times, here first",
        "'links', 5 times, here first",
        "'mitte'",
    ]
    assert named["row"].tolist() == ["2", "3", "12"]
    assert named["image"].tolist() == ["0.png", "1.png", "10.png"]
    assert set(named["to_do"]) == {"rename it in the file to left or right, the patient's own side"}
    assert "image without labels" not in set(rows["problem"])  # they have some


def test_text_files_with_a_wrong_line_are_left_out_and_listed(tmp_path):
    folder = tmp_path / "old"
    for part in ("images", "annotations"):
        (folder / part).mkdir(parents=True)
    for i, text in enumerate(("1,2\n3,4\n", "1,2\n3;4\n", "1,2\n")):
        Image.fromarray(scene(i)).save(folder / "images" / f"{i}.png")
        (folder / "annotations" / f"{i}.txt").write_text(text)
    (folder / "dataset.yaml").write_text("spacing_mm: 0.1\n")
    found = check_dataset(folder).problems
    assert found.loc[found["stops"], "file"].map(lambda f: f.rsplit("/", 1)[1]).tolist() == [
        "1.txt",
        "2.txt",
    ]
    with pytest.raises(InputError):
        read_text_files(folder)


def test_a_folder_beside_left_and_right_whose_labels_are_passed_over_is_listed(tmp_path):
    folder = tmp_path / "old"
    for i, side in enumerate(("right", "Links")):
        for part in ("images", "annotations"):
            (folder / part / side).mkdir(parents=True)
        Image.fromarray(scene(i)).save(folder / "images" / side / "0.png")
        (folder / "annotations" / side / "0.txt").write_text("1,2\n3,4\n")
    (folder / "dataset.yaml").write_text("spacing_mm: 0.1\n")
    rows = check_dataset(folder).problems.set_index("problem")
    assert rows.loc["folder that is not read", "file"] == str(folder / "annotations" / "Links")
    assert not rows.loc["folder that is not read", "stops"]
    with pytest.warns(UserWarning, match="Links: expected left and right, got a folder of labels"):
        data.open_dataset(folder)


def test_an_opened_dataset_can_be_checked_as_well(sound):
    change(sound, "landmarks.csv", 2, x=-7)
    check = check_dataset(data.open_dataset(sound))
    assert listed(check) == {("point outside the image", "p00.png")}


def test_cells_that_no_problem_fills_are_empty_texts_without_a_warning(sound, recwarn):
    Image.fromarray(scene(99)).save(sound / "images" / "extra.png")
    (row,) = check_dataset(sound, pixels=False).problems.to_dict("records")
    assert (row["problem"], row["row"], row["stops"]) == ("image without labels", "", False)
    assert not [str(warning.message) for warning in recwarn]


def test_a_folder_without_labels_is_one_problem_and_a_missing_one_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    check = check_dataset(tmp_path / "empty")
    assert check.problems["stops"].tolist() == [True]
    assert "an empty folder" in check.problems["got"][0]
    with pytest.raises(InputError, match="expected a dataset folder, which is missing"):
        check_dataset(tmp_path / "no")


def test_the_contact_sheet_shows_an_image_of_each_problem_first(sound):
    (sound / "images" / "p05.png").write_bytes(b"no")
    for row in (2, 6, 10):
        change(sound, "landmarks.csv", row, y=75)
    figure = offenders(check_dataset(sound), n=3, columns=2)
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert [title.split("\n")[0] for title in titles] == [
        "unreadable image",
        "point outside the image",
        "point outside the image",
    ]
    outside = figure.axes[1]
    assert outside.get_ylim()[0] > 75  # the point can be seen
    plt.close(figure)


def test_the_command_line_lists_the_problems(sound, capsys):
    change(sound, "landmarks.csv", 2, x="?")
    assert commands.main(["check", str(sound)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert any("landmarks.csv row 2: expected a number, got '?'" in line for line in said)
    assert said[-1] == "2 problems, 1 of them to be mended before training"


def test_the_ultrasound_set_has_one_point_outside_and_copies_of_one_patient(shared_data):
    check = check_dataset(shared_data / "us_hc18")
    kinds = check.problems["problem"].value_counts()
    assert kinds["point outside the image"] == 1
    assert set(kinds.index) == {
        "point outside the image",
        "same picture",
        "nearly the same picture",
    }
    patient = data.open_dataset(shared_data / "us_hc18").images.set_index("image")["patient"]
    copies = check.problems[check.problems["got"].str.startswith("that of")]
    for row in copies.itertuples():
        assert patient[row.image] == patient[row.got.split()[2]]
