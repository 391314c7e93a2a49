"""Datasets: open one and split it by patient; `python -m lmkit.data convert` changes its format."""

from __future__ import annotations

import hashlib
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from lmkit import phantom, phantom_faults
from lmkit.commands import main
from lmkit.config import RunConfig
from lmkit.corrections import count
from lmkit.fields import InputError
from lmkit.files import path_of, project_root
from lmkit.formats import read_dataset
from lmkit.images import image_size, read_image
from lmkit.measures import Measurement
from lmkit.tables import SPLITS, Tables


@dataclass(frozen=True)
class Dataset:
    """Images, landmarks and how to read a picture.

    Attributes:
        name: as in outputs/<name>/.
        names: landmarks, in the order of the heatmaps.
        sides: (left, right), one of them, or () for a dataset without sides.
        images: image, patient, split, spacing_x_mm, spacing_y_mm; one row per image; and
            spacing_source where the dataset or a DICOM header says where a spacing comes from.
        landmarks: image, side ('all' without sides), landmark, x, y; source pixels; no row = not
            annotated.
        mirror_pairs: landmarks that change places in a mirrored image of the same side.
        fingerprint: changes when an image or a landmark does.
        measurements: what the landmarks are for; see `lmkit.measures`.
        second_reading: as landmarks, read again (in some images, perhaps); None = not done.
        corrections: rows of the folder's corrections.csv in force, which `landmarks` already
            follow; see `lmkit.corrections.corrected`. None = no such file.
        folder: that the labels lie in; None = the phantom, which has no corrections either.
    """

    name: str
    names: tuple[str, ...]
    sides: tuple[str, ...]
    images: pd.DataFrame
    landmarks: pd.DataFrame
    mirror_pairs: tuple[tuple[str, str], ...]
    citation: str
    licence: str
    fingerprint: str
    reader: Callable[[str], np.ndarray]
    sizer: Callable[[str], tuple[int, int]]
    measurements: tuple[Measurement, ...] = ()
    second_reading: pd.DataFrame | None = None
    corrections: pd.DataFrame | None = None
    folder: Path | None = None

    def read(self, image: str) -> np.ndarray:
        """(H, W) uint8 or uint16 grey values. Raises: InputError naming the file."""
        return self.reader(image)

    def size(self, image: str) -> tuple[int, int]:
        """(H, W) of an image, pixels, without reading all of it."""
        return self.sizer(image)

    def points(self, side: str) -> np.ndarray:
        """(N, L, 2) xy of a side, source pixels, ordered as `images`; NaN = not annotated."""
        rows = self.landmarks[self.landmarks["side"] == side]
        index = pd.MultiIndex.from_product([self.images["image"], self.names])
        xy = rows.set_index(["image", "landmark"])[["x", "y"]].reindex(index)
        return xy.to_numpy(float).reshape(len(self.images), len(self.names), 2)

    def sizes(self) -> np.ndarray:
        """(N, 2) H and W of all images, pixels."""
        return np.array([self.size(image) for image in self.images["image"]])

    @property
    def corrected(self) -> int:
        """How many labels are not as their own file says, but as corrections.csv does."""
        return count(self.corrections)

    @property
    def spacing_mm(self) -> np.ndarray:
        """(N, 2) x, y, mm per source pixel; NaN = not stated."""
        return self.images[["spacing_x_mm", "spacing_y_mm"]].to_numpy(float)


def open_dataset(
    name_or_folder: str | Path,
    *,
    phantom_patients: tuple[int, int, int] = (240, 40, 85),
    phantom_seed: int = 0,
    split_fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    split_seed: int = 0,
) -> Dataset:
    """Open the built-in phantom or a dataset folder.

    Args:
        name_or_folder: `phantom`, or a folder in a format of `lmkit.formats`, or a label file in
            its folder; relative to the current folder, else to the project folder.
        phantom_patients, phantom_seed: which phantom.
        split_fractions, split_seed: train, val, test shares of the patients without a split.
    Raises: InputError naming the file, the row, what was expected and what came.
    """
    if str(name_or_folder) == "phantom":
        return _open_phantom(phantom_patients, phantom_seed)
    folder = place_of(name_or_folder)
    tables = read_dataset(folder)
    _warn_of_skipped(folder, tables)
    images = tables.images.assign(split=_fill_split(tables.images, split_fractions, split_seed))
    return Dataset(
        name=tables.name,
        names=tables.names,
        sides=tables.sides,
        images=images,
        landmarks=tables.landmarks,
        mirror_pairs=tables.mirror_pairs,
        citation=tables.citation,
        licence=tables.licence,
        fingerprint=_fingerprint(images, tables),
        reader=lambda image: read_image(tables.paths[image]),
        sizer=lambda image: image_size(tables.paths[image]),
        measurements=tables.measurements,
        second_reading=tables.second_reading,
        corrections=tables.corrections,
        folder=folder if folder.is_dir() else folder.parent,
    )


def place_of(folder: str | Path) -> Path:
    """The folder or label file meant, from the current folder or else from the project's."""
    path = path_of(folder, "dataset")
    if path.is_absolute() or path.exists():
        return path
    return project_root() / path if (project_root() / path).exists() else path


def checkable(config: RunConfig) -> Path | Dataset:
    """What `audit.check_dataset` takes for a run's dataset: its folder, however broken, or the
    phantom, which has none."""
    return open_for(config) if config.dataset == "phantom" else place_of(config.dataset)


def open_for(config: RunConfig) -> Dataset:
    """The dataset of a run, with `config.spacing_mm` where an image states no spacing."""
    dataset = open_dataset(
        config.dataset,
        phantom_patients=config.phantom_patients,
        phantom_seed=config.phantom_seed,
        split_fractions=config.split_fractions,
        split_seed=config.split_seed,
    )
    unknown = np.isnan(dataset.spacing_mm).any(1)
    if not unknown.any() and config.spacing_mm is not None:
        raise InputError(
            f"spacing_mm: expected images of {config.dataset} that state no spacing, got none; "
            "leave spacing_mm out, or mend the dataset's own spacing"
        )
    if not unknown.any():
        return dataset
    if config.spacing_mm is None:
        raise InputError(
            f"{config.dataset}: expected a pixel spacing for every image, got none for "
            f"{unknown.sum()}, first {dataset.images['image'][unknown.argmax()]}; state it in the "
            "dataset, or pass spacing_mm, such as -p spacing_mm 0.1667"
        )
    stated = dict(zip(("spacing_x_mm", "spacing_y_mm"), config.spacing_mm, strict=True))
    return replace(dataset, images=dataset.images.fillna(stated))


@cache
def _phantom_sample(seed: int) -> bytes:
    """Some mouths and a whole drawing: notices changed code even where VERSION was not raised.

    Numbers to six decimals, since the last bits of one are the processor's, not the code's.
    """
    mouths = repr([phantom.anatomy(seed, index) for index in range(8)])
    stated = re.sub(r"-?\d+\.\d*(e-?\d+)?", lambda n: f"{round(float(n[0]), 6) + 0.0:.6f}", mouths)
    return stated.encode() + phantom.draw(phantom.anatomy(seed, 0)).tobytes()


def _open_phantom(patients: tuple[int, int, int], seed: int) -> Dataset:
    if min(patients) < 0 or sum(patients) < 1:
        raise InputError(f"phantom_patients: expected three counts >= 0, got {patients}")
    images, landmarks = phantom.table(seed, sum(patients))
    number = {image: i for i, image in enumerate(images["image"])}
    stated = f"{phantom.VERSION} {seed} {phantom.DIFFICULTY}"
    digest = hashlib.blake2b(stated.encode(), digest_size=12)
    digest.update(landmarks.to_csv(index=False).encode())
    digest.update(_phantom_sample(seed))
    return Dataset(
        name="phantom",
        names=phantom.NAMES,
        sides=phantom.SIDES,
        images=images[["image", "patient"]].assign(
            split=np.repeat(SPLITS, patients),
            spacing_x_mm=images["spacing_x_mm"],
            spacing_y_mm=images["spacing_y_mm"],
        ),
        landmarks=landmarks,
        mirror_pairs=(),
        citation="synthetic: drawn by lmkit.phantom, says nothing clinical",
        licence="MIT",
        fingerprint=digest.hexdigest(),
        reader=lambda image: phantom.draw(phantom.anatomy(seed, number[image])),
        sizer=lambda image: phantom.HW,
        measurements=phantom.MEASUREMENTS,
        second_reading=phantom_faults.second_reader(landmarks, seed),
    )


def _warn_of_skipped(folder: Path, tables: Tables) -> None:
    if tables.skipped:
        warnings.warn(
            f"{folder}: {len(tables.skipped)} images left out, first {tables.skipped[0].message}",
            stacklevel=3,
        )
    for remark in tables.remarks:
        warnings.warn(f"{folder}: {remark}", stacklevel=3)


def _fill_split(images: pd.DataFrame, fractions: tuple[float, ...], seed: int) -> pd.Series:
    """The split column with the patients that have none dealt out, a patient as a whole."""
    split = images["split"].copy()
    patients = images.loc[split == "", "patient"].unique()
    stated = images[split != ""].drop_duplicates("patient").set_index("patient")["split"]
    dealt = dict(stated)  # an image without a split follows its patient's other images
    free = np.array(sorted(p for p in patients if p not in dealt), dtype=object)
    np.random.default_rng(seed).shuffle(free)
    for name, part in zip(SPLITS, np.split(free, _ends(fractions, len(free))), strict=True):
        dealt |= dict.fromkeys(part, name)
    split[split == ""] = images.loc[split == "", "patient"].map(dealt)
    return split


def _ends(fractions: tuple[float, ...], n: int) -> list[int]:
    """Where train and val end among n patients; no split with a share stays empty if n allows."""
    counts = np.round(np.diff(np.round(np.cumsum([0, *fractions]) * n))).astype(int)
    for i, share in enumerate(fractions):
        if share > 0 and counts[i] == 0 and counts.max() > 1:
            counts[counts.argmax()] -= 1
            counts[i] = 1
    return [int(end) for end in np.cumsum(counts)[:-1]]


def _fingerprint(images: pd.DataFrame, tables: Tables) -> str:
    """Digest of the tables, corrections applied, and of the image files' bytes.

    Corrections that change no label, and a second reading, which nothing is trained on, leave it as
    it is: a run stays valid while its images are read again.
    """
    digest = hashlib.blake2b(digest_size=12)
    for table in (images, tables.landmarks):
        digest.update(table.to_csv(index=False).encode())
    for path in tables.paths.values():
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
