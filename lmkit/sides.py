"""The patient's left against the right: the same patients, each with both sides, paired."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lmkit.config import InputError
from lmkit.stats import compare_paired

FIGURES = {"MRE, mm": "mre_mm", "median, mm": "median_mm", "failures > 4 mm": "failure_rate"}


def compare_sides(left: pd.DataFrame, right: pd.DataFrame) -> dict[str, Any]:
    """Whether errors on the right differ from those on the left, patient by patient.

    Args:
        left, right: rows of predictions.csv of one split, each of one side; patients with one side
            only are left out.
    Returns: as `stats.compare_paired`, a = left, b = right, effect = right - left.
    Raises: InputError where no image has both sides.
    """
    keys = ["image", "patient", "landmark"]
    known = [part[part["error_mm"].notna()].drop_duplicates(keys) for part in (left, right)]
    common = pd.merge(*(part[keys] for part in known), on=keys)
    if common.empty:
        raise InputError("left, right: expected images with both sides, got none")
    a, b = (part.merge(common, on=keys).assign(side="either") for part in known)
    return compare_paired(a, b)


def sides_table(compared: dict[str, Any]) -> pd.DataFrame:
    """A comparison of the sides to read: a row per figure, with interval and p."""
    figures = {name: compared[key] for name, key in FIGURES.items()}
    figures |= {f"SDR {t} mm": value for t, value in compared["sdr"].items()}
    nothing = (float("nan"), float("nan"))
    rows = {
        name: {
            "left": value["a"],
            "right": value["b"],
            "right − left": value["effect"],
            "from": (value["interval"] or nothing)[0],
            "to": (value["interval"] or nothing)[1],
            "p": value["p"],
        }
        for name, value in figures.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
