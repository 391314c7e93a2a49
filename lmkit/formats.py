"""The formats that a dataset may come in. A format is one module and one line of `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pandas as pd

from lmkit.coco import is_coco, read_coco
from lmkit.corrections import FILE, corrected
from lmkit.cvat import is_cvat, read_cvat
from lmkit.dicom import dicom_patient, dicom_spacing, is_dicom
from lmkit.faults import STRICT, Faults
from lmkit.fields import InputError
from lmkit.images import SUFFIXES
from lmkit.jsonfiles import read_json
from lmkit.labelme import is_labelme, read_labelme
from lmkit.labelstudio import is_labelstudio, read_labelstudio
from lmkit.native import landmark_rows, read_native
from lmkit.places import is_clutter, usual_patients
from lmkit.tables import LEFT_RIGHT, Tables, patients_in_two, rows_of, two_splits
from lmkit.textfiles import label_folders, read_text_files
from lmkit.widecsv import is_wide, lacks_images, read_wide, without_images

Files = list[Path]
SECOND = "second_reading.csv"
BESIDE = (FILE, SECOND)  # in any format's folder, and labels of none


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        label: for messages.
        find: a folder, and the one label file to read or None for all -> the format's files in it.
        read: folder, those files, faults -> tables.
    """

    label: str
    find: Callable[[Path, Path | None], Files]
    read: Callable[[Path, Files, Faults], Tables]


def _native(folder: Path, only: Path | None) -> Files:
    names = () if only else ("images.csv", "landmarks.csv")
    return [folder / name for name in names if (folder / name).exists()]


def _texts(folder: Path, only: Path | None) -> Files:
    found = [] if only else [f for place in label_folders(folder) for f in place.rglob("*.txt")]
    return [path for path in found if not is_clutter(path.relative_to(folder))]


def _by_suffix(suffix: str, fits: Callable[[Path], bool]) -> Callable[[Path, Path | None], Files]:
    """The files of a suffix that are of the format, and those that may be and cannot be read.

    Raises: InputError where none is, and one cannot be read.
    """

    def find(folder: Path, only: Path | None) -> Files:
        found = [only] if only else sorted(folder.rglob("*"))
        files, problems = [], []
        for path in found:
            fine = only or not (path.name in BESIDE or is_clutter(path.relative_to(folder)))
            if path.suffix.lower() == suffix and path.is_file() and fine:
                try:
                    files += [path] if fits(path) else []
                except InputError as problem:
                    problems.append((path, problem))
        if problems and not files:
            raise problems[0][1]
        return sorted(files + [path for path, _ in problems])

    return find


def _json(fits: Callable[[object], bool]) -> Callable[[Path, Path | None], Files]:
    return _by_suffix(".json", lambda path: fits(read_json(path)))


def _header(path: Path) -> list[str]:
    return list(rows_of(path, (), most=1)[0][1])


def _is_wide(path: Path) -> bool:
    return is_wide(_header(path))


def _lacks_images(path: Path) -> bool:
    return lacks_images(_header(path))


FORMATS = {
    "native": Format("the native folder", _native, lambda f, _, faults: read_native(f, faults)),
    "text": Format("text files", _texts, lambda f, _, faults: read_text_files(f, faults)),
    "coco": Format("COCO keypoints", _json(is_coco), read_coco),
    "labelme": Format("LabelMe", _json(is_labelme), read_labelme),
    "labelstudio": Format("Label Studio", _json(is_labelstudio), read_labelstudio),
    "cvat": Format("CVAT for images", _by_suffix(".xml", is_cvat), read_cvat),
    "csv": Format("a wide CSV table", _by_suffix(".csv", _is_wide), read_wide),
}


def read_dataset(path: Path, faults: Faults = STRICT) -> Tables:
    """The tables of a dataset: a folder in any of the formats, or one label file in its folder.

    Where an image states no spacing and is DICOM, its header's is taken, and where no format states
    the patient, its header's patient.

    Raises: InputError naming file and row, or what was expected of the folder.
    """
    if not path.exists():
        raise InputError(
            f"dataset: expected phantom or a dataset folder, got {str(path)!r}, which is missing"
        )
    folder, only = (path, None) if path.is_dir() else (path.parent, path)
    problems = []
    for name, kind in FORMATS.items():
        try:
            files = kind.find(folder, only)
        except InputError as problem:
            problems.append(problem)
            continue
        if files:
            tables = _with_headers(kind.read(folder, files, faults), name, faults)
            tables = corrected(folder, _second_reading(folder, tables, faults), faults)
            if name != "native":  # which has looked, and knows the file
                for patient, splits in patients_in_two(tables.images).items():
                    with faults.of():
                        raise InputError(two_splits(folder, patient, splits))
            unread = () if only else _unread(folder, name, files)
            return replace(tables, remarks=(*tables.remarks, *unread))
    if problems:
        raise problems[0]
    if (folder / "annotations").is_dir() and only is None:
        return read_text_files(folder, faults)  # which says what is missing
    for nearly in _by_suffix(".csv", _lacks_images)(folder, only):
        raise InputError(without_images(nearly, _header(nearly)))
    got = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) if only is None else only.name
    raise InputError(
        f"{path}: expected dataset.yaml, images.csv, landmarks.csv and images/, or images/ and "
        f"annotations/, or labels of {', '.join(k.label for k in FORMATS.values())}, got "
        f"{got or 'an empty folder'}"
    )


def _unread(folder: Path, taken: str, files: Files) -> tuple[str, ...]:
    """What to say of labels in other formats that lie in the folder as well; nothing, if none."""
    others = []
    for name, kind in FORMATS.items():
        if name == taken:
            continue
        try:
            found = [path for path in kind.find(folder, None) if path not in files]
        except InputError:
            continue  # no labels, and nobody has asked for that file
        if found:
            others.append(f"{kind.label} ({min(found).relative_to(folder)})")
    if not others:
        return ()
    return (
        f"labels: expected one format, got {FORMATS[taken].label}, which is read, and "
        f"{', '.join(others)}, which is not; take out what does not count",
    )


def _second_reading(folder: Path, tables: Tables, faults: Faults) -> Tables:
    """The tables with second_reading.csv, which the second-reader mode writes for any format."""
    path = folder / SECOND
    if tables.second_reading is not None or not path.exists():
        return tables
    rows = landmark_rows(path, tables.names, tables.sides, tables.paths, faults)
    return replace(tables, second_reading=rows)


def _with_headers(tables: Tables, name: str, faults: Faults) -> Tables:
    """Spacings and patients of DICOM images from their headers, where the labels state none."""
    images, spacings = tables.images.copy(), {}
    for i, image in enumerate(images["image"]):
        if is_dicom(tables.paths[image]):
            with faults.of(image):
                spacings[i] = _header_spacing(tables.paths[image], images.iloc[i])
    for i, row in spacings.items():
        images.loc[i, list(row)] = list(row.values())
    images = images.fillna({"spacing_source": ""}) if spacings else images
    remarks = () if name == "native" else _with_patients(images, tables.paths, faults)
    return replace(tables, images=images, remarks=(*tables.remarks, *remarks))


def _header_spacing(path: Path, row: pd.Series) -> dict[str, object]:
    """The spacing that a DICOM header adds to a row of images. Raises: InputError."""
    known = row[["spacing_x_mm", "spacing_y_mm"]].astype(float).dropna()
    if len(known) == 1:
        raise InputError(
            f"{path}: spacing: expected both axes or none of a DICOM image, whose header states "
            f"both, got {known.index[0]} {known.iloc[0]:g} alone"
        )
    if len(known) == 2:
        return {}
    x, y, source = dicom_spacing(path)
    return {"spacing_x_mm": x, "spacing_y_mm": y, "spacing_source": source}


def _with_patients(images: pd.DataFrame, paths: dict[str, Path], faults: Faults) -> list[str]:
    """Puts the patients of DICOM headers into `images`, where the labels state none; remarks."""
    usual = usual_patients(images["image"])
    open_rows = list(images.index[images["patient"] == images["image"].map(usual)])
    found, remarks = {}, []
    for i in open_rows:
        image = images.loc[i, "image"]
        if is_dicom(paths[image]):
            with faults.of(image):
                found[i] = dicom_patient(paths[image])
    if len(found) > 1 and len(set(found.values())) == 1 and any(found.values()):
        remarks.append(
            f"PatientID: expected one per patient, got the same in all {len(found)} DICOM images, "
            "as anonymisers write; patients are the files' names; state patient if that is wrong"
        )
        found = {}
    for i, patient in found.items():
        images.loc[i, "patient"] = patient or images.loc[i, "patient"]
    rest = [images.loc[i, "image"] for i in open_rows if not found.get(i)]
    named = [image for image in rest if usual[image] != PurePosixPath(image).stem]
    if named:
        remarks.append(
            f"patient: expected one for each image, got none for {len(named)}; taken from their "
            f"folders, {named[0]} as {usual[named[0]]!r}; state patient if that is wrong"
        )
    return remarks


def stray_images(folder: Path, tables: Tables) -> list[Path]:
    """The image files of a folder that no label names.

    A picture that lies in images/left and images/right, as in the old layout, is one image.
    """
    known = {path.resolve() for path in tables.paths.values()}
    stray = []
    for path in sorted(p for p in folder.rglob("*") if not is_clutter(p.relative_to(folder))):
        if path.suffix.lower() in SUFFIXES and path.is_file() and path.resolve() not in known:
            parts = path.relative_to(folder).parts
            parts = parts[parts[0] == "images" :]
            if "/".join(parts[parts[0] in LEFT_RIGHT :]) not in tables.paths:
                stray.append(path)
    return stray
