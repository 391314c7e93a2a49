"""The old layout: images/<side>/*.png, annotations/<side>/<image>.txt, `x,y` per landmark."""

from __future__ import annotations

import filecmp
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from lmkit.config import InputError, nearest
from lmkit.declare import declared
from lmkit.images import SUFFIXES
from lmkit.tables import NO_SIDE, Tables, about_of, names_of, number, plain_name, spacing_of

KEYS = ("name", "landmarks", "spacing_mm", "citation", "licence", "measurements")


def read_text_files(folder: Path) -> Tables:
    """images/<side>/*.png with annotations/<side>/<image>.txt, a line `x,y` per landmark.

    The same file under both sides is one image. The patient is the file's name. An optional
    dataset.yaml gives name, landmarks (their names), spacing_mm: [x, y] and measurements.
    """
    path = folder / "dataset.yaml"
    about = about_of(path, KEYS) if path.exists() else {}
    sides = _sides(folder)
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    files, paths = {}, {}
    for side in sides or ("",):
        pictures = _image_files(folder / "images" / side)
        _check_orphans(folder / "annotations" / side, pictures)
        for picture in pictures:
            image = _identity(picture, side, folder / "images", sides)
            label = folder / "annotations" / side / f"{picture.stem}.txt"
            points[image, side or NO_SIDE] = _read_points(label, picture)
            files[image, side or NO_SIDE], paths[image] = label, picture
    names = _check_counts(points, files, about, folder)
    spacing = spacing_of(path, about.get("spacing_mm"))
    images = pd.DataFrame(
        [(image, picture.stem, "", *spacing) for image, picture in paths.items()],
        columns=["image", "patient", "split", "spacing_x_mm", "spacing_y_mm"],
    )
    landmarks = pd.DataFrame(
        [
            (image, side, name, x, y)
            for (image, side), rows in points.items()
            for name, (x, y) in zip(names, rows, strict=True)
        ],
        columns=["image", "side", "landmark", "x", "y"],
    )
    name = plain_name(about.get("name") or folder.resolve().name)
    measurements = declared(path, about.get("measurements"), names)
    return Tables(name, names, sides, images, landmarks, paths, measurements=measurements)


def _sides(folder: Path) -> tuple[str, ...]:
    """The sides with a folder of images and one of annotations; () when neither has any."""
    found = {}
    for part in ("images", "annotations"):
        names = [path.name for path in (folder / part).glob("*") if path.is_dir()]
        found[part] = sorted(name for name in names if name in ("left", "right"))
        for name in set(names) - {"left", "right"}:
            if nearest(name, ("left", "right")):
                raise InputError(f"{folder / part}: expected left and right, got {name!r}")
    if found["images"] != found["annotations"]:
        raise InputError(
            f"{folder}: expected the same sides in images and annotations, got "
            f"{found['images']} and {found['annotations']}"
        )
    return tuple(found["images"])


def _image_files(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{folder}: expected images ({' '.join(SUFFIXES)}), found none")
    stems = Counter(path.stem for path in found)
    stem, times = stems.most_common(1)[0]
    if times > 1:
        raise InputError(f"{folder}: expected one image called {stem}, got {times}")
    return found


def _check_orphans(folder: Path, pictures: list[Path]) -> None:
    """Every label file has its image."""
    orphans = {path.stem for path in folder.glob("*.txt")} - {path.stem for path in pictures}
    if orphans:
        first = folder / f"{min(orphans)}.txt"
        raise InputError(
            f"{first}: expected an image of that name in {pictures[0].parent}, got none "
            f"({len(orphans)} such files)"
        )


def _identity(path: Path, side: str, folder: Path, sides: tuple[str, ...]) -> str:
    """The image's name: the file's own when all sides that have it hold the same picture."""
    twins = [folder / other / path.name for other in sides if other != side]
    same = all(filecmp.cmp(path, twin, shallow=False) for twin in twins if twin.exists())
    return path.name if same else f"{side}/{path.name}"


def _read_points(path: Path, image: Path) -> list[tuple[float, float]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{image}: expected its landmarks in {path}, which is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected lines of x,y, got: {error}") from None
    points = []
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells, where = line.split(","), f"{path} line {row}"
        if len(cells) != 2:
            raise InputError(f"{where}: expected x,y, got {line.strip()!r}")
        points.append((number(cells[0], "x", where), number(cells[1], "y", where)))
    return points


def _check_counts(
    points: dict[tuple[str, str], list[tuple[float, float]]],
    files: dict[tuple[str, str], Path],
    about: dict[str, Any],
    folder: Path,
) -> tuple[str, ...]:
    """All label files must have the same number of lines; returns the landmarks' names."""
    usual = Counter(len(rows) for rows in points.values()).most_common(1)[0][0]
    if usual == 0:
        raise InputError(f"{folder / 'annotations'}: expected lines of x,y, got empty files")
    names = names_of(folder / "dataset.yaml", about.get("landmarks") or [*range(1, usual + 1)])
    for key, rows in points.items():
        if len(rows) != len(names):
            raise InputError(
                f"{files[key]}: expected {len(names)} lines of x,y, one per landmark, "
                f"got {len(rows)}"
            )
    return names
