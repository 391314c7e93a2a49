"""Datasets from one format to another, and predictions to formats of other programs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lmkit.coco import coco_of
from lmkit.fields import InputError
from lmkit.files import path_of, read_yaml, write_json, write_text, writing
from lmkit.formats import read_dataset
from lmkit.images import image_size
from lmkit.labelme import labelme_of
from lmkit.leftover import left_behind
from lmkit.tables import LABELS, NO_SIDE, Tables, name_of, plain_name
from lmkit.writers import WRITERS

Size = tuple[int, int]


def convert(source: str | Path, target: str | Path, to: str = "native") -> list[str]:
    """Write a dataset in another format, images included, as they are.

    Args:
        source: a folder in any format of `lmkit.formats`, or a label file in its folder.
        target: a folder that is not there yet, or empty, outside the source's.
        to: a key of `lmkit.writers.WRITERS`.
    Returns: what was not carried over, one line each.
    Raises: InputError for a source that cannot be read whole, or a target that has files or lies in
        the source's folder.
    """
    source, target = path_of(source, "source"), path_of(target, "target")
    tables = _labelled(read_dataset(source))
    folder = source if source.is_dir() else source.parent
    _check_outside(target, folder)
    about = folder / "dataset.yaml"
    measurements = read_yaml(about).get("measurements") if about.exists() else None
    with new_folder(target) as part:
        lost = WRITERS[to](tables, part, measurements)
    return [*left_behind(folder, tables), *tables.notes, *lost]


def _check_outside(target: Path, folder: Path) -> None:
    """Labels of a copy in the dataset's folder would be taken for its own. Raises: InputError."""
    if target.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{target}: expected a folder outside {folder}, got one in it, whose labels would be "
            "read as the dataset's own"
        )


def _labelled(tables: Tables) -> Tables:
    """The tables without images whose last label corrections.csv took out: what is written would
    not open with them."""
    kept = tables.images["image"].isin(tables.landmarks["image"])
    if kept.all():
        return tables
    images = tables.images[kept].reset_index(drop=True)
    second = tables.second_reading
    return replace(
        tables,
        images=images,
        paths={image: tables.paths[image] for image in images["image"]},
        second_reading=None if second is None else second[second["image"].isin(images["image"])],
    )


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to write to, which becomes `target` when all went well.

    Raises: InputError where `target` has files, or cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: expected a new or empty folder, got one that has files")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield part
        part.chmod(0o755)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_predictions(
    table: pd.DataFrame, target: str | Path, to: str, images: str | Path | None = None
) -> list[Path]:
    """Write predictions for other programs.

    Args:
        table: of predictions.csv or of `lmkit.evaluate.predict`: image, side, landmark, x, y, in
            source pixels, and perhaps peak; a row without a point is left out.
        target: a folder that is not there yet, or empty.
        to: native (landmarks.csv), coco (predictions.json), labelme (a JSON file per image) or pg
            (the old system's <SIDE>-PG-Predictions.csv).
        images: folder of the images, for their sizes; None = the images' own paths. An image that
            is not there has no size in the files.
    Returns: the files, in `target`.
    Raises: InputError for missing columns, a landmark given twice, or a target that has files.
    """
    missing = {*LABELS} - {*table.columns}
    if missing:
        raise InputError(f"predictions: expected columns {LABELS}, got none of {sorted(missing)}")
    table = _checked(table)
    table = table[np.isfinite(table[["x", "y"]].to_numpy()).all(1)]
    twice = table.duplicated(["image", "side", "landmark"])
    if twice.any():
        first = table.loc[twice, ["image", "side", "landmark"]].iloc[0].tolist()
        raise InputError(f"predictions: expected each landmark of an image once, got {first} again")
    target = Path(target)
    with new_folder(target) as part:
        OUT[to](table, part, Path(images) if images else None)
    return sorted(path for path in target.rglob("*") if path.is_file())


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    """The table with numbers for numbers. Raises: InputError for names and sides that are none:
    files are called after them."""
    strange = ~table["side"].isin(("left", "right", NO_SIDE))
    if strange.any():
        got = table.loc[strange, "side"].iloc[0]
        raise InputError(f"predictions: side: expected left | right | {NO_SIDE}, got {got!r}")
    for what in ("image", "landmark"):
        if (table[what].isna() | (table[what] == "")).any():
            raise InputError(f"predictions: {what}: expected a name in each row, got none in some")
        names = [name_of(name, what, "predictions") for name in table[what]]
        table = table.assign(**{what: names})
    for what in {"x", "y", "peak"} & set(table.columns):
        try:
            table = table.assign(**{what: table[what].astype(float)})
        except (ValueError, TypeError) as error:
            raise InputError(f"predictions: {what}: expected numbers, got: {error}") from None
    return table


def _native(table: pd.DataFrame, folder: Path, _: Path | None) -> None:
    columns = [c for c in LABELS if c != "side" or {*table["side"]} != {NO_SIDE}]
    write_text(folder / "landmarks.csv", table[columns].to_csv(index=False))


def _coco(table: pd.DataFrame, folder: Path, images: Path | None) -> None:
    tables, sizes = _as_tables(table, images)
    whole = coco_of(tables, sizes)
    for entry in whole["images"]:
        entry["file_name"] = entry["file_name"].removeprefix("images/")
    if "peak" in table:
        groups = table.groupby(["image", "side"], sort=False)["peak"].mean()
        for entry, score in zip(whole["annotations"], groups, strict=True):
            if np.isfinite(score):
                entry["score"] = float(score)
    write_json(folder / "predictions.json", whole)


def _labelme(table: pd.DataFrame, folder: Path, images: Path | None) -> None:
    tables, sizes = _as_tables(table, images)
    for label, image in _label_files(list(sizes)).items():
        beside = str((images / image).resolve()) if images else image
        write_json(folder / label, labelme_of(tables, image, sizes[image], beside))


def _label_files(images: list[str]) -> dict[str, str]:
    """LabelMe's file name -> the image it is for. Raises: InputError where two would share one."""
    found: dict[str, str] = {}
    for image in images:
        path = Path(image)
        name = path.name if path.is_absolute() else image.strip("/").replace("/", "_")
        if not Path(name).name:  # '..', or nothing
            raise InputError(f"predictions: image: expected a file's name, got {image!r}")
        label = str(Path(name).with_suffix(".json"))
        if label in found:
            raise InputError(
                f"predictions: image: expected one image for LabelMe's file {label}, got "
                f"{found[label]} and {image}; rename one, or write them to two folders"
            )
        found[label] = image
    return found


def _pg(table: pd.DataFrame, folder: Path, _: Path | None) -> None:
    """The old system's table: number, file, 0_act ..., 0_y ..., 0_x ..., a file per side.

    Source: github.com/mohamednourdine/pell-gregory-classification, logs/. Its act was the map's
    largest value; here it is the confidence, in [0, 1].
    """
    table = table if "peak" in table else table.assign(peak=np.nan)
    parts = {"act": "peak", "y": "y", "x": "x"}
    for side, rows in table.groupby("side", sort=False):
        names = list(dict.fromkeys(rows["landmark"]))
        wide = rows.pivot(index="image", columns="landmark", values=["peak", "y", "x"])
        wide = wide.reindex(dict.fromkeys(rows["image"]))
        out = pd.DataFrame({"file": _file_names(list(wide.index))})
        for part, column in parts.items():
            for i, name in enumerate(names):
                out[f"{i}_{part}"] = wide[column, name].to_numpy()
        write_text(folder / f"{str(side).upper()}-PG-Predictions.csv", out.to_csv())


def _file_names(images: list[str]) -> list[str]:
    """The files' own names, with their folders where two are the same."""
    names = [Path(image).name for image in images]
    return names if max(Counter(names).values()) == 1 else images


OUT: dict[str, Callable[[pd.DataFrame, Path, Path | None], None]] = {
    "native": _native,
    "coco": _coco,
    "labelme": _labelme,
    "pg": _pg,
}


def _within(path: Path, folder: Path | None) -> bool:
    """Whether a file lies in a folder, links followed; without a folder any file does."""
    return folder is None or path.resolve().is_relative_to(folder.resolve())


def _as_tables(table: pd.DataFrame, images: Path | None) -> tuple[Tables, dict[str, Size | None]]:
    """Predictions as the tables of a dataset, and the images' sizes where they are there.

    Raises: InputError for rows with and without a side, which no dataset has.
    """
    if len(set(table["side"])) > 1 and (table["side"] == NO_SIDE).any():
        got = ", ".join(sorted(set(table["side"])))
        raise InputError(
            f"predictions: side: expected {NO_SIDE} in all rows, or left and right, got {got}; "
            "write them to two folders"
        )
    names = list(dict.fromkeys(map(str, table["image"])))
    paths = {name: (images or Path()) / name for name in names}
    sizes = {
        name: image_size(path) if os.path.isfile(path) and _within(path, images) else None
        for name, path in paths.items()
    }
    rows = pd.DataFrame({"image": names, "patient": "", "split": ""})
    if "split" in table:
        rows["split"] = table.drop_duplicates("image")["split"].to_numpy()
    sides = tuple(sorted(set(table["side"]) - {NO_SIDE}))
    landmarks = tuple(dict.fromkeys(table["landmark"]))
    return Tables(plain_name("predictions"), landmarks, sides, rows, table, paths), sizes
