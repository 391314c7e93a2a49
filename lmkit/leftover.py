"""What a copy in another format leaves behind: what of a dataset's folder is in none of its tables.

The readers take what they know and pass over the rest; a converted copy is written from what they
took, so the rest has to be named.
"""

from __future__ import annotations

from pathlib import Path

from lmkit import native, sources, textfiles
from lmkit.corrections import FILE
from lmkit.files import read_yaml
from lmkit.formats import SECOND, stray_images
from lmkit.places import image_name
from lmkit.tables import LABELS, Tables, rows_of, shown

ABOUT = {*native.KEYS, *sources.KEYS, *textfiles.KEYS}  # of dataset.yaml, in some format
CARRIED = {  # columns of the native folder's tables
    "images.csv": ("image", "patient", *native.OPTIONAL),
    "landmarks.csv": LABELS,
    SECOND: LABELS,
}


def left_behind(folder: Path, tables: Tables) -> list[str]:
    """What of a dataset's folder is in no table, one line each.

    Raises: InputError for a file of it that cannot be read.
    """
    lines = []
    if tables.skipped:
        lines.append(f"{len(tables.skipped)} images, first {tables.skipped[0].message}")
    named = {fault.image for fault in tables.skipped}
    stray = [p for p in stray_images(folder, tables) if image_name(folder, p) not in named]
    if stray:
        lines.append(f"{len(stray)} images that no label names, first {stray[0].name}")
    return [*lines, *_columns(folder), *_keys(folder / "dataset.yaml"), *_kept(tables)]


def _columns(folder: Path) -> list[str]:
    """The columns with something in them that the native format does not know, a line per file."""
    files = [name for name in CARRIED if (folder / name).is_file()]
    if not {"images.csv", "landmarks.csv"} <= set(files):
        files = [name for name in files if name == SECOND]  # which any format may have
    lines = []
    for name in files:
        rows = [cells for _, cells in rows_of(folder / name, ("image",))]
        extra = [c for c in rows[0] if c not in CARRIED[name] and any(row[c] for row in rows)]
        if extra:
            lines.append(f"columns of {name}: {_listed(extra)}")
    return lines


def _keys(path: Path) -> list[str]:
    """The keys of dataset.yaml that no format knows."""
    extra = [key for key in read_yaml(path) if key not in ABOUT] if path.exists() else []
    return [f"keys of {path.name}: {_listed(extra)}"] if extra else []


def _kept(tables: Tables) -> list[str]:
    """The labels that a reader looked at and found right; those moved are in the tables."""
    rows = tables.corrections
    n = 0 if rows is None else int((rows["action"] == "keep").sum())
    if not n:
        return []
    return [f"{FILE}: {n} labels found right, which an audit of the copy may list again"]


def _listed(names: list[str]) -> str:
    return ", ".join(map(shown, names))
