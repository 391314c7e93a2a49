"""The folders of the old layout: its sides, their pictures, and label files without a picture."""

from __future__ import annotations

import filecmp
from collections import Counter
from pathlib import Path

from lmkit.fields import InputError, nearest
from lmkit.images import SUFFIXES
from lmkit.places import in_another_format, is_clutter
from lmkit.tables import LEFT_RIGHT


def sides_in(folder: Path, labels: Path) -> tuple[str, ...]:
    """The sides with a folder of images and one of annotations; () when neither has any.

    Raises: InputError where the two have other sides, or a folder is nearly called as a side.
    """
    found, others = {}, []
    for place in (folder / "images", labels):
        names = _folders(place)
        found[place.name] = [name for name in names if name in LEFT_RIGHT]
        for name in names:
            if name not in LEFT_RIGHT:
                others.append(f"{place.name}/{name}")
                if nearest(name, LEFT_RIGHT):
                    raise InputError(f"{place}: expected left and right, got {name!r}")
    if found["images"] != found[labels.name]:
        to_do = f"; call {' and '.join(others)} left or right, if it is a side" if others else ""
        raise InputError(
            f"{folder}: expected the same sides in images and {labels.name}, got "
            f"{found['images']} and {found[labels.name]}{to_do}"
        )
    return tuple(found["images"])


def passed_over(folder: Path, labels: Path) -> list[str]:
    """What to say of folders beside left and right that hold images and labels as well."""
    return [
        f"{labels / name}: expected left and right, got a folder of labels called otherwise, which "
        "is not read; call it and that of its images left or right, or take both out"
        for name in _folders(labels)
        if name not in LEFT_RIGHT and (folder / "images" / name).is_dir()
        if any((labels / name).glob("*.txt"))
    ]


def _folders(place: Path) -> list[str]:
    """The names of the folders in it."""
    return sorted(path.name for path in place.glob("*") if path.is_dir())


def image_files(folder: Path) -> list[Path]:
    """The pictures of a folder by name. Raises: InputError for none, or two of one name."""
    files = (path for path in folder.glob("*") if not is_clutter(Path(path.name)))
    found = sorted(path for path in files if path.suffix.lower() in SUFFIXES)
    if not found:
        to_do = in_another_format(folder)
        if not to_do and (others := _folders(folder)):
            to_do = f"; call {others[0]}/ left or right, if it is a side"
        raise InputError(f"{folder}: expected images ({' '.join(SUFFIXES)}), found none{to_do}")
    stems = Counter(path.stem for path in found)
    stem, times = stems.most_common(1)[0]
    if times > 1:
        raise InputError(f"{folder}: expected one image called {stem}, got {times}")
    return found


def check_orphans(folder: Path, pictures: list[Path]) -> None:
    """Every label file has its image. Raises: InputError naming the first one without."""
    labels = {path.stem for path in folder.glob("*.txt") if not is_clutter(Path(path.name))}
    orphans = labels - {path.stem for path in pictures}
    if orphans:
        first, place = folder / f"{min(orphans)}.txt", pictures[0].parent
        raise InputError(
            f"{first}: expected an image of that name in {place}, got none ({len(orphans)} such "
            f"files){in_another_format(place, first.stem)}"
        )


def identity(path: Path, side: str, folder: Path, sides: tuple[str, ...]) -> str:
    """The image's name: the file's own when all sides that have it hold the same picture."""
    twins = [folder / other / path.name for other in sides if other != side]
    same = all(filecmp.cmp(path, twin, shallow=False) for twin in twins if twin.exists())
    return path.name if same else f"{side}/{path.name}"
