"""Which file a label's path means, and whose image it is where no file says so."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmkit import data
from lmkit.config import InputError
from lmkit.places import find_image, usual_patients


def picture(path: Path, grey: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((5, 7), grey, np.uint8)).save(path)
    return path


def wide(folder: Path, *names: str) -> Path:
    (folder / "labels.csv").write_text("image,x1,y1\n" + "".join(f"{n},1,2\n" for n in names))
    return folder


@pytest.mark.parametrize(
    "images, patients",
    [
        (["a.png", "b.png"], ["a", "b"]),
        (["x/a.png", "y/b.png"], ["a", "b"]),
        (["left/a.png", "right/a.png", "left/b.png"], ["a", "a", "b"]),
        (["p0/left.png", "p0/right.png", "p1/left.png"], ["p0", "p0", "p1"]),
        (["p0/left/1.png", "p0/right/1.png", "p1/left/1.png"], ["p0", "p0", "p1"]),
        (["p1/img.png", "p2/img.png"], ["p1/img", "p2/img"]),
        (["train/1.png", "train/2.png", "val/1.png"], ["train/1", "train/2", "val/1"]),
        (
            [f"p{i // 2}/{i}.png" for i in range(10)],
            [f"p{i // 2}" for i in range(10)],
        ),
        ([f"p{i // 2}/{i}.png" for i in range(8)], [str(i) for i in range(8)]),  # kinds, perhaps
        ([f"p{i // 11}/{i}.png" for i in range(55)], [str(i) for i in range(55)]),
        ([f"p{i}/{i}.png" for i in range(9)], [str(i) for i in range(9)]),
        (["train/p0/a.png", "train/p0/b.png", "val/p1/a.png"], ["train/p0"] * 2 + ["val/p1"]),
    ],
)
def test_the_usual_patient_is_the_file_name_unless_folders_say_more(images, patients):
    assert list(usual_patients(images).values()) == patients


def test_the_images_of_one_patients_folder_stay_in_one_split_and_it_is_said(tmp_path):
    names = [f"p{i}/{side}.png" for i in range(6) for side in ("left", "right")]
    for i, name in enumerate(names):
        picture(tmp_path / "images" / name, i)
    with pytest.warns(UserWarning, match=r"12; .* p0/left.png as 'p0'"):
        images = data.open_dataset(wide(tmp_path, *names)).images
    assert images["patient"].tolist() == [name[:2] for name in names]
    assert images.groupby("patient")["split"].nunique().max() == 1


def test_a_label_of_another_folder_does_not_take_the_image_of_that_name(tmp_path):
    picture(tmp_path / "images" / "img.png")
    with pytest.raises(InputError, match=r"row 2: image: expected a file .* got 'p2/img.png'"):
        data.open_dataset(wide(tmp_path, "p2/img.png"))


@pytest.mark.parametrize(
    "name",
    ["C:\\xray\\p1\\img.png", "/home/me/p1/img.png", "images/p1/img.png", "../set/p1/img.png"],
)
def test_a_path_of_another_computer_is_found_by_its_end(tmp_path, name):
    for i in (1, 2):
        picture(tmp_path / "set" / "images" / f"p{i}" / "img.png", i)
    found = find_image(tmp_path / "set", name, "labels.csv row 2")
    assert found == tmp_path / "set" / "images" / "p1" / "img.png"


@pytest.mark.parametrize("second", ["images/a.jpg", "a.png"])
def test_two_different_files_for_one_name_are_both_named(tmp_path, second):
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / second, 200)
    with pytest.raises(InputError) as raised:
        find_image(tmp_path, "a" if second.endswith("jpg") else "a.png", "labels.csv row 2")
    assert "labels.csv row 2: image: expected one file" in str(raised.value)
    assert "images/a.png" in str(raised.value)
    assert second in str(raised.value)


def test_a_copy_of_an_image_in_the_root_is_no_second_image(tmp_path):
    for place in ("images/a.png", "a.png"):
        picture(tmp_path / place)
    assert find_image(tmp_path, "a.png", "labels.csv row 2").name == "a.png"


def test_a_file_beside_the_label_goes_before_one_of_that_name_elsewhere(tmp_path):
    picture(tmp_path / "images" / "a.png")
    beside = picture(tmp_path / "p1" / "a.png", 200)
    assert find_image(tmp_path, "a.png", "a.json", beside.parent) == beside


def test_labels_of_a_patients_folder_take_the_image_of_that_patients_folder(tmp_path):
    picture(tmp_path / "images" / "a.png")
    own = picture(tmp_path / "images" / "p1" / "a.png", 200)
    for number in (1, 2):
        (tmp_path / "labels" / f"p{number}").mkdir(parents=True)
    assert find_image(tmp_path, "a.png", "a.json", tmp_path / "labels" / "p1") == own
    other = find_image(tmp_path, "a.png", "a.json", tmp_path / "labels" / "p2")
    assert other == tmp_path / "images" / "a.png"
    beside = picture(tmp_path / "labels" / "p1" / "a.png", 100)
    assert find_image(tmp_path, "a.png", "a.json", tmp_path / "labels" / "p1") == beside
