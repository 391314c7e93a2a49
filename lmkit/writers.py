"""Datasets out: the native folder, COCO, LabelMe, text files. A format is a line of `WRITERS`."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lmkit.coco import coco_of
from lmkit.fields import InputError
from lmkit.files import write_json, write_text, writing
from lmkit.images import image_size
from lmkit.labelme import labelme_of
from lmkit.tables import Tables

Notes = list[str]  # what a format cannot carry


def write_native(tables: Tables, folder: Path, measurements: object = None) -> Notes:
    """dataset.yaml, images.csv, landmarks.csv, images/, second_reading.csv: everything.

    Args:
        folder: new.
        measurements: as dataset.yaml is to declare them.
    """
    _write_about(tables, folder, measurements)
    write_text(folder / "images.csv", tables.images.to_csv(index=False))
    for name, table in (("landmarks", tables.landmarks), ("second_reading", tables.second_reading)):
        if table is not None:
            kept = table if tables.sides else table.drop(columns="side")
            write_text(folder / f"{name}.csv", kept.to_csv(index=False))
    for image, path in tables.paths.items():
        _copy(path, folder / "images" / image)
    return []


def write_coco(tables: Tables, folder: Path, measurements: object = None) -> Notes:
    """annotations.json, images/ and a dataset.yaml for what COCO has no place for."""
    sizes = {image: image_size(path) for image, path in tables.paths.items()}
    _write_about(tables, folder, measurements)
    write_json(folder / "annotations.json", coco_of(tables, sizes))
    for image, path in tables.paths.items():
        _copy(path, folder / "images" / image)
    return _second(tables)


def write_labelme(tables: Tables, folder: Path, measurements: object = None) -> Notes:
    """images/ with LabelMe's JSON beside each, and a dataset.yaml for the rest."""
    _write_about(tables, folder, measurements)
    for image, path in tables.paths.items():
        copy = folder / "images" / image
        label = copy.with_suffix(".json")
        if label.exists():
            raise InputError(
                f"{image}: expected one image called {copy.stem}, got two; LabelMe would give both "
                "the same labels"
            )
        _copy(path, copy)
        write_json(label, labelme_of(tables, image, image_size(path), copy.name))
    return _second(tables)


def write_texts(tables: Tables, folder: Path, measurements: object = None) -> Notes:
    """images/[side/] and annotations/[side/]<image>.txt; two readings: annotations_<reader>/."""
    spacing = tables.images[["spacing_x_mm", "spacing_y_mm"]].drop_duplicates()
    same = len(spacing) == 1 and not spacing.isna().any(axis=None)
    about: dict[str, Any] = {"spacing_mm": spacing.iloc[0].tolist()} if same else {}
    readings = {"annotations": tables.landmarks}
    if tables.second_reading is not None:
        readings = {"annotations_first": tables.landmarks}
        readings |= {"annotations_second": tables.second_reading}
        about["readers"] = ["first", "second"]
    _write_about(tables, folder, measurements, about)
    for (image, side), _ in tables.landmarks.groupby(["image", "side"], sort=False):
        name, place = Path(image.replace("/", "_")), side if tables.sides else ""
        copy = folder / "images" / place / name
        if (folder / next(iter(readings)) / place / f"{name.stem}.txt").exists():
            raise InputError(f"{image}: expected one image called {name.stem}, got two")
        _copy(tables.paths[image], copy)
        for labels, rows in readings.items():
            text = _lines(rows[(rows["image"] == image) & (rows["side"] == side)], tables.names)
            write_text(folder / labels / place / f"{name.stem}.txt", text)
    stems = [Path(image).stem for image in tables.images["image"]]
    lost = {
        "patients that are not the file's name": (tables.images["patient"] != stems).sum(),
        "splits": (tables.images["split"] != "").sum(),
        "spacings, which differ from image to image": 0 if same else len(spacing.dropna()),
    }
    return [f"{count} {what}" for what, count in lost.items() if count]


def _lines(rows: pd.DataFrame, names: tuple[str, ...]) -> str:
    """A line x,y per landmark; a line with the comma alone where it is not annotated."""
    xy = rows.set_index("landmark")[["x", "y"]].reindex(names)
    return "".join(",\n" if math.isnan(x) else f"{x!r},{y!r}\n" for x, y in xy.to_numpy().tolist())


def _write_about(
    tables: Tables, folder: Path, measurements: object, more: dict[str, Any] | None = None
) -> None:
    """dataset.yaml; with `more` that of text files, whose folders are the sides."""
    about: dict[str, Any] = {"name": tables.name, "landmarks": list(tables.names)}
    if more is None:
        about["sides"] = list(tables.sides)
    if tables.mirror_pairs:
        about["mirror_pairs"] = [list(pair) for pair in tables.mirror_pairs]
    about |= {"citation": tables.citation, "licence": tables.licence} | (more or {})
    if measurements:
        about["measurements"] = measurements
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
    write_text(folder / "dataset.yaml", text)


def _second(tables: Tables) -> Notes:
    n = 0 if tables.second_reading is None else len(tables.second_reading)
    return [f"{n} points of the second reading"] if n else []


def _copy(path: Path, to: Path) -> None:
    with writing(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)


WRITERS: dict[str, Callable[..., Notes]] = {
    "native": write_native,
    "coco": write_coco,
    "labelme": write_labelme,
    "text": write_texts,
}
