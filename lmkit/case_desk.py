"""What the explorers of cases look up: rows, pictures read ahead, and maps, of one run."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmkit import plots_cases
from lmkit.cases import CASE, CaseMaps, in_order
from lmkit.data import Dataset
from lmkit.images import to_uint8

NO_MAPS = "none"
KEPT = 16  # images held in memory
STEP_MM = 0.1  # of spans of errors


class Pictures:
    """Images of a dataset, read ahead: the neighbours of what is looked at are there when asked."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.thread = dataset, ThreadPoolExecutor(1)
        self.held: dict[str, Future[np.ndarray]] = {}

    def get(self, image: str, neighbours: Sequence[str] = ()) -> np.ndarray:
        """(H, W) uint8 of an image; the neighbours are read after it, in the background."""
        self._forget({image, *neighbours})
        found = self._ask(image)
        for name in neighbours:
            self._ask(name)
        while len(self.held) > KEPT:
            self.held.pop(next(iter(self.held)))
        return found.result()

    def _forget(self, wanted: set[str]) -> None:
        """Neighbours of an earlier image that nobody has begun to read do not keep this one up."""
        for name, future in list(self.held.items()):
            if name not in wanted and future.cancel():
                del self.held[name]

    def _ask(self, image: str) -> Future[np.ndarray]:
        future = self.held.pop(image, None) or self.thread.submit(self._read, image)
        self.held[image] = future  # last in, last out
        return future

    def _read(self, image: str) -> np.ndarray:
        return to_uint8(self.dataset.read(image))


@dataclass(frozen=True)
class Desk:
    """What the explorers look up: rows of predictions, cases to sort, pictures and maps."""

    rows: pd.DataFrame
    cases: pd.DataFrame
    pictures: Pictures
    maps: CaseMaps | None = None

    @property
    def top_mm(self) -> float:
        """The largest error, rounded up, mm; 1 where nothing is annotated."""
        top = self.rows["error_mm"].max()
        return 1.0 if pd.isna(top) else float(np.ceil(top / STEP_MM) * STEP_MM)

    def narrowed(self, span_mm: tuple[float, float]) -> tuple[float, float] | None:
        """A span of errors, or None where it is all there is."""
        low, high = span_mm
        return None if low < STEP_MM / 2 and high > self.top_mm - STEP_MM / 2 else (low, high)

    def chosen(self, by: str, span_mm: tuple[float, float] | None = None) -> list[tuple[str, str]]:
        """Cases in order; with a span only those with a landmark that is off by so much."""
        cases = in_order(self.cases, by)
        if span_mm is None:
            return cases
        within = self.rows.loc[self.rows["error_mm"].between(*span_mm), CASE]
        kept = set(within.itertuples(index=False, name=None))
        return [case for case in cases if case in kept]

    def of(self, case: tuple[str, str]) -> pd.DataFrame:
        """The rows of a case."""
        image, side = case
        return self.rows[(self.rows["image"] == image) & (self.rows["side"] == side)]

    def near(
        self, cases: list[tuple[str, str]], place: int
    ) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        """Rows, part of the image and its offset of the case at a place in a list."""
        around = (cases[i][0] for i in (place + 1, place - 1) if 0 <= i < len(cases))
        rows = self.of(cases[place])
        part, offset = plots_cases.near(self.pictures.get(cases[place][0], list(around)), rows)
        return rows, part, offset

    def maps_near(
        self, case: tuple[str, str], part: np.ndarray, offset: np.ndarray, shown: str
    ) -> np.ndarray | None:
        """(L, H, W) maps of the level that is `shown`, in the frame of `part`."""
        if self.maps is None or shown == NO_MAPS:
            return None
        return self.maps.near(*case, offset, part.shape, self.maps.levels().index(shown))
