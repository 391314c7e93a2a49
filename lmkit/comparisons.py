"""Two sets of errors on the same patients, paired: left against right, run against run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lmkit.fields import InputError
from lmkit.stats import compare_paired
from lmkit.verdicts import p_text

FIGURES = {"MRE, mm": "mre_mm", "median, mm": "median_mm", "failures > 4 mm": "failure_rate"}


def compare_runs(a: pd.DataFrame, b: pd.DataFrame, name_a: str, name_b: str) -> dict[str, Any]:
    """Whether the errors of run b differ from those of run a, patient by patient.

    Args:
        a, b: rows of predictions.csv of one split.
        name_a, name_b: what the runs are called, for the message.
    Returns: as `stats.compare_paired`.
    Raises: InputError where they were scored on different labels, or as `compare_paired`.
    """
    keys, true = ["image", "side", "landmark"], ["x_true", "y_true"]
    both = a[keys + true].merge(b[keys + true], on=keys, suffixes=("", "_b"))
    xy, xy_b = (both[[f"{name}{end}" for name in true]].to_numpy(float) for end in ("", "_b"))
    differ = ~np.isclose(xy, xy_b, rtol=0, atol=1e-3, equal_nan=True).all(1)
    if differ.any():
        image, side, landmark = both.loc[differ, keys].iloc[0]
        where = " ".join(part for part in (side, landmark) if part)
        raise InputError(
            f"{name_a}, {name_b}: expected errors from the same labels, got {differ.sum()} that "
            f"differ, the first is {where} of {image}; run 03 and 04 of the older one again on "
            "today's labels, under another name"
        )
    return compare_paired(a, b)


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
