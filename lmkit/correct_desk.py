"""A reader who mends labels: what is looked at, and what was decided, saved at once."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from lmkit import corrections, plots
from lmkit.audit_repair import told
from lmkit.case_desk import Pictures
from lmkit.data import Dataset
from lmkit.fields import InputError
from lmkit.outdated import KEY
from lmkit.windows import NEAR, Window, about, whole

CLOSE_PX = 40.0  # half the side of a window about one landmark, at least
CLOSE_SHARE = 0.35  # and of the extent of the set's points


class CorrectionDesk:
    """Label sets to go through one by one; every decision is a row of corrections.csv at once.

    Args:
        dataset: whose labels are looked at.
        flagged: rows of `audit_labels` or `audit_with_predictions`, in the order to see them; kept
            ones are left out. None = all label sets.
        predictions: image, side, landmark, x, y (px), such as rows of predictions.csv; None = none.
        folder: that corrections.csv is written to; None = the dataset's own. What is written into
            another one is not read by `open_dataset`, as with the phantom, which has no folder.
        reader: who decides.
    Raises: InputError when nothing is left to look at.
    """

    def __init__(
        self,
        dataset: Dataset,
        flagged: pd.DataFrame | None = None,
        predictions: pd.DataFrame | None = None,
        *,
        folder: str | Path | None = None,
        reader: str = "",
    ) -> None:
        self.dataset, self.folder, self.reader = dataset, folder or dataset.folder, reader
        self.pictures = Pictures(dataset)
        self.own = corrections.originals(dataset.landmarks, dataset.corrections)
        empty = pd.DataFrame(columns=corrections.COLUMNS).astype({"x": float, "y": float})
        given = empty if dataset.corrections is None else dataset.corrections[corrections.COLUMNS]
        self.rows = given
        # what each step has to bring back, and the labels that it repaired
        self.steps: list[tuple[pd.DataFrame, set[tuple[str, ...]]]] = []
        sets = dataset.landmarks[KEY[:2]] if flagged is None else flagged
        sets = corrections.still_flagged(sets.drop_duplicates(KEY[:2]), dataset.corrections)
        if sets.empty:
            raise InputError(f"{dataset.name}: expected label sets to look at, got none; all right")
        self.sets = sets.reset_index(drop=True)
        self.seen = _by_set(predictions) if predictions is not None else {}
        self.place, self.landmark, self.view = 0, dataset.names[0], NEAR
        self.window = self._window()

    @property
    def case(self) -> tuple[str, str]:
        """Image and side that is looked at."""
        row = self.sets.iloc[self.place]
        return str(row["image"]), str(row["side"])

    @property
    def suspicion(self) -> tuple[str, str]:
        """What the audit says of it: cause and repair, '' where nothing."""
        row = self.sets.iloc[self.place]
        return str(row.get("cause", "")), str(row.get("repair", ""))

    @property
    def labels(self) -> pd.DataFrame:
        """All labels as decided so far."""
        return corrections.apply(self.own, self.rows)

    def points(self, side: str | None = None) -> np.ndarray:
        """(L, 2) px of this image's labels as decided so far, of a side; NaN = not annotated."""
        return self._of(self.labels, side or self.case[1])

    def own_points(self) -> np.ndarray:
        """(L, 2) px as the labels' own file says."""
        return self._of(self.own, self.case[1])

    def model_points(self) -> np.ndarray:
        """(L, 2) px as the predictions say; NaN = not predicted."""
        rows = self.seen.get(self.case)
        nothing = np.full((len(self.dataset.names), 2), np.nan)
        return nothing if rows is None else self._of(rows, self.case[1])

    def _of(self, table: pd.DataFrame, side: str) -> np.ndarray:
        own = table[(table["image"] == self.case[0]) & (table["side"] == side)]
        xy = own.set_index("landmark")[["x", "y"]].reindex(list(self.dataset.names))
        return xy.to_numpy(float)

    def pixels(self) -> np.ndarray:
        """(H, W) uint8 of the image; those beside it in the list are read ahead."""
        around = [i for i in (self.place + 1, self.place - 1) if 0 <= i < len(self.sets)]
        return self.pictures.get(self.case[0], [str(self.sets["image"][i]) for i in around])

    # what to look at

    def go(self, step: int) -> None:
        """To another label set, so many further in the list; the list ends where it ends."""
        self.place = int(np.clip(self.place + step, 0, len(self.sets) - 1))
        self.window = self._window()

    def look(self, landmark: str | None = None, view: str | None = None) -> None:
        """Choose a landmark, or how near to look: a key of `lmkit.windows.VIEWS`."""
        self.landmark, self.view = landmark or self.landmark, view or self.view
        self.window = self._window()

    def _window(self) -> Window:
        """The part of the image that is shown; it stays while a point is moved."""
        pixels = self.pixels()
        points = np.concatenate([self.points(), self.own_points(), self.model_points()])
        inside = points[whole(pixels.shape).holds(points)]
        if self.view == "whole" or len(inside) == 0:
            return whole(pixels.shape)
        if self.view == NEAR:
            part, offset = plots.crop(pixels, inside)
            return Window(int(offset[0]), int(offset[1]), part.shape[1], part.shape[0])
        k = self.dataset.names.index(self.landmark)
        at = next((p[k] for p in (self.points(), self.model_points()) if p[k, 0] == p[k, 0]), None)
        at = inside.mean(0) if at is None else at
        return about(
            at, max(CLOSE_PX, CLOSE_SHARE * float(np.ptp(inside, axis=0).max())), pixels.shape
        )

    # what to decide

    def move(self, x: float, y: float) -> None:
        """The chosen landmark is at x, y, px. Raises: InputError outside the image."""
        height, width = self.pixels().shape
        if not whole((height, width)).holds(np.array([[x, y]]))[0]:
            raise InputError(
                f"{self.landmark}: expected a place in {width} x {height} pixels, got {x:g}, {y:g}"
            )
        self._decide([self.landmark], "move", "moved by hand", [(x, y)])

    def nudge(self, dx: float, dy: float) -> None:
        """Move the chosen landmark a little, px. Raises: InputError where it has no place."""
        x, y = self.points()[self.dataset.names.index(self.landmark)]
        if np.isnan(x):
            raise InputError(
                f"{self.landmark}: expected a place to move it from, got none; click it"
            )
        self.move(x + dx, y + dy)

    def take_model(self) -> None:
        """The chosen landmark is where the model sees it. Raises: InputError without a model."""
        x, y = self.model_points()[self.dataset.names.index(self.landmark)]
        if np.isnan(x):
            raise InputError(f"{self.landmark}: expected a prediction of {self.case[0]}, got none")
        self._decide([self.landmark], "move", "taken from the model", [(x, y)])

    def unclear(self, reason: str = "") -> None:
        """Nobody can tell where the chosen landmark is."""
        self._decide([self.landmark], "unclear", reason)

    def keep(self, reason: str = "") -> None:
        """All labels of the set are right as they are now; it is flagged no more."""
        now, own = self.points(), self.own_points()
        names = [n for n, (x, _) in zip(self.dataset.names, now, strict=True) if x == x]
        if not names:
            raise InputError(f"{' '.join(self.case)}: expected a label to keep, got none")
        known = ~np.isnan(now[:, 0])
        # a place only where it is not the own file's: later edits of that file stay in force
        moved = (now[known] != own[known]).any(1)
        places = [
            tuple(p) if m else (np.nan, np.nan) for p, m in zip(now[known], moved, strict=True)
        ]
        self._decide(names, "keep", reason, places)

    def accept(self) -> None:
        """Carry out the audit's repair. Raises: InputError where it suggests none, or where one of
        this session has changed these labels already: both rows of exchanged sides say the same."""
        cause, repair = self.suspicion
        row = self.sets.iloc[[self.place]].assign(cause=cause, repair=repair)
        rows = corrections.from_repairs(self.labels, row)
        if rows.empty:
            raise InputError(
                f"{' '.join(self.case)}: expected a suggested repair, got {repair or 'none'}; move "
                "the points by hand, or keep them"
            )
        keys = {tuple(map(str, key)) for key in rows[KEY].to_numpy()}
        if any(keys & repaired for _, repaired in self.steps):
            raise InputError(
                f"{' '.join(self.case)}: expected labels as they were audited, got some that a "
                f"repair has changed already, so {repair} is not carried out on top of it; undo "
                "that one, or look whether all is right now"
            )
        self._write(rows, repaired=keys)

    def undo(self) -> None:
        """Take the last decision back, by rows that say so. Raises: InputError without one."""
        if not self.steps:
            raise InputError("undo: expected a decision of this session, got none")
        self._write(self.steps.pop()[0], remember=False)

    def _decide(
        self,
        names: list[str],
        action: str,
        reason: str,
        places: list[tuple[float, float]] | None = None,
    ) -> None:
        places = places or [(np.nan, np.nan)] * len(names)
        rows = [
            (*self.case, name, x, y, action, reason)
            for name, (x, y) in zip(names, places, strict=True)
        ]
        self._write(pd.DataFrame(rows, columns=[*KEY, "x", "y", "action", "reason"]))

    def _write(
        self,
        rows: pd.DataFrame,
        remember: bool = True,
        repaired: Collection[tuple[str, ...]] = (),
    ) -> None:
        """Append rows and follow them. Raises: InputError without a reader's name or a folder."""
        if self.folder is None:
            raise InputError(
                f"folder: expected one to save to, got none; {self.dataset.name} has none itself"
            )
        if not self.reader.strip():
            raise InputError("reader: expected the name of who decides, got nothing")
        corrections.append(self.folder, rows, self.reader.strip(), self.own)
        old = rows[KEY].merge(self.rows, how="left", on=KEY)
        none = old["action"].isna()
        old.loc[none, "action"] = "undo"
        if remember:
            back = old.assign(reason=old["reason"].where(~none, "taken back"))
            self.steps.append((back, set(repaired)))
        new = rows.reindex(columns=corrections.COLUMNS).astype({"x": float, "y": float})
        self.rows = corrections.in_force(pd.concat([f for f in (self.rows, new) if len(f)]))

    def state(self) -> str:
        """Where the reader is, in a line: which of how many, what is suspected, what is decided."""
        image, side = self.case
        cause, repair = self.suspicion
        own = self.rows[(self.rows["image"] == image) & (self.rows["side"] == side)]
        decided = own["action"].value_counts()
        said = f"{self.place + 1} of {len(self.sets)}: {image}, {side}"
        said += f" · {cause}" + (f", {told(repair)}" if repair else "") if cause else ""
        made = ", ".join(f"{n} {action}" for action, n in decided.items())
        return said + (f" · decided: {made}" if made else " · nothing decided")


def _by_set(predictions: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """The rows of each image and side. Raises: InputError for a landmark that is there twice."""
    twice = predictions.duplicated(KEY)
    if twice.any():
        first = " ".join(map(str, predictions.loc[twice, KEY].iloc[0]))
        raise InputError(f"predictions: expected each landmark once, got {first} again")
    table = predictions.astype({"landmark": str})
    return {(str(i), str(s)): rows for (i, s), rows in table.groupby(KEY[:2])}
