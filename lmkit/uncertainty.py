"""How well a measure of uncertainty tells failures, and what may be promised on new patients.

A measure is a number per prediction, larger = less sure. Nothing here looks at an image.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit


def auc(risk: np.ndarray, failed: np.ndarray) -> float:
    """The chance that a failure has a larger risk than a success, ties counting one half.

    Args:
        risk: (N,), larger = less sure; NaN is left out.
        failed: (N,) bool.
    Returns: in [0, 1]; NaN without a failure or without a success.
    Source: Hanley and McNeil 1982, Radiology 143:29 (the area under the ROC curve).
    """
    risk, failed = _known(risk, failed)
    n, m = int(failed.sum()), int((~failed).sum())
    if not n or not m:
        return math.nan
    return float((pd.Series(risk).rank().to_numpy()[failed].sum() - n * (n + 1) / 2) / (n * m))


def risk_coverage(risk: np.ndarray, failed: np.ndarray) -> pd.DataFrame:
    """The failure rate of those kept, when the riskiest are set aside one by one.

    Args:
        risk: (N,), larger = less sure; NaN is left out. failed: (N,) bool.
    Returns: a row per number kept, fewest first: coverage (share kept), failure_rate (of those),
        threshold (the largest risk kept). Predictions of equal risk are kept together.
    Source: El-Yaniv and Wiener 2010, JMLR 11:1605.
    """
    risk, failed = _known(risk, failed)
    order = np.argsort(risk, kind="stable")
    kept = np.arange(1, len(risk) + 1)
    rows = pd.DataFrame(
        {
            "coverage": kept / max(len(risk), 1),
            "failure_rate": failed[order].cumsum() / kept,
            "threshold": risk[order],
        }
    )
    return rows.drop_duplicates("threshold", keep="last", ignore_index=True)


def surprise(measures: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """One risk out of several measures, without any failure to learn from.

    A measure becomes minus the log of the share of reference predictions that are at least as
    unsure (Fisher's way to join tail probabilities); the risk is the mean over the measures.

    Args:
        measures: (N, K), larger = less sure; NaN says nothing.
        reference: (M, K), the same of predictions to compare with, such as the validation split's.
    Returns: (N,), at least 0; about 1 for a usual prediction.
    Raises: ValueError for shapes that do not match, or an empty reference.
    Source: Fisher 1932, Statistical Methods for Research Workers, section 21.1.
    """
    measures, reference = np.asarray(measures, float), np.asarray(reference, float)
    if measures.ndim != 2 or reference.shape[1:] != measures.shape[1:] or not len(reference):
        raise ValueError(
            f"measures, reference: expected (N, K) and (M, K), got {measures.shape}, "
            f"{reference.shape}"
        )
    logs = np.full(measures.shape, np.nan)
    for k, (values, known) in enumerate(zip(measures.T, reference.T, strict=True)):
        usual = np.sort(known[~np.isnan(known)])
        if len(usual):
            above = len(usual) - np.searchsorted(usual, values, side="left")
            logs[:, k] = -np.log((above + 1) / (len(usual) + 1))
    logs[np.isnan(measures)] = np.nan
    some = ~np.isnan(logs)
    return np.where(some, logs, 0).sum(1) / np.maximum(some.sum(1), 1)


def calibrated(
    score: np.ndarray, failed: np.ndarray, patients: int | None = None
) -> tuple[float, float]:
    """Turn a risk into a probability of failure: expit(slope * score + offset).

    Args:
        score: (N,) risks; failed: (N,) bool, of predictions kept for this.
        patients: how many they are of: the points of one fail together, so where none failed these
            are what there is to go by, and not the points.
    Returns: slope (>= 0: more risk is never safer) and offset; Platt's targets keep both finite
        even where every failure has the larger risk, or none failed.
    Source: Platt 1999, "Probabilistic outputs for support vector machines".
    """
    score, failed = _known(score, failed)
    n, m = failed.sum(), (~failed).sum()
    m = patients if patients is not None and n == 0 else m
    want = np.where(failed, (n + 1) / (n + 2), 1 / (m + 2))
    centre, scale = score.mean(), max(score.std(), 1e-12)
    unit = (score - centre) / scale

    def cost(parameters: np.ndarray) -> float:
        logit = parameters[0] * unit + parameters[1]
        return float((np.logaddexp(0, logit) - want * logit).sum())

    start = [1.0, math.log((n + 1) / (m + 1))]
    slope, offset = minimize(cost, start, bounds=[(0, 50), (-50, 50)]).x
    return float(slope / scale), float(offset - slope * centre / scale)


def probability(score: np.ndarray, line: tuple[float, float]) -> np.ndarray:
    """(N,) probability of failure for risks, by the line that `calibrated` found."""
    return expit(line[0] * np.asarray(score, float) + line[1])


def calibration(probability: np.ndarray, happened: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Predicted beside observed rates, in bins of equally many predictions.

    Args:
        probability: (N,) in [0, 1]; NaN is left out. happened: (N,) bool.
    Returns: a row per bin that is not empty: predicted, observed (mean rates), n.
    """
    probability, happened = _known(probability, happened)
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    rows = [(probability[p].mean(), happened[p].mean(), len(p)) for p in parts]
    return pd.DataFrame(rows, columns=["predicted", "observed", "n"])


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean distance of predicted from observed rates of `calibration`, weighted by n.

    Source: Naeini et al. 2015, AAAI ("Bayesian binning"); here with bins of equal counts, for
        failures are rare.
    """
    gap = (table["predicted"] - table["observed"]).abs()
    return float((gap * table["n"]).sum() / table["n"].sum())


def conformal_radii(error_mm: np.ndarray, level: float = 0.9) -> np.ndarray:
    """For each landmark the radius that holds the truth of a new patient with this probability.

    Args:
        error_mm: (N, L) errors, mm, of patients not trained on, one row per patient and side;
            NaN = not annotated.
        level: in (0, 1).
    Returns: (L,) mm: the ceil((n + 1) level)-th smallest of n errors; infinite where n is too
        small to promise anything.
    Raises: ValueError for a shape or level that is not so.
    Source: Vovk et al. 2005, Algorithmic Learning in a Random World (split conformal prediction).
    """
    error_mm = np.asarray(error_mm, float)
    if error_mm.ndim != 2 or not 0 < level < 1:
        raise ValueError(
            f"error_mm, level: expected (N, L) and (0, 1), got {error_mm.shape}, {level}"
        )
    radii = np.full(error_mm.shape[1], np.inf)
    for i, column in enumerate(error_mm.T):
        known = np.sort(column[~np.isnan(column)])
        rank = math.ceil((len(known) + 1) * level - 1e-9)
        if rank <= len(known):
            radii[i] = known[rank - 1]
    return radii


def fewest_labels(level: float = 0.9) -> int:
    """How many labels of a landmark `conformal_radii` needs to promise a radius at this level."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected in (0, 1), got {level}")
    return math.ceil((level - 1e-9) / (1 - level) - 1e-9)


def conformal_coverage(
    error_mm: np.ndarray,
    patients: np.ndarray,
    level: float = 0.9,
    share: float = 0.5,
    splits: int = 20,
    seed: int = 0,
) -> np.ndarray:
    """Whether conformal radii hold what they promise: split the patients again and again.

    Args:
        error_mm: (N, L), mm; NaN = not annotated.
        patients: (N,) whose row it is; a patient is on one side of a split with all rows.
        share: of the patients that the radii are computed from.
    Returns: (splits,) the share of the other patients' points inside their landmark's radius, of
        landmarks that have one; NaN where none has, for nothing is promised then.
    """
    error_mm, patients = np.asarray(error_mm, float), np.asarray(patients)
    names, owner = np.unique(patients, return_inverse=True)
    rng, covered = np.random.default_rng(seed), []
    for _ in range(splits):
        chosen = np.zeros(len(names), bool)
        chosen[rng.permutation(len(names))[: round(share * len(names))]] = True
        radii, held = conformal_radii(error_mm[chosen[owner]], level), error_mm[~chosen[owner]]
        known = ~np.isnan(held) & np.isfinite(radii)
        covered.append(float((held <= radii)[known].mean()) if known.any() else math.nan)
    return np.array(covered)


def _known(values: np.ndarray, marks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both without the rows whose value is NaN. Raises: ValueError for different shapes."""
    values, marks = np.asarray(values, float), np.asarray(marks, bool)
    if values.ndim != 1 or values.shape != marks.shape:
        raise ValueError(f"expected two of shape (N,), got {values.shape} and {marks.shape}")
    known = ~np.isnan(values)
    return values[known], marks[known]
