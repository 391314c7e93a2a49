"""Corrections of labels that have changed since: which they are, and what becomes of the others."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from lmkit.faults import one_line

KEY = ["image", "side", "landmark"]
WAS = ["x_was", "y_was"]  # as of the labels' own file; px, may be absent
SAME_PX = 0.01  # a label no further from there is where it was


def places(landmarks: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """(n, 2) px of the labels that n rows are about; NaN = not annotated."""
    keys = pd.MultiIndex.from_frame(rows[KEY])
    return landmarks.set_index(KEY)[["x", "y"]].reindex(keys).to_numpy(float)


def outdated(rows: pd.DataFrame, now: np.ndarray) -> np.ndarray:
    """(n,) the rows whose label is no longer what was corrected, nor what they make of it.

    Args:
        now: (n, 2) px of the label in its own file.
    """
    was, action = rows[WAS].to_numpy(float), rows["action"]
    apart = [
        ~(np.hypot(*(now - place).T) <= SAME_PX) for place in (was, rows[["x", "y"]].to_numpy())
    ]
    out = action.isin(("unclear", "drop")) & np.isnan(now[:, 0])
    return (apart[0] & apart[1] & ~np.isnan(was[:, 0]) & ~out & (action != "undo")).to_numpy()


def outdated_line(path: Path, rows: pd.DataFrame, now: np.ndarray) -> str:
    """What to say of outdated rows: the first, and how many more; now: (n, 2) px."""
    first, (x, y) = rows.iloc[0], now[0]
    got = "no label" if math.isnan(x) else f"{x:g}, {y:g}"
    more = f"; nor are {len(rows) - 1} more" if len(rows) > 1 else ""
    return (
        f"{one_line(path)} row {rows.index[0]}: {' '.join(first[KEY])}: expected the label at "
        f"{first['x_was']:g}, {first['y_was']:g} as when it was corrected, got {got}; look at it "
        f"again, for the correction is not applied{more}"
    )


def without(rows: pd.DataFrame, old: np.ndarray) -> pd.DataFrame:
    """The rows but for outdated ones, and without the word that the rest of their sets is right."""
    sets = pd.MultiIndex.from_frame(rows[KEY[:2]])
    kept = sets.isin(sets[old]) & (rows["action"] == "keep")
    left = ~old & ~(kept & rows["x"].isna())
    return rows.assign(action=rows["action"].mask(kept, "move"))[left]
