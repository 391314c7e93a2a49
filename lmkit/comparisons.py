"""Two sets of errors on the same patients, paired: left against right, run against run."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lmkit.fields import InputError
from lmkit.stats import compare_paired
from lmkit.verdicts import p_text

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


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A `comparison_table` to look at: three decimals, and a small p never as 0."""
    return table.round(3).assign(p=table["p"].astype(float).map(p_text))


def comparison_table(compared: dict[str, Any], a: str, b: str) -> pd.DataFrame:
    """A paired comparison to read: a row per figure, with the effect's interval and p.

    Args:
        compared: of `stats.compare_paired`.
        a, b: what the two are called.
    """
    figures = {name: compared[key] for name, key in FIGURES.items()}
    figures |= {f"SDR {t} mm": value for t, value in compared["sdr"].items()}
    nothing, level = (float("nan"), float("nan")), f"{100 * compared['level']:g} %"
    rows = {
        name: {
            a: value["a"],
            b: value["b"],
            f"{b} − {a}": value["effect"],
            f"{level} from": (value["interval"] or nothing)[0],
            f"{level} to": (value["interval"] or nothing)[1],
            "p": value["p"],
            "could be seen": value["detectable"],
        }
        for name, value in figures.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
