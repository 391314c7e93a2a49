"""Where an image that a label file names lies, and whose it is where no file says so."""

from __future__ import annotations

import filecmp
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lmkit.fields import InputError
from lmkit.images import READ, SUFFIXES
from lmkit.tables import SPLITS, image_file, shown

UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before an uploaded file's name
ELSEWHERE = re.compile(r"/|[A-Za-z]:|\w+://")  # a path of another computer, an address
PLAIN = ("..", ".", "", "images", "image", "imgs", "img", "data")  # folders that say no patient
UNREAD = (  # suffixes of pictures in other formats than `lmkit.images` reads
    *(".webp", ".gif", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".psd", ".svg", ".pdf"),
    *(".pgm", ".ppm", ".pnm", ".tga", ".ico", ".exr", ".npy", ".nii", ".mha", ".mhd", ".nrrd"),
)
DEEPEST = 32  # folders of a path that may be cut off one by one; nobody's radiographs lie deeper
MANY, FEW = 5, 10  # folders, and images in each, from which on a folder is a patient
NO_PATIENT = ("left", "right", *SPLITS)


def find_image(folder: Path, name: object, where: str, base: Path | None = None) -> Path:
    """The file of an image: where its path says, or where the end of that path leads.

    A path of another computer, or an address, may be cut down to the file's name. A relative path
    may lose leading folders only up to one that says nothing, such as images/: p2/img.png is not
    the img.png of another folder.

    Args:
        folder: the dataset's; no file outside it is looked at.
        name: a path, perhaps of another computer or without suffix, or an address.
        base: another folder that `name` may be relative to; a file there goes before others, then
            one in the folder of images of the same name (labels/p1 -> images/p1).
    Raises: InputError naming `where`, also where two different files fit.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}: image: expected a file name, got {shown(name)}")
    path = name.strip().replace("\\", "/")
    beside = _beside(folder, base)
    for part in _ends(path, folder.resolve().name):
        for places in (*([place] for place in beside), [folder, folder / "images"]):
            found = _files(places, part, where, folder)
            if len(found) > 1:
                got = " and ".join(image_name(folder, file, whole=True) for file in found)
                raise InputError(
                    f"{where}: image: expected one file for {shown(name)}, got {got}, which "
                    "differ; take one out, or write the path with its suffix"
                )
            if found:
                return found[0]
    stem = PurePosixPath(path).stem if path.lower().endswith(SUFFIXES) else path.split("/")[-1]
    hints = (in_another_format(place, stem) for place in (*beside, folder, folder / "images"))
    hint = next(filter(None, hints), "")
    raise InputError(
        f"{where}: image: expected a file in {folder} or its images/, got {shown(name)}{hint}"
    )


def _beside(folder: Path, base: Path | None) -> list[Path]:
    """The folder of the label file, and those where its images may lie, first ones first."""
    if base is None or base.resolve() == folder.resolve():
        return []
    if not base.resolve().is_relative_to(folder.resolve()):
        return [base]
    parts = base.resolve().relative_to(folder.resolve()).parts[:DEEPEST]
    ends = [Path(*parts[k:]) for k in range(1, len(parts))]
    return [base, *(place / end for end in ends for place in (folder / "images", folder))]


def _ends(path: str, own: str) -> list[str]:
    """The path, and what may stand for it, longest first; own: the dataset folder's name."""
    parts = path.split("/")
    cut = list(range(1, len(parts)))
    if not ELSEWHERE.match(path):
        cut = [i for i in cut if parts[i - 1].lower() in PLAIN or parts[i - 1] == own]
    ends = [path, *("/".join(parts[i:]) for i in cut[-DEEPEST:])]
    return list(dict.fromkeys([*ends, UPLOAD.sub("", ends[-1])]))


def _files(places: Iterable[Path], part: str, where: str, root: Path) -> list[Path]:
    """The files of that name, with any suffix where it has none; equal ones once."""
    suffixed = part.lower().endswith(SUFFIXES)
    found: list[Path] = []
    for place in places:
        for file in [part] if suffixed else [part, *(part + suffix for suffix in SUFFIXES)]:
            try:
                path = image_file(place, file, where, root=root)
            except InputError:
                continue  # look in the next place
            if not any(path.samefile(f) or filecmp.cmp(path, f, shallow=False) for f in found):
                found.append(path)
    return found


def image_name(folder: Path, path: Path, whole: bool = False) -> str:
    """An image's path in the dataset's folder, or in its images/ unless `whole`."""
    parts = path.resolve().relative_to(folder.resolve()).parts
    return PurePosixPath(*parts[parts[0] == "images" and not whole :]).as_posix()


def usual_patients(images: Iterable[str]) -> dict[str, str]:
    """The patient of each image where none is stated; folders left and right do not count.

    The file's name without suffix. The folder, where each image lies in one of MANY or more with at
    most FEW images each. Where two folders have files of one name: the folder, if one of these has
    several images (p0/left.png, p0/right.png, p1/left.png ...), else the path.
    """
    paths = {image: _unsided(PurePosixPath(image)) for image in images}
    folders: dict[str, set[PurePosixPath]] = defaultdict(set)
    for path in paths.values():
        folders[path.stem].add(path.parent)
    shared = set().union(*(places for places in folders.values() if len(places) > 1))
    counts = Counter(path.parent for path in paths.values())
    own = len(counts) >= MANY and max(counts.values()) <= FEW and all(map(_is_patient, counts))
    several = own and max(counts.values()) > 1
    by_folder = several or any(counts[place] > 1 and _is_patient(place) for place in shared)
    apart = several or bool(shared)
    return {image: _usual(path, apart, by_folder) for image, path in paths.items()}


def _usual(path: PurePosixPath, apart: bool, by_folder: bool) -> str:
    if not apart:
        return path.stem
    return str(path.parent if by_folder and _is_patient(path.parent) else path.with_suffix(""))


def _unsided(path: PurePosixPath) -> PurePosixPath:
    """The path without folders called left or right."""
    return PurePosixPath(*(p for p in path.parts[:-1] if p not in NO_PATIENT[:2]), path.name)


def _is_patient(folder: PurePosixPath) -> bool:
    return folder.name not in ("", *NO_PATIENT)


def in_another_format(folder: Path, stem: str = "") -> str:
    """'; a.webp is there, ...' where a folder has a file of that name, or any for '', that is in no
    format that is read; else nothing."""
    other = [
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else [])
        if path.suffix.lower() in UNREAD and path.is_file() and stem in ("", path.stem)
    ]
    if not other:
        return ""
    return f"; {other[0].name} is there, in a format that is not read; save it as one of {READ}"


def is_clutter(path: Path) -> bool:
    """Whether a file is a tool's own, not the user's: ._a.png of macOS, Jupyter's checkpoints."""
    return path.name.startswith("._") or ".ipynb_checkpoints" in path.parts
