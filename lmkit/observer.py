"""How far two readings of the same landmarks are apart: no model can be judged beyond that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lmkit.fields import InputError
from lmkit.measures import spacing_of
from lmkit.metrics import error_matrix, radial_error_mm, summarise
from lmkit.stats import bootstrap_intervals, compare_paired

KEY = ["image", "side", "landmark"]


def readings(first: pd.DataFrame, second: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """A second reading as if it were predictions of the first; what takes predictions takes it.

    Args:
        first, second: image, side, landmark, x, y (source pixels), such as the dataset's landmarks
            and second_reading. What only one has read is left out.
        images: image, patient, spacing_x_mm, spacing_y_mm.
    Returns: image, patient, side, landmark, x, y (second), x_true, y_true (first), error_mm.
    Raises: InputError when nothing was read twice, or an image has no spacing.
    """
    both = first.merge(second, on=KEY, suffixes=("_true", ""))
    both = both.dropna(subset=["x", "y", "x_true", "y_true"])
    both = both.merge(images[["image", "patient"]], on="image")
    if both.empty:
        raise InputError(
            f"second reading: expected landmarks that were read twice, got none among the "
            f"{len(first)} and {len(second)} rows"
        )
    error_mm = radial_error_mm(
        both[["x", "y"]].to_numpy(float),
        both[["x_true", "y_true"]].to_numpy(float),
        spacing_of(both["image"], images),
    )
    columns = ["image", "patient", *KEY[1:], "x", "y", "x_true", "y_true"]
    return both[columns].assign(error_mm=error_mm)


def observer_limit(first: pd.DataFrame, second: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """How well a reader repeats a reader, per landmark and in all.

    Args: as `readings`.
    Returns: rows by landmark and 'all'; n, mre_mm with low and high (95 %, over patients),
        median_mm, sdr_2mm and failure_rate (> 4 mm) of the second against the first; sd_x_mm and
        sd_y_mm of the differences (divisor n - 1), of which either reader's own share is 1/√2 if
        both are equally exact; offset_x_mm and offset_y_mm, the mean of second - first.
    Raises: as `readings`.
    """
    both = readings(first, second, images)
    apart = both[["x", "y"]].to_numpy() - both[["x_true", "y_true"]].to_numpy()
    both[["dx_mm", "dy_mm"]] = apart * spacing_of(both["image"], images)
    parts = dict(tuple(both.groupby("landmark", sort=False))) | {"all": both}
    rows = {}
    for name, part in parts.items():
        columns = {f"sd_{axis}_mm": part[f"d{axis}_mm"].std() for axis in "xy"}
        columns |= {f"offset_{axis}_mm": part[f"d{axis}_mm"].mean() for axis in "xy"}
        rows[name] = _figures(part) | columns
    return pd.DataFrame.from_dict(rows, orient="index")


def beside_model(
    first: pd.DataFrame, second: pd.DataFrame, images: pd.DataFrame, predictions: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A model's distance from the readers beside their distance from each other, same landmarks.

    Args:
        first, second, images: as `readings`.
        predictions: rows of predictions.csv, some of them of images that were read twice.
    Returns: rows `second reader against first`, `model against first`, `model against second`, with
        n, mre_mm, low, high, median_mm, sdr_2mm, failure_rate; and `stats.compare_paired` of the
        first two: an effect below 0 is a model nearer to the first reader than the second is.
    Raises: InputError as `readings`, and when no landmark was both predicted and read twice.
    """
    both = readings(first, second, images)
    model = predictions[[*KEY, "x", "y"]].astype({"landmark": str})
    joined = both.merge(model, on=KEY, suffixes=("", "_model")).dropna(subset=["x_model"])
    if joined.empty:
        raise InputError(
            "predictions: expected images of the second reading, got none of them; predict those "
            "images, or read some of the predicted ones again"
        )
    spacing, rows = spacing_of(joined["image"], images), joined[both.columns]

    def against(reader: list[str]) -> pd.DataFrame:
        pair = joined[["x_model", "y_model"]].to_numpy(), joined[reader].to_numpy()
        return rows.assign(error_mm=radial_error_mm(*pair, spacing))

    of_model = against(["x_true", "y_true"])
    parts = {
        "second reader against first": rows,
        "model against first": of_model,
        "model against second": against(["x", "y"]),
    }
    table = pd.DataFrame.from_dict({k: _figures(v) for k, v in parts.items()}, orient="index")
    return table, compare_paired(rows, of_model)


def _figures(rows: pd.DataFrame) -> dict[str, Any]:
    """The figures of some errors, with the interval of their mean."""
    errors = error_matrix(rows)
    patients = errors.index.get_level_values("patient").to_numpy(str)
    found = summarise(errors.to_numpy())
    low, high = bootstrap_intervals(errors.to_numpy(), patients)["mre_mm"] or (np.nan, np.nan)
    return {
        "n": found["n_landmarks"],
        "mre_mm": found["mre_mm"],
        "low": low,
        "high": high,
        "median_mm": found["median_mm"],
        "sdr_2mm": found["sdr"]["2"],
        "failure_rate": found["failure_rate"],
    }
