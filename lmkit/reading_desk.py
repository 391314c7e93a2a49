"""A second reader at work: images in random order, no label to be seen, points into a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from lmkit.appending import append_rows
from lmkit.case_desk import Pictures
from lmkit.data import Dataset
from lmkit.fields import InputError
from lmkit.formats import SECOND
from lmkit.outdated import KEY
from lmkit.tables import NO_SIDE, rows_of
from lmkit.windows import NEAR, Window, about, whole

SHARE = (
    0.01,
    0.99,
)  # of all labels of a side, between which the part of the image is that is shown
MARGIN = 0.15  # of that part, on each side
CLOSE = 0.12  # half the side of a window about one point, of the image's larger side


class ReadingDesk:
    """Label sets to read again without seeing the label; each is saved when all is placed.

    What is shown is the part of the image in which this side's labels lie in all images, so that it
    says nothing about this one. Sets that second_reading.csv has are not read again, so a reader
    may stop at any time; the same seed gives the same order.

    Args:
        dataset: that is read again.
        n: how many label sets, the first of the random order; None = all.
        seed: of the order.
        split: train, val or test; '' = all images.
        folder: that second_reading.csv is written to; None = the dataset's own.
        reader: who reads.
    Raises: InputError without a folder, when nothing is left to read, or when the dataset has
        another second reading already.
    """

    def __init__(
        self,
        dataset: Dataset,
        n: int | None = None,
        *,
        seed: int = 0,
        split: str = "",
        folder: str | Path | None = None,
        reader: str = "",
    ) -> None:
        place = folder or dataset.folder
        if place is None:
            raise InputError(f"folder: expected one for {dataset.name}, which has none of its own")
        self.dataset, self.path, self.reader = dataset, Path(place) / SECOND, reader
        if dataset.second_reading is not None and folder is None and not self.path.exists():
            raise InputError(
                f"{dataset.name}: expected no second reading yet, got one that came with the "
                "dataset; name another folder to make a third"
            )
        self.pictures, self.view, self.landmark = Pictures(dataset), NEAR, dataset.names[0]
        self.cases = self._order(n, seed, split)
        if not self.cases:
            raise InputError(
                f"{self.path}: expected label sets left to read, got none; all is read"
            )
        self.place, self.marks = 0, self._blank()
        self.hidden: set[str] = set()  # landmarks that this reader cannot see

    def _order(self, n: int | None, seed: int, split: str) -> list[tuple[str, str]]:
        """(image, side) left to read, in random order."""
        images = self.dataset.images
        chosen = images if not split else images[images["split"] == split]
        table = self.dataset.landmarks
        table = table[table["image"].isin(chosen["image"])]
        every = sorted(
            {(str(i), str(s)) for i, s in zip(table["image"], table["side"], strict=True)}
        )
        order = np.random.default_rng(seed).permutation(len(every))
        first = [every[i] for i in order][:n]
        done = self._done()
        return [case for case in first if case not in done]

    def _done(self) -> set[tuple[str, str]]:
        """(image, side) that the file has."""
        if not self.path.exists():
            return set()
        rows = (cells for _, cells in rows_of(self.path, ("image",), ("side",)))
        return {(cells["image"], cells.get("side") or NO_SIDE) for cells in rows}

    def _blank(self) -> np.ndarray:
        return np.full((len(self.dataset.names), 2), np.nan)

    @property
    def done(self) -> bool:
        """Whether all label sets are read."""
        return self.place >= len(self.cases)

    @property
    def case(self) -> tuple[str, str]:
        """Image and side that is read; the last one when all are."""
        return self.cases[min(self.place, len(self.cases) - 1)]

    @property
    def missing(self) -> list[str]:
        """Landmarks that are neither placed nor said to be hidden."""
        placed = ~np.isnan(self.marks[:, 0])
        return [
            name
            for name, there in zip(self.dataset.names, placed, strict=True)
            if not there and name not in self.hidden
        ]

    def pixels(self) -> np.ndarray:
        """(H, W) uint8 of the image; the next one is read ahead."""
        ahead = [image for image, _ in self.cases[self.place + 1 : self.place + 2]]
        return self.pictures.get(self.case[0], ahead)

    @property
    def window(self) -> Window:
        """The part that is shown: where such labels lie in all images, or about the reader's own
        mark, or the whole image."""
        hw = self.pixels().shape
        mark = self.marks[self.dataset.names.index(self.landmark)]
        if self.view == "landmark" and not np.isnan(mark[0]):
            return about(mark, CLOSE * max(hw), hw)
        return whole(hw) if self.view == "whole" else self._usual(hw)

    def _usual(self, hw: tuple[int, int]) -> Window:
        points = self.dataset.points(self.case[1]) / self.dataset.sizes()[:, None, ::-1]
        low, high = np.nanquantile(points.reshape(-1, 2), SHARE, axis=0)
        low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
        size = np.array(hw[::-1])
        start = np.clip(np.floor(low * size), 0, size - 2).astype(int)
        stop = np.clip(np.ceil(high * size), start + 2, size).astype(int)
        return Window(int(start[0]), int(start[1]), *(stop - start).tolist())

    def mark(self, x: float, y: float) -> None:
        """The chosen landmark is at x, y, px; the next one that is missing is chosen.

        Raises: InputError outside the image.
        """
        height, width = self.pixels().shape
        if not whole((height, width)).holds(np.array([[x, y]]))[0]:
            raise InputError(
                f"{self.landmark}: expected a place in {width} x {height} pixels, got {x:g}, {y:g}"
            )
        self.marks[self.dataset.names.index(self.landmark)] = x, y
        self.hidden.discard(self.landmark)

    def choose_next(self) -> None:
        """Choose the first landmark that is missing, if any is."""
        self.landmark = (self.missing or [self.landmark])[0]

    def nudge(self, dx: float, dy: float) -> None:
        """Move the chosen landmark's mark a little, px. Raises: InputError where there is none."""
        x, y = self.marks[self.dataset.names.index(self.landmark)]
        if np.isnan(x):
            raise InputError(f"{self.landmark}: expected a mark to move, got none; click it first")
        self.mark(x + dx, y + dy)

    def hide(self) -> None:
        """This reader cannot see the chosen landmark."""
        self.marks[self.dataset.names.index(self.landmark)] = np.nan
        self.hidden.add(self.landmark)

    def clear(self) -> None:
        """Start this label set again."""
        self.marks, self.hidden, self.landmark = self._blank(), set(), self.dataset.names[0]

    def save(self) -> None:
        """Write the set and go to the next one.

        Raises: InputError while a landmark is missing, without a reader's name, or with no mark.
        """
        if not self.reader.strip():
            raise InputError("reader: expected the name of who reads, got nothing")
        if self.done:
            raise InputError(f"{self.path}: expected a label set to save, got none; all is read")
        if self.missing:
            raise InputError(
                f"{' '.join(self.case)}: expected all landmarks, got none for "
                f"{', '.join(self.missing)}; place it, or say that it cannot be seen"
            )
        image, side = self.case
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [
            (image, side, name, x, y, self.reader.strip(), now)
            for name, (x, y) in zip(self.dataset.names, self.marks, strict=True)
            if not np.isnan(x)
        ]
        if rows:
            table = pd.DataFrame(rows, columns=[*KEY, "x", "y", "reader", "time"])
            table = table if self.dataset.sides else table.drop(columns="side")
            append_rows(self.path, table, ("image", "landmark", "x", "y"))
        self.place += 1
        self.clear()

    def state(self) -> str:
        """Where the reader is, in a line."""
        if self.done:
            return f"all {len(self.cases)} label sets read, in {self.path}"
        said = f"{self.place + 1} of {len(self.cases)}: {self.case[0]}, {self.case[1]}"
        left = ", ".join(self.missing)
        return f"{said} · " + (f"to place: {left}" if left else "all placed: save")
