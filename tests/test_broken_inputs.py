"""Broken inputs: each is one line saying file, place, expected and got, and no other exception."""

import json
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_formats import RAMP, coco, keypoint, labelme, shape, write_dicom

from lmkit import data
from lmkit.audit import check_dataset
from lmkit.config import InputError
from lmkit.formats import FORMATS
from lmkit.images import image_size, read_image

H, W = 60, 110
LABEL = "image,x1,y1\na.png,1,2\nb.png,3,4\n"
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {}


def breaks(expected: str):
    """Registers a function that writes a broken dataset into a folder with images/a.png, b.png."""

    def keep(write: Callable[[Path], None]):
        BROKEN[write.__name__] = write, expected
        return write

    return keep


def native(folder: Path, images: str = "", landmarks: str = "", about: str = "") -> None:
    """A native folder of the two images; texts replace the files' own."""
    (folder / "dataset.yaml").write_text(about or "landmarks: [tip, base]\nsides: []\n")
    (folder / "images.csv").write_text(images or "image,patient\na.png,1\nb.png,2\n")
    rows = "a.png,tip,1,2\na.png,base,3,4\nb.png,tip,5,6\n"
    (folder / "landmarks.csv").write_text(landmarks or f"image,landmark,x,y\n{rows}")


def rows(*lines: str) -> str:
    return "\n".join(["image,landmark,x,y", "a.png,tip,1,2", "b.png,tip,5,6", *lines]) + "\n"


# native tables


@breaks("landmarks.csv row 4: x: expected a number, got 'nan'")
def nan_for_a_coordinate(folder):
    native(folder, landmarks=rows("a.png,base,nan,4"))


@breaks("landmarks.csv row 4: y: expected a number, got '4 mm'")
def text_in_a_number(folder):
    native(folder, landmarks=rows("a.png,base,3,4 mm"))


@breaks("landmarks.csv row 4: y: expected a number, got '1e999'")
def a_number_beyond_all_numbers(folder):
    native(folder, landmarks=rows("a.png,base,3,1e999"))


@breaks("landmarks.csv row 4: expected each landmark once, got tip of a.png again, first in row 2")
def a_row_twice(folder):
    native(folder, landmarks=rows("a.png,tip,1,2"))


@breaks("landmarks.csv row 4: expected 4 cells, got more; is there a decimal comma?")
def decimal_commas_between_commas(folder):
    native(folder, landmarks=rows("a.png,base,3,5,4,5"))


@breaks("landmarks.csv row 4: y: expected a number, got ''")
def a_row_cut_short(folder):
    native(folder, landmarks=rows("a.png,base,3"))


@breaks("landmarks.csv row 1: expected columns image, landmark, x, y, got an empty file")
def an_empty_file(folder):
    native(folder)
    (folder / "landmarks.csv").write_text("")


@breaks("landmarks.csv: expected rows under the header, got none")
def a_header_alone(folder):
    native(folder, landmarks="image,landmark,x,y\n")


@breaks("images.csv: expected UTF-8 text, got another encoding; save it")
def another_encoding(folder):
    native(folder)
    (folder / "images.csv").write_bytes("image,patient\na.png,Müller\n".encode("latin-1"))


@breaks("images.csv: expected UTF-8 text, got another encoding; save it")
def utf_16(folder):
    native(folder)
    (folder / "images.csv").write_bytes("image,patient\na.png,1\n".encode("utf-16"))


@breaks("images.csv: expected a readable CSV file, got: field larger than field limit")
def an_endless_cell(folder):
    native(folder, images=f"image,patient\na.png,{'9' * 200_000}\n")


@breaks("images.csv row 2: image: expected a file in")
def a_path_out_of_the_folder(folder):
    native(folder, images="image,patient\n../../../etc/passwd,1\n")


@breaks("images.csv row 2: image: expected a file in")
def an_absolute_path(folder):
    native(folder, images="image,patient\n/etc/passwd,1\n")


@breaks("images.csv row 3: image: expected a file in")
def a_link_out_of_the_folder(folder):
    (folder.parent / "outside.png").write_bytes((folder / "images" / "a.png").read_bytes())
    (folder / "images" / "b.png").unlink()
    (folder / "images" / "b.png").symlink_to(folder.parent / "outside.png")
    native(folder)


@breaks("images.csv row 3: image: expected")
def links_in_a_circle(folder):
    (folder / "images" / "b.png").unlink()
    (folder / "images" / "b.png").symlink_to(folder / "images" / "c.png")
    (folder / "images" / "c.png").symlink_to(folder / "images" / "b.png")
    native(folder)


@breaks("images.csv row 2: image: expected a file in")
def a_zero_byte_in_a_name(folder):
    native(folder, images="image,patient\na\0.png,1\n")


@breaks("images.csv row 2: image: expected a file in")
def a_name_longer_than_names_can_be(folder):
    native(folder, images=f"image,patient\n{'a' * 5000}.png,1\n")


@breaks("images.csv row 3: image: expected")
def a_line_break_in_a_name(folder):
    native(folder, images='image,patient\n"a\n.png",1\n')


@breaks("images.csv row 2: image: expected")
def a_folder_for_an_image(folder):
    (folder / "images" / "c.png").mkdir()
    native(folder, images="image,patient\nc.png,1\n")


@breaks("dataset.yaml line 1: expected YAML, got: could not determine a constructor")
def a_yaml_tag(folder):
    native(folder, about="landmarks: !!python/object/apply:os.system ['true']\n")


@breaks("dataset.yaml: expected YAML, got lists nested too deeply")
def deep_yaml(folder):
    native(folder, about="landmarks: " + "[" * 1000 + "]" * 1000)


@breaks("dataset.yaml line 2: expected YAML, got: expected a plain value, got the alias *a")
def yaml_of_a_billion_laughs(folder):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for one, two in zip("abcdefghij", "bcdefghijk", strict=True):
        lines.append(f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]")
    native(folder, about="\n".join([*lines, "landmarks: *k"]))


@breaks("dataset.yaml: landmarks: expected a list of different names")
def landmarks_that_are_switches(folder):
    native(folder, about="landmarks: [yes, no]\n")


@breaks("dataset.yaml: expected lines of `key: value`, got list")
def yaml_that_is_a_list(folder):
    native(folder, about="- tip\n- base\n")


@breaks("dataset.yaml line 3: expected YAML, got: the key 'spacing_mm' again, given before")
def a_key_twice(folder):
    native(folder, about="landmarks: [tip]\nspacing_mm: 0.1\nspacing_mm: 0.2\n")


@breaks("landmarks.csv row 4: x: expected up to 1000000 px from the image's first pixel, got 1e+08")
def a_coordinate_that_is_in_no_image(folder):
    native(folder, landmarks=rows("a.png,base,1e8,4"))


@breaks("images.csv row 3: spacing_y_mm: expected 0.0001 to 100 mm per pixel, got 1e+308")
def a_spacing_of_a_light_year(folder):
    native(folder, images="image,patient,spacing_x_mm,spacing_y_mm\na.png,1,,\nb.png,2,1,1e308\n")


@breaks("dataset.yaml: spacing_mm: expected one or two numbers > 0, got '0,17'; write 0.17 with a")
def a_spacing_with_a_decimal_comma(folder):
    native(folder, about="landmarks: [tip, base]\nsides: []\nspacing_mm: 0,17\n")


@breaks("up to 3 times, got [1, 25]; write 1.25 with a decimal point")
def a_spacing_with_a_decimal_comma_in_brackets(folder):
    native(folder, about="landmarks: [tip, base]\nsides: []\nspacing_mm: [1,25]\n")


@breaks("images.csv row 2: spacing_x_mm: expected a number, got '0,17'; write 0.17 with a decimal")
def a_spacing_with_a_decimal_comma_in_a_cell(folder):
    images = 'image,patient,spacing_x_mm,spacing_y_mm\na.png,1,"0,17",0.17\nb.png,2,0.1,0.1\n'
    native(folder, images=images)


@breaks("dataset.yaml: spacing_mm: expected 0.0001 to 100 mm per pixel, got 1e-07; state it in mm")
def a_spacing_in_metres(folder):
    native(folder, about="landmarks: [tip, base]\nsides: []\nspacing_mm: 0.0000001\n")


@breaks("second_reading.csv row 2: y: expected up to 1000000 px from the image's first pixel")
def an_absurd_second_reading(folder):
    native(folder)
    (folder / "second_reading.csv").write_text("image,landmark,x,y\na.png,tip,1,-1e7\n")


@breaks("corrections.csv row 2: x: expected up to 1000000 px from the image's first pixel")
def an_absurd_correction(folder):
    native(folder)
    text = "image,side,landmark,x,y,action\na.png,,tip,1e7,2,move\n"
    (folder / "corrections.csv").write_text(text)


@breaks(
    "images.csv: expected a readable CSV file, got: unexpected end of data, in the row that beg"
)
def a_quote_that_is_not_closed(folder):
    native(folder, images='image,patient,note\na.png,1,"good\nb.png,2,ok\n')


@breaks("images.csv row 2: image: expected a file in")
def a_linked_folder_of_images_outside(folder):
    native(folder)
    (folder / "images").rename(folder.parent / "elsewhere")
    (folder / "images").symlink_to(folder.parent / "elsewhere")


# text files, wide tables


@breaks("a.txt line 2: expected x,y, got '3;4'")
def semicolons_in_a_text_file(folder):
    (folder / "annotations").mkdir()
    for name in "ab":
        (folder / "annotations" / f"{name}.txt").write_text("1,2\n3;4\n")


@breaks("b.txt: expected 2 lines of x,y, one per landmark, got 3")
def a_line_too_many(folder):
    (folder / "annotations").mkdir()
    for name in "acdb":
        (folder / "images" / f"{name}.png").write_bytes((folder / "images/a.png").read_bytes())
        (folder / "annotations" / f"{name}.txt").write_text("1,2\n3,4\n")
    (folder / "annotations" / "b.txt").write_text("1,2\n3,4\n5,6\n")


@breaks("got [] and ['left']; call images/Links and annotations/Rechts left or right, if")
def a_folder_of_a_side_in_another_language(folder):
    for place in ("images/Links", "annotations/Rechts", "annotations/left"):
        (folder / place).mkdir(parents=True)


@breaks(".tiff .dcm .dicom), found none; call Links/ left or right, if it is a side")
def all_folders_in_another_language(folder):
    (folder / "images").rename(folder / "Links")
    (folder / "images").mkdir()
    (folder / "Links").rename(folder / "images" / "Links")
    (folder / "annotations" / "Links").mkdir(parents=True)


@breaks("(1 such files); b.webp is there, in a format that is not read; save it as one of png jpg")
def a_picture_in_a_format_that_is_not_read(folder):
    (folder / "annotations").mkdir()
    for name in "ab":
        (folder / "annotations" / f"{name}.txt").write_text("1,2\n")
    (folder / "images" / "b.png").rename(folder / "images" / "b.webp")


@breaks("or its images/, got 'b.png'; b.webp is there, in a format")
def a_table_of_a_picture_in_a_format_that_is_not_read(folder):
    (folder / "images" / "b.png").rename(folder / "images" / "b.webp")
    (folder / "labels.csv").write_text("image,x1,y1\nb.png,1,2\n")


@breaks("b.txt: expected an image of that name in")
def a_text_file_without_its_image(folder):
    (folder / "annotations").mkdir()
    for name in "ab":
        (folder / "annotations" / f"{name}.txt").write_text("1,2\n")
    (folder / "images" / "b.png").unlink()


@breaks("a.txt line 1: x: expected up to 1000000 px from the image's first pixel, got 1e+99")
def an_absurd_line(folder):
    (folder / "annotations").mkdir()
    for name, text in (("a", "1e99,2\n"), ("b", "1,2\n")):
        (folder / "annotations" / f"{name}.txt").write_text(text)


@breaks(
    "labels.csv row 3: 1: y: expected up to 1000000 px from the image's first pixel, got -2e+06"
)
def an_absurd_cell(folder):
    (folder / "labels.csv").write_text("image,x1,y1\na.png,1,2\nb.png,3,-2e6\n")


@breaks("labels.csv row 2: spacing_x_mm: expected 0.0001 to 100 mm per pixel, got 500")
def a_spacing_in_micrometres(folder):
    (folder / "labels.csv").write_text("image,spacing_mm,x1,y1\na.png,500,1,2\n")


@breaks(
    "labels.csv: expected a readable CSV file, got: unexpected end of data, in the row that beg"
)
def a_note_whose_quote_takes_the_rows_after_it(folder):
    text = 'image,x1,y1,note\na.png,1,2,"good\nb.png,3,4,ok\n'
    (folder / "labels.csv").write_text(text)


@breaks("labels.csv row 3: 1: y: expected a number, got ''")
def half_a_point(folder):
    (folder / "labels.csv").write_text("image,x1,y1\na.png,1,2\nb.png,3,\n")


@breaks("labels.csv row 4: image: expected each image once, got 'a.png' again")
def an_image_twice_in_a_wide_table(folder):
    (folder / "labels.csv").write_text(LABEL + "a.png,1,2\n")


@breaks("labels.csv row 4: image: expected a file in")
def a_path_out_of_the_folder_in_a_wide_table(folder):
    (folder.parent / "secret.png").write_bytes((folder / "images" / "a.png").read_bytes())
    (folder / "labels.csv").write_text(LABEL + "../secret.png,1,2\n")


@breaks("labels.csv row 1: expected a column image, got Bild, Seite, x1, y1; rename the column of")
def a_wide_table_whose_columns_have_other_names(folder):
    (folder / "labels.csv").write_text("Bild;Seite;x1;y1\na.png;links;1,5;2\n")


@breaks("labels.csv row 2: side: expected left | right, got 'links'")
def another_languages_side(folder):
    (folder / "labels.csv").write_text("image,side,x1,y1\na.png,links,1,2\n")


@breaks("labels.csv row 2: spacing_x_mm: expected > 0, got -0.1")
def a_spacing_below_zero(folder):
    (folder / "labels.csv").write_text("image,spacing_mm,x1,y1\na.png,-0.1,1,2\n")


@breaks("split: expected one split per patient, got patient 1 in")
def a_patient_in_two_splits(folder):
    text = "image,patient,split,x1,y1\na.png,1,train,1,2\nb.png,1,test,3,4\n"
    (folder / "labels.csv").write_text(text)


# JSON and XML


def save(folder: Path, value: object) -> None:
    (folder / "labels.json").write_text(value if isinstance(value, str) else json.dumps(value))


def annotation(*keypoints: object, **more: object) -> dict:
    return {"id": 1, "image_id": 7, "category_id": 3, "keypoints": list(keypoints)} | more


@breaks("labels.json: expected JSON, got lists nested too deeply")
def deep_json(folder):
    save(folder, "[" * 100_000 + "]" * 100_000)


@breaks("labels.json: expected readable JSON, got: Expecting ',' delimiter")
def json_cut_short(folder):
    save(folder, json.dumps(coco(annotation(1, 2, 2, 3, 4, 2)))[:-1])


@breaks("labels.json: expected readable JSON, got: NaN, which is no JSON number")
def nan_in_json(folder):
    save(folder, coco(annotation(float("nan"), 2, 2, 3, 4, 2)))


@breaks("labels.json annotation 1: tip: x: expected a number, got '12'")
def text_for_a_number_in_json(folder):
    save(folder, coco(annotation("12", 2, 2, 3, 4, 2)))


@breaks("labels.json annotation 1: tip: x: expected up to 1000000 px from the image's first pixel")
def an_absurd_keypoint(folder):
    save(folder, coco(annotation(1e308, 2, 2, 3, 4, 2)))


@breaks("labels.json annotation 1: keypoints: expected x, y, visibility of 2 landmarks, got 5 num")
def too_few_keypoints(folder):
    save(folder, coco(annotation(1, 2, 2, 3, 4)))


@breaks("labels.json annotation 1: base: visibility: expected 0 | 1 | 2, got 7")
def an_unknown_visibility(folder):
    save(folder, coco(annotation(1, 2, 2, 3, 4, 7)))


@breaks("labels.json annotation 1: image_id: expected the id of an image, got 8")
def an_annotation_of_no_image(folder):
    save(folder, coco(annotation(1, 2, 2, 3, 4, 2, image_id=8)))


@breaks("labels.json annotation 2: expected each landmark once, got tip of a.png again")
def two_teeth_in_one_image(folder):
    save(folder, coco(annotation(1, 2, 2, 3, 4, 2), annotation(5, 6, 2, 7, 8, 2, id=2)))


@breaks("labels.json image 7: expected labels for a.png of 110 x 60 pixels, got some for 220 x 120")
def labels_of_an_image_of_another_size(folder):
    value = coco(annotation(1, 2, 2, 3, 4, 2))
    value["images"][0] |= {"width": 220, "height": 120}
    save(folder, value)


@breaks("labels.json image 7: image: expected a file in")
def a_path_out_of_the_folder_in_json(folder):
    (folder.parent / "secret.png").write_bytes((folder / "images" / "a.png").read_bytes())
    value = coco(annotation(1, 2, 2, 3, 4, 2))
    value["images"][0]["file_name"] = "../secret.png"
    save(folder, value)


@breaks("labels.json: images: expected a list of objects, got 'a.png'")
def text_for_a_list(folder):
    save(folder, coco() | {"images": "a.png"})


@breaks("expected labelled images, got no point in any")
def labels_without_a_point(folder):
    save(folder, coco(annotation(0, 0, 0, 0, 0, 0)))


@breaks("a.json shape 1: points: expected one [x, y], got [[1, 2, 3]]")
def a_point_of_three_numbers(folder):
    labelme(folder, "a", shape("tip", 1, 2) | {"points": [[1, 2, 3]]})


@breaks("a.json shape 1: landmark: expected a name, got ''")
def a_label_without_a_name(folder):
    labelme(folder, "a", shape("", 1, 2))


@breaks("a.json shape 1: landmark: expected tip | base, got 'tipp'; did you mean tip?")
def a_label_that_the_dataset_does_not_know(folder):
    (folder / "dataset.yaml").write_text("landmarks: [tip, base]")
    labelme(folder, "a", shape("tipp", 1, 2))


@breaks("labels.json task 1: image_rotation: expected 0, got 90; turn the image back")
def a_turned_image(folder):
    regions = [keypoint("tip", 1, 2, image_rotation=90)]
    save(folder, [{"id": 1, "data": {"img": "a.png"}, "annotations": [{"result": regions}]}])


@breaks("labels.xml: expected XML without DOCTYPE and entities, got them")
def xml_with_entities(folder):
    (folder / "labels.xml").write_text(
        '<!DOCTYPE a [<!ENTITY x "y">]><annotations>&x;</annotations>'
    )


@breaks("labels.xml: expected readable XML, got: no element found")
def xml_cut_short(folder):
    (folder / "labels.xml").write_text('<annotations><image name="a.png">')


@breaks("labels.xml image 'a.png': tip: expected points x,y;x,y;..., got '1'")
def half_a_point_in_xml(folder):
    text = '<annotations><image name="a.png"><points label="tip" points="1"/></image></annotations>'
    (folder / "labels.xml").write_text(text)


@breaks("got images, notes.txt")
def no_labels_at_all(folder):
    (folder / "notes.txt").write_text("to do")


# images: found when they are read


def replace(folder: Path, data: bytes, name: str = "a.png") -> None:
    (folder / "images" / name).write_bytes(data)
    (folder / "labels.csv").write_text(LABEL.replace("a.png", name))


@breaks("a.png: expected a readable image")
def a_png_cut_short(folder):
    replace(folder, (folder / "images" / "a.png").read_bytes()[:300])


@breaks("a.png: expected a readable image")
def an_image_file_without_a_byte(folder):
    replace(folder, b"")


@breaks("a.png: expected a readable image")
def a_web_page_for_an_image(folder):
    replace(folder, b"<html>404</html>")


def tiff_header(width: int, height: int) -> bytes:
    """A TIFF of a hundred bytes that says it has so many pixels."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, width)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4


@breaks("a.tif: expected a readable image")
def a_tiff_of_four_billion_pixels(folder):
    replace(folder, tiff_header(65_000, 65_000), "a.tif")


@breaks("a.tif: expected a readable image")
def a_tiff_without_the_pixels_it_states(folder):
    replace(folder, tiff_header(3_000, 2_000), "a.tif")


@breaks("a.dcm: expected a DICOM file, got: File is missing DICOM File Meta Information header")
def a_png_called_dicom(folder):
    replace(folder, (folder / "images" / "a.png").read_bytes(), "a.dcm")


@breaks("a.dcm: expected DICOM pixels that can be decoded (Explicit VR Little Endian), got:")
def dicom_without_all_its_pixels(folder):
    write_dicom(folder / "images" / "a.dcm", RAMP, Rows=50)
    replace(folder, (folder / "images" / "a.dcm").read_bytes(), "a.dcm")


@breaks("a.dcm: expected DICOM pixels that can be decoded (JPEG 2000 Image Compression (Lossless")
def dicom_in_a_compression_that_is_not_installed(folder):
    pydicom = pytest.importorskip("pydicom")
    ds = write_dicom(folder / "images" / "a.dcm", RAMP)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f" + b"\0" * 98])
    ds["PixelData"].is_undefined_length = True
    ds.save_as(folder / "images" / "a.dcm", enforce_file_format=True)
    replace(folder, (folder / "images" / "a.dcm").read_bytes(), "a.dcm")


@breaks("a.dcm: PixelSpacing: expected two numbers > 0, got [0.0, 0.1]")
def dicom_with_a_spacing_of_zero(folder):
    write_dicom(folder / "images" / "a.dcm", RAMP, PixelSpacing=[0, 0.1])
    replace(folder, (folder / "images" / "a.dcm").read_bytes(), "a.dcm")


@breaks("a.dcm: PixelSpacing: expected 0.0001 to 100 mm per pixel, got 1e-06; state it in mm")
def dicom_with_an_absurd_spacing(folder):
    write_dicom(folder / "images" / "a.dcm", RAMP, PixelSpacing=[0.1, 1e-6])
    replace(folder, (folder / "images" / "a.dcm").read_bytes(), "a.dcm")


@breaks("(Explicit VR Little Endian), got: pixels for more than 7 x 2, as Columns and Rows say")
def dicom_with_half_of_its_rows(folder):
    write_dicom(folder / "images" / "a.dcm", RAMP[:4], Rows=2)
    replace(folder, (folder / "images" / "a.dcm").read_bytes(), "a.dcm")


@breaks("(Explicit VR Little Endian), got: pixels for more than 6 x 5, as Columns and Rows say")
def dicom_with_a_column_too_few(folder):
    write_dicom(folder / "images" / "a.dcm", RAMP, Columns=6)
    replace(folder, (folder / "images" / "a.dcm").read_bytes(), "a.dcm")


@breaks("a.dcm: expected Rows and Columns > 0, got 0 and 7")
def dicom_without_rows(folder):
    write_dicom(folder / "images" / "a.dcm", RAMP, Rows=0)
    replace(folder, (folder / "images" / "a.dcm").read_bytes(), "a.dcm")


def patched(folder: Path, old: bytes, new: bytes, **tags) -> None:
    """A DICOM image a.dcm with other bytes in its header."""
    write_dicom(folder / "images" / "a.dcm", RAMP, **tags)
    data = (folder / "images" / "a.dcm").read_bytes()
    assert data.count(old) == 1
    replace(folder, data.replace(old, new), "a.dcm")


@breaks("a.dcm: expected a DICOM file, got:")
def dicom_whose_number_of_frames_is_no_number(folder):
    one = b"\x28\0\x08\0IS\x02\x00"  # (0028,0008)
    patched(folder, one + b"1 ", one + b"x ", NumberOfFrames=1)


@breaks("a.dcm: expected a DICOM file, got:")
def dicom_with_rows_of_one_byte(folder):
    patched(folder, b"\x28\0\x10\0US\x02\0", b"\x28\0\x10\0US\x01\0")


@breaks("a.dcm: expected a DICOM file, got: Unknown Value Representation")
def dicom_with_frames_of_an_unknown_kind(folder):
    frames = b"\x28\0\x08\0"
    patched(folder, frames + b"IS", frames + b"UX", NumberOfFrames=1)


@breaks(
    "a.tif: expected a readable image (png jpg jpeg bmp tif tiff dcm dicom), got: no pixel that"
)
def a_tiff_of_no_numbers(folder):
    Image.fromarray(np.full((H, W), np.nan, np.float32)).save(folder / "images" / "a.tif")
    replace(folder, (folder / "images" / "a.tif").read_bytes(), "a.tif")


@breaks("a.dcm: expected a DICOM file, got: Unknown Value Representation")
def dicom_with_rows_of_an_unknown_kind(folder):
    write_dicom(folder / "images" / "a.dcm", RAMP)
    data = (folder / "images" / "a.dcm").read_bytes()
    assert b"\x28\0\x10\0US" in data  # (0028,0010) Rows
    replace(folder, data.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0UX"), "a.dcm")


@breaks("a.dcm: expected one frame, got 3; split the file")
def a_dicom_film(folder):
    write_dicom(folder / "images" / "a.dcm", RAMP, NumberOfFrames=3)
    replace(folder, (folder / "images" / "a.dcm").read_bytes(), "a.dcm")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set" / "images").mkdir(parents=True)
    for i, name in enumerate("ab"):
        noise = np.random.default_rng(i).integers(0, 255, (H, W), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "set" / "images" / f"{name}.png")
    return tmp_path / "set"


def use(folder: Path) -> None:
    """What a run does with a dataset: open it and read every image."""
    ds = data.open_dataset(folder)
    for image in ds.images["image"]:
        ds.read(image)  # first: it decodes what the size has no use for
        ds.size(image)


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_input_is_one_line_and_the_check_lists_it(folder, name):
    write, expected = BROKEN[name]
    write(folder)
    with pytest.raises(InputError) as error:
        use(folder)
    said = str(error.value)
    assert expected in said
    assert "\n" not in said
    assert len(said) < 600
    problems = check_dataset(folder).problems
    assert problems["stops"].any()
    assert not problems["expected"].str.contains("\n").any()


def test_there_are_broken_inputs_of_every_format():
    assert len(BROKEN) >= 25
    assert len(FORMATS) == 7


# what is odd, and read all the same


def test_a_byte_order_mark_semicolons_and_decimal_commas_are_read(folder):
    native(folder)
    text = "image;landmark;x;y\na.png;tip;1,5;2\nb.png;tip;-5,25;6\n"
    (folder / "landmarks.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert data.open_dataset(folder).points("all")[:, 0].tolist() == [[1.5, 2], [-5.25, 6]]


@pytest.mark.parametrize("write", [dicom_with_rows_of_an_unknown_kind, dicom_with_rows_of_one_byte])
@pytest.mark.parametrize("read", [read_image, image_size])
def test_a_dicom_header_that_cannot_be_decoded_is_one_line_whoever_reads_it(folder, write, read):
    write(folder)
    with pytest.raises(InputError, match=r"a\.dcm: expected a DICOM file, got: "):
        read(folder / "images" / "a.dcm")


def test_a_comma_between_digits_stays_in_a_name(folder):
    """The decimal comma is one of number columns only: 1,5 and 1.5 are two patients."""
    text = "image;patient;x1;y1\na.png;1,5;1,5;2\nb.png;1.5;3;4\n"
    (folder / "labels.csv").write_text(text)
    ds = data.open_dataset(folder)
    assert ds.images["patient"].tolist() == ["1,5", "1.5"]
    assert ds.points("all")[:, 0].tolist() == [[1.5, 2], [3, 4]]
    (folder / "labels.csv").unlink()
    native(folder, images="image;patient;spacing_x_mm\na.png;1,5;0,1\nb.png;1.5;0,2\n")
    ds = data.open_dataset(folder)
    assert ds.images["patient"].tolist() == ["1,5", "1.5"]
    assert ds.spacing_mm[:, 0].tolist() == [0.1, 0.2]


def test_a_quoted_cell_of_several_lines_is_read(folder):
    text = 'image,x1,y1,note\na.png,1,2,"good,\nbut ""dark"""\nb.png,3,4,ok\n'
    (folder / "labels.csv").write_text(text)
    assert data.open_dataset(folder).images["image"].tolist() == ["a.png", "b.png"]


def test_a_far_pixel_of_a_float_image_does_not_darken_the_others(folder):
    values = np.linspace(-1, 3, H * W, dtype=np.float32).reshape(H, W)
    Image.fromarray(values).save(folder / "images" / "plain.tif")
    values[0, 5:8] = np.inf, -np.inf, np.nan
    Image.fromarray(values).save(folder / "images" / "odd.tif")
    plain, odd = (read_image(folder / "images" / f"{n}.tif") for n in ("plain", "odd"))
    assert odd[0, 5:8].tolist() == [65535, 0, 0]
    assert np.array_equal(np.delete(odd, [5, 6, 7]), np.delete(plain, [5, 6, 7]))


def test_a_camera_s_jpeg_of_two_pictures_is_read(folder):
    first, second = (Image.open(folder / "images" / f"{n}.png").copy() for n in "ab")
    path = folder / "images" / "c.jpg"
    first.save(path, format="MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(path).format == "MPO"
    assert read_image(path).shape == (H, W)


def test_labels_in_two_formats_are_named_and_the_first_is_read(folder):
    native(folder)
    (folder / "annotations").mkdir()
    for name in "ab":
        (folder / "annotations" / f"{name}.txt").write_text("50,50\n51,51\n")
    (folder / "labels.csv").write_text("image,tip_x,tip_y\na.png,1,2\nb.png,3,4\n")
    said = r"got the native folder, which is read, and text files \(annotations/a.txt\), a wide CSV"
    with pytest.warns(UserWarning, match=said):
        assert data.open_dataset(folder).points("all")[0, 0].tolist() == [1, 2]
    assert "taken for granted" in set(check_dataset(folder).problems["problem"])
    ds = data.open_dataset(folder / "labels.csv")  # named, so the others do not matter: no warning
    assert ds.points("all")[:, 0].tolist() == [[1, 2], [3, 4]]


def test_a_runs_predictions_beside_the_labels_are_no_labels(folder):
    native(folder)
    (folder / "outputs").mkdir()
    text = "split,image,landmark,x,y,x_true,y_true\nval,a.png,tip,1,2,1,2\n"
    (folder / "outputs" / "predictions.csv").write_text(text)
    assert len(data.open_dataset(folder).images) == 2  # and no warning


def test_landmarks_out_of_order_are_told_by_their_names(folder):
    native(folder, landmarks=rows("b.png,base,7,8", "a.png,base,3,4"))
    assert data.open_dataset(folder).points("all").tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


@pytest.mark.parametrize("name", ["Zahn größer №5.png", "歯.png", "a b,c.png", "e\u0301.png"])
def test_file_names_in_other_scripts_are_read(folder, name):
    os.rename(folder / "images" / "a.png", folder / "images" / name)
    table = pd.DataFrame({"image": [name, "b.png"], "x1": [1, 2], "y1": [3, 4]})
    table.to_csv(folder / "labels.csv", index=False)
    ds = data.open_dataset(folder)
    assert ds.images["image"].tolist() == [name, "b.png"]
    assert ds.read(name).shape == (H, W)


def test_an_image_20_000_pixels_wide_is_read(folder):
    Image.fromarray(np.zeros((30, 20_000), np.uint8)).save(folder / "images" / "a.png")
    (folder / "labels.csv").write_text("image,x1,y1\na.png,19999,2\nb.png,3,4\n")
    ds = data.open_dataset(folder)
    assert ds.read("a.png").shape == ds.size("a.png") == (30, 20_000)
    assert "point outside the image" not in set(check_dataset(folder).problems["problem"])


def test_a_dicom_image_without_spacing_is_read_and_listed(folder):
    write_dicom(folder / "images" / "c.dcm", RAMP)
    (folder / "labels.csv").write_text("image,spacing_mm,x1,y1\na.png,0.1,1,2\nc.dcm,,3,4\n")
    assert np.isnan(data.open_dataset(folder).spacing_mm[1]).all()
    found = check_dataset(folder).problems
    assert found.loc[found["problem"] == "spacing missing", "image"].tolist() == ["c.dcm"]


def test_images_without_a_point_are_left_out_and_counted(folder):
    (folder / "labels.csv").write_text("image,x1,y1\na.png,1,2\nb.png,,\n")
    with pytest.warns(UserWarning, match=r"1 images left out, first b.png: no point"):
        ds = data.open_dataset(folder)
    assert ds.images["image"].tolist() == ["a.png"]
    with warnings.catch_warnings(record=True) as caught:
        check_dataset(folder)
    assert not caught


@pytest.mark.parametrize("kind", ["coco", "labelme", "labelstudio"])
def test_json_with_any_value_changed_raises_nothing_else(folder, kind):
    """Each value in turn becomes null, text, a list, a number and an object."""
    regions = [keypoint("tip", 10, 20, id="r")]
    whole = {
        "coco": coco(annotation(1, 2, 2, 3, 4, 2, attributes={"side": "left"}), info={"sides": []}),
        "labelme": {"imagePath": "a.png", "imageWidth": W, "imageHeight": H,
                    "shapes": [shape("tip", 1, 2, flags={}, description="")]},
        "labelstudio": [{"id": 1, "data": {"img": "a.png"}, "annotations": [{"result": regions}]}],
    }[kind]  # fmt: skip
    text = json.dumps(whole)
    for path in _paths(whole):
        for value in (None, "x", [[]], {}, -1e300):
            changed = json.loads(text)
            _set(changed, path, value)
            (folder / "labels.json").write_text(json.dumps(changed))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # images left out
                assert "\n" not in message_of(folder)
                check_dataset(folder, pixels=False)


def message_of(folder: Path) -> str:
    """What opening the folder says; nothing where it opens."""
    try:
        data.open_dataset(folder)
    except InputError as error:
        return str(error)
    return ""


def _paths(value: object, path: tuple = ()) -> list[tuple]:
    """The places in a JSON value."""
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [path] * bool(path) + [p for k, v in inner for p in _paths(v, (*path, k))]


def _set(value: object, path: tuple, new: object) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new
