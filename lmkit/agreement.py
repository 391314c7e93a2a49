"""How well measurements from predicted landmarks agree with those from true ones.

Intervals resample patients, as those of the errors do (`lmkit.stats`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lmkit.agreement_figures import (
    CLASS_FIGURES,
    NUMBER_FIGURES,
    class_figures,
    number_figures,
    with_intervals,
)
from lmkit.measures import Measurement, cases, class_index, classes, margins, spacing_of
from lmkit.resampling import unseen_share
from lmkit.stats import FEWEST


def agree(
    measured: pd.DataFrame, measurements: Sequence[Measurement], **settings: Any
) -> dict[str, dict[str, Any]]:
    """The agreement of every measurement.

    Args:
        measured: of `measures.measure`.
        settings: resamples, level and seed, as `numbers` takes them.
    Returns: measurement -> what `numbers` or, for a class, `class_agreement` returns, with unit.
    """
    found = {}
    for m in measurements:
        rows = measured[measured["measurement"] == m.name]
        patients = rows["patient"].to_numpy(str)
        if m.of:
            pair = rows["class_true"].to_numpy(str), rows["class_predicted"].to_numpy(str)
            found[m.name] = class_agreement(*pair, m.classes, patients, **settings)
        else:
            pair = rows["true"].to_numpy(float), rows["predicted"].to_numpy(float)
            found[m.name] = numbers(*pair, patients, **settings)
        found[m.name]["unit"] = m.unit
    return found


def numbers(
    true: np.ndarray,
    predicted: np.ndarray,
    patients: np.ndarray,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Agreement of two readings of a number, with BCa intervals over patients.

    The limits suppose normal differences: a few failures widen them for everybody, so read the
    median absolute difference beside them. The intervals of sd, limits and ccc are too short where
    failures are so rare that a sample may hold none or several; those of the others hardly are.

    Args:
        true, predicted: (N,), any unit; a NaN in either leaves the case out, counted.
        patients: (N,) whose case it is.
        resamples, level, seed: of the bootstrap.
    Returns: n, n_missing, n_patients, level, resamples; bias (mean of predicted - true), sd (of the
        differences, divisor n - 1), lower and upper (limits of agreement, bias ± 1.96 sd), mae
        (mean absolute difference), median_ae, ccc (Lin's concordance: 1 = every pair equal); and
        intervals with [low, high] of each. None where nothing can be said, as of an interval of
        fewer than `stats.FEWEST` patients.
    Raises: ValueError for shapes that do not match.
    Source: Bland and Altman 1986, Lancet 327:307; Lin 1989, Biometrics 45:255.
    """
    true, predicted = np.asarray(true, float), np.asarray(predicted, float)
    patients = _same_length(true, predicted, patients)
    known = ~np.isnan(true) & ~np.isnan(predicted)
    names, owner = np.unique(patients[known], return_inverse=True)
    figures = number_figures(true[known], predicted[known], owner)
    settings = {"level": level, "resamples": resamples}
    result = _counts(known, len(names)) | settings
    result |= with_intervals(figures, NUMBER_FIGURES, owner, settings, seed)
    if len(names) < FEWEST:
        result["intervals"] = dict.fromkeys(NUMBER_FIGURES)
    return result


def class_agreement(
    true: np.ndarray,
    predicted: np.ndarray,
    names: Sequence[str],
    patients: np.ndarray,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Agreement of two readings of a class, with BCa intervals over patients.

    Args:
        true, predicted: (N,) text; '' in either leaves the case out, counted.
        names: the C classes, in their order.
        patients: (N,) whose case it is.
        resamples, level, seed: of the bootstrap.
    Returns: n, n_missing, n_patients, level, resamples, classes; confusion (C lists of C counts,
        rows true); accuracy, kappa (Cohen's, every confusion alike), kappa_linear (a confusion
        counts by how many classes it is off); and intervals with [low, high] of each. An accuracy
        that is the same in every draw gets the room that patients not seen could take
        (`resampling.unseen_share`), a kappa then has no interval. None where nothing can be said.
    Raises: ValueError for shapes that do not match or a class that is not in `names`.
    Source: Cohen 1960, Educ. Psychol. Meas. 20:37; Cohen 1968, Psychol. Bull. 70:213.
    """
    true, predicted = np.asarray(true, str), np.asarray(predicted, str)
    patients = _same_length(true, predicted, patients)
    order = {name: i for i, name in enumerate(names)}
    unknown = sorted({*true, *predicted} - {*names, ""})
    if unknown:
        raise ValueError(f"true, predicted: expected {' | '.join(names)}, got {str(unknown[0])!r}")
    known = (true != "") & (predicted != "")
    pair = [np.array([order[c] for c in side[known]], int) for side in (true, predicted)]
    owners, owner = np.unique(patients[known], return_inverse=True)
    confusion = np.zeros((len(owners), len(names), len(names)))
    np.add.at(confusion, (owner, *pair), 1)
    settings = {"level": level, "resamples": resamples}
    result = _counts(known, len(owners)) | settings | {"classes": list(names)}
    result["confusion"] = confusion.sum(0).astype(int).tolist()
    figures = class_figures(confusion)
    result |= with_intervals(figures, CLASS_FIGURES, owner, settings, seed)
    return _with_room(result)


def borderline(table: pd.DataFrame, measurement: Measurement, spacing_mm: object) -> pd.DataFrame:
    """The cases put into the wrong class, and by how much they miss.

    The border is the one of the true class that the prediction has crossed. Each point is held
    against its own lines: the true point against the border between the true lines, the predicted
    one against that between the predicted lines.

    Args:
        table: rows of predictions.csv. spacing_mm: as `measures.measure` takes it.
        measurement: a class.
    Returns: image, patient, side, class_true, class_predicted, border (a value of the measurement
        it divides), true_off and predicted_off: from the border, in `measurement.margin_unit`, mm
        along y and positive below it for a place between lines. The true points nearest to the
        border first: there a small error, the reader's or the model's, decides.
    Raises: ValueError for a measurement that is no class; InputError as `measures.measure`.
    """
    if not measurement.of:
        raise ValueError(f"measurement: expected a class, got the {measurement.kind} {measurement}")
    names = measurement.landmarks
    keys, true, predicted = cases(table, names)
    spacing = spacing_of(keys["image"], spacing_mm)
    margin = {"true": margins(measurement, true, names, spacing)}
    margin["predicted"] = margins(measurement, predicted, names, spacing)
    was, now = (class_index(margin[key]) for key in ("true", "predicted"))
    border = np.clip(np.where(now > was, was, was - 1), 0, len(measurement.borders) - 1)
    columns = {
        "class_true": classes(measurement, true, names, spacing),
        "class_predicted": classes(measurement, predicted, names, spacing),
        "border": np.array(measurement.borders)[border],
    }
    for key, values in margin.items():
        columns[f"{key}_off"] = values[np.arange(len(keys)), border]
    wrong = keys.assign(**columns)[(was != now) & (was >= 0) & (now >= 0)]
    return wrong.sort_values("true_off", key=np.abs, ignore_index=True)


def table(agreements: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Agreements to read: a row per figure, with its interval."""
    rows = []
    for name, found in agreements.items():
        figures = CLASS_FIGURES if "confusion" in found else NUMBER_FIGURES
        for figure in figures:
            low, high = found["intervals"][figure] or (None, None)
            unit = found["unit"] if figure not in ("ccc", *CLASS_FIGURES) else ""
            rows.append((name, figure, found[figure], low, high, unit, found["n"]))
    columns = ["measurement", "figure", "value", "low", "high", "unit", "n"]
    return pd.DataFrame(rows, columns=columns).set_index(["measurement", "figure"])


def _same_length(true: np.ndarray, predicted: np.ndarray, patients: np.ndarray) -> np.ndarray:
    patients = np.asarray(patients)
    if not true.shape == predicted.shape == patients.shape or true.ndim != 1:
        raise ValueError(
            f"true, predicted, patients: expected (N,) each, got {true.shape}, {predicted.shape}, "
            f"{patients.shape}"
        )
    return patients


def _counts(known: np.ndarray, n_patients: int) -> dict[str, Any]:
    return {
        "n": int(known.sum()),
        "n_missing": int((~known).sum()),
        "n_patients": n_patients,
    }


def _with_room(result: dict[str, Any]) -> dict[str, Any]:
    """An accuracy of 0 or 1 may be what nobody showed; its kappa says nothing about its spread."""
    if result["accuracy"] in (0.0, 1.0) and result["n_patients"] > 1:
        room = unseen_share(result["n_patients"], result["level"])
        span = [1 - room, 1.0] if result["accuracy"] == 1 else [0.0, room]
        result["intervals"] = dict.fromkeys(CLASS_FIGURES) | {"accuracy": span}
    return result
