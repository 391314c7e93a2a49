"""Predictions of two runs, or two sets of runs, laid side by side: a row per landmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from lmkit.fields import InputError
from lmkit.metrics import FAILURE_MM

Runs: TypeAlias = pd.DataFrame | Sequence[pd.DataFrame]
KEY = ["image", "patient", "side", "landmark"]


@dataclass(frozen=True)
class Pairs:
    """Errors of a and b on the same N landmarks, each annotated and predicted on both sides.

    keys: N rows of image, patient, side, landmark.
    a_mm, b_mm: (N, seeds of a) and (N, seeds of b), mm.
    n_unpaired: landmarks with an error on one side only, or of some seeds only; left out.
    """

    keys: pd.DataFrame
    a_mm: np.ndarray
    b_mm: np.ndarray
    n_unpaired: int


def pair(a: Runs, b: Runs, split: str | None = None) -> Pairs:
    """Match two runs landmark by landmark.

    Args:
        a, b: rows of predictions.csv (image, patient, side, landmark, error_mm in mm), one frame,
            one with a column `seed`, or one frame per seed.
        split: keep these rows only; needed where the rows hold more than one.
    Raises: InputError for missing columns, repeats, more than one split, or different images.
    """
    left, right = _by_seed(a, "a", split), _by_seed(b, "b", split)
    _same_rows(left.index, right.index, "a", "b")
    right = right.loc[left.index]
    some = left.notna().any(axis=1) | right.notna().any(axis=1)
    whole = left.notna().all(axis=1) & right.notna().all(axis=1)
    return Pairs(
        keys=left.index[whole].to_frame(index=False),
        a_mm=left[whole].to_numpy(float),
        b_mm=right[whole].to_numpy(float),
        n_unpaired=int((some & ~whole).sum()),
    )


def per_image(pairs: Pairs, threshold_mm: float = 2.0) -> pd.DataFrame:
    """The differences b - a of each image and side, seeds averaged, to plot or to read.

    Returns: image, patient, side, n_landmarks, mre_mm, sdr, failure_rate: the difference of the
        mean error (mm) and of the shares of landmarks within `threshold_mm` and over 4 mm.
    """
    a, b = pairs.a_mm, pairs.b_mm
    columns = {
        "n_landmarks": 1,
        "mre_mm": b.mean(1) - a.mean(1),
        "sdr": (b <= threshold_mm).mean(1) - (a <= threshold_mm).mean(1),
        "failure_rate": (b > FAILURE_MM).mean(1) - (a > FAILURE_MM).mean(1),
    }
    rows = pairs.keys.assign(**columns)
    how = {"n_landmarks": "sum", "mre_mm": "mean", "sdr": "mean", "failure_rate": "mean"}
    return rows.groupby(["image", "patient", "side"], sort=False).agg(how).reset_index()


def _by_seed(runs: Runs, name: str, split: str | None) -> pd.DataFrame:
    """Errors, mm, a row per landmark (indexed by KEY) and a column per seed."""
    frames = [runs] if isinstance(runs, pd.DataFrame) else list(runs)
    if not frames:
        raise InputError(f"{name}: expected predictions of at least one run, got none")
    frames = [_checked(frame, name, split) for frame in frames]
    columns = []
    for frame in frames:
        parts = frame.groupby("seed", dropna=False) if "seed" in frame else [(None, frame)]
        columns += [_errors(part, name) for _, part in parts]
    for other in columns[1:]:
        _same_rows(columns[0].index, other.index, f"the first seed of {name}", "another")
    return pd.concat(columns, axis=1, keys=range(len(columns)))


def _errors(rows: pd.DataFrame, name: str) -> pd.Series:
    """Errors of one seed, mm, indexed by KEY. Raises: InputError for repeats."""
    again = rows.duplicated(KEY)
    if again.any():
        raise InputError(
            f"{name}: expected each image, side and landmark once per seed, got a repeat of "
            f"{_words(rows.loc[again, KEY].iloc[0])}; give seeds as tables or in a column `seed`"
        )
    return rows.set_index(KEY)["error_mm"]


def _checked(frame: pd.DataFrame, name: str, split: str | None) -> pd.DataFrame:
    wanted = [*KEY, "error_mm"] + ["split"] * (split is not None)
    missing = [column for column in wanted if column not in frame]
    if missing:
        raise InputError(
            f"{name}: expected the columns of predictions.csv, got none named "
            f"{', '.join(missing)}; give a run's predictions.csv"
        )
    found = ", ".join(map(str, frame["split"].unique())) if "split" in frame else ""
    if split is not None:
        frame = frame[frame["split"] == split]
    elif frame.get("split", pd.Series()).nunique() > 1:
        raise InputError(f"{name}: expected rows of one split, got {found}; name it with split=")
    if frame.empty:
        of = f" of the split {split}" if split else ""
        raise InputError(f"{name}: expected rows{of}, got none (splits: {found or 'none'})")
    return frame.astype(dict.fromkeys(KEY, str))


def _same_rows(left: pd.Index, right: pd.Index, a: str, b: str) -> None:
    """Raises: InputError that names an image, or else a landmark, that one side lacks."""
    for levels in (["image", "side"], ["image", "patient", "side"], KEY):
        ours, theirs = (
            i.droplevel([k for k in KEY if k not in levels]).unique() for i in (left, right)
        )
        for here, there, has, lacks in ((ours, theirs, a, b), (theirs, ours, b, a)):
            absent = here.difference(there)
            if len(absent):
                raise InputError(
                    f"{lacks}: expected the {len(here)} {' × '.join(levels)} of {has}, got "
                    f"{len(there)} without {len(absent)} of them ("
                    f"{_words(pd.Series(absent[0], levels))}, …); "
                    "predict the same images with both"
                )


def _words(row: pd.Series) -> str:
    return ", ".join(f"{key} {value}" for key, value in row.items())
