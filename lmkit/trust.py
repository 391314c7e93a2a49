"""Which predictions not to trust: a rule made on validation patients, and what it promises.

The rule joins all measures of uncertainty into one risk, sets aside the riskiest, and states how
often the rest fail. It learns no weights: with a few dozen validation patients there are too few
failures to learn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from lmkit import uncertainty
from lmkit.fields import InputError
from lmkit.metrics import FAILURE_MM, error_matrix
from lmkit.stats import bootstrap_intervals

MEASURES = {  # column of predictions.csv -> the sign that makes it larger where less sure
    "peak": -1,
    "ere_mm": 1,
    "second_share": 1,
    "tta_mm": 1,
    "dropout_mm": 1,
    "ensemble_mm": 1,
}
KEEP = 0.9  # share of the validation points that are trusted
LEVEL = 0.9  # of the conformal radii


@dataclass(frozen=True)
class TrustRule:
    """What validation patients say about trusting a run.

    Attributes:
        measures: columns that the risk is made of.
        reference: their values on validation, one list each, larger = less sure; None = no map.
        threshold: of the risk; above it a point is not trusted.
        keep: share of the validation points below it.
        slope, offset: of the logit of the probability of failure over the risk.
        level, radii_mm: of the conformal radii, and a radius for each landmark; None = too few
            patients to promise one.
        failure_rate: of all validation points; trusted_failure_rate: of those trusted, and its
            interval from resampling patients.
    """

    measures: list[str]
    reference: list[list[float | None]]
    threshold: float
    keep: float
    slope: float
    offset: float
    level: float
    radii_mm: dict[str, float | None]
    failure_rate: float | None
    trusted_failure_rate: float | None
    trusted_interval: list[float] | None

    def to_dict(self) -> dict[str, Any]:
        """As trust.json holds it."""
        return asdict(self)

    def said(self) -> str:
        """How many of the validation points are trusted, and how many of these failed."""
        share = f"{100 * self.keep:.0f} %"
        if self.trusted_failure_rate is None:
            return f"{share}, none of them annotated"
        some = self.trusted_interval
        most = f"up to {100 * some[1]:.1f} %" if some else "too few for an interval"
        return f"{share}, of these failed {100 * self.trusted_failure_rate:.1f} % ({most})"


def radii_said(rule: TrustRule, tested: pd.DataFrame, again: np.ndarray) -> str:
    """What the conformal radii promise and whether they keep it, or why there are none.

    Args:
        rule: of a run. tested: its test rows, judged by the rule.
        again: of `uncertainty.conformal_coverage`.
    """
    level, n = f"{100 * rule.level:.0f} %", len(rule.radii_mm)
    without = sum(radius is None for radius in rule.radii_mm.values())
    lines = []
    if without:
        lines = [
            f"a {level} radius takes {uncertainty.fewest_labels(rule.level)} validation labels of "
            f"its landmark: left out for {without} of {n} landmarks, which have fewer"
        ]
    promised = tested["error_mm"].notna() & tested["radius_mm"].notna()
    if promised.any():
        held = 100 * (tested["error_mm"] <= tested["radius_mm"])[promised].mean()
        lines.append(f"{level} radii from validation patients hold {held:.1f} % of the test points")
    if (tried := again[~np.isnan(again)]).size:
        low, mean, high = 100 * tried.min(), 100 * tried.mean(), 100 * tried.max()
        lines.append(
            f"over {len(tried)} new splits of all these patients such radii hold "
            f"{mean:.1f} % ({low:.0f}–{high:.0f} %)"
        )
    return ";\n".join(lines)


def measures_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """The measures of uncertainty that predictions have, each larger where less sure."""
    present = [name for name in MEASURES if name in predictions and predictions[name].notna().any()]
    return pd.DataFrame({name: MEASURES[name] * predictions[name] for name in present})


def fit_trust(predictions: pd.DataFrame, keep: float = KEEP, level: float = LEVEL) -> TrustRule:
    """The rule that validation predictions give.

    Args:
        predictions: rows of predictions.csv of the validation split, with measures.
        keep: share of them to trust.
        level: of the conformal radii.
    Raises: InputError without measures or annotated landmarks; ValueError for keep not in (0, 1].
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep: expected in (0, 1], got {keep}")
    measures = measures_of(predictions)
    if measures.empty:
        raise InputError(
            f"predictions: expected a column of {', '.join(MEASURES)} with values, got none"
        )
    reference = [
        [v if np.isfinite(v) else None for v in values] for values in measures.T.to_numpy()
    ]
    risk = _risk(measures, measures.to_numpy(), predictions)
    known = predictions["error_mm"].notna().to_numpy()
    if not known.any():
        raise InputError("predictions: expected annotated landmarks to judge by, got none")
    threshold = float(np.nanquantile(risk, keep))
    failed = (predictions["error_mm"] > FAILURE_MM).to_numpy()
    slope, offset = uncertainty.calibrated(
        risk[known], failed[known], predictions.loc[known, "patient"].nunique()
    )
    errors = error_matrix(predictions)
    radii = uncertainty.conformal_radii(errors.to_numpy(), level)
    sure = error_matrix(
        predictions.assign(error_mm=predictions["error_mm"].where(risk <= threshold))
    )
    patients = sure.index.get_level_values("patient").to_numpy(str)
    interval = bootstrap_intervals(sure.to_numpy(), patients)["failure_rate"]
    kept = known & (risk <= threshold)
    return TrustRule(
        measures=list(measures),
        reference=reference,
        threshold=threshold,
        keep=keep,
        slope=slope,
        offset=offset,
        level=level,
        radii_mm={
            str(name): float(radius) if np.isfinite(radius) else None
            for name, radius in zip(errors.columns, radii, strict=True)
        },
        failure_rate=float(failed[known].mean()),
        trusted_failure_rate=float(failed[kept].mean()) if kept.any() else None,
        trusted_interval=interval,
    )


def apply_trust(rule: TrustRule, predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with what the rule says of them.

    Returns: the predictions with risk (about 1 for a usual point), p_fail (probability of an error
        over 4 mm), trust (bool) and radius_mm (conformal; NaN = nothing promised).
    """
    measures = pd.DataFrame(
        {
            name: MEASURES[name] * predictions[name] if name in predictions else np.nan
            for name in rule.measures
        },
        index=predictions.index,
    )
    risk = _risk(measures, np.array(rule.reference, float).T, predictions)
    radii = {name: np.nan if r is None else r for name, r in rule.radii_mm.items()}
    return predictions.assign(
        risk=risk,
        p_fail=uncertainty.probability(risk, (rule.slope, rule.offset)),
        trust=risk <= rule.threshold,
        radius_mm=predictions["landmark"].astype(str).map(radii).astype(float),
    )


def judged(predictions: pd.DataFrame) -> tuple[pd.DataFrame, TrustRule]:
    """Predictions of a run with the verdict of its validation rows, and the rule."""
    rule = fit_trust(predictions[predictions["split"] == "val"])
    return apply_trust(rule, predictions), rule


def read_rule(stored: Mapping[str, Any], where: str) -> TrustRule:
    """A rule from trust.json. Raises: InputError naming the file where it is something else."""
    try:
        return TrustRule(**stored)
    except TypeError as error:
        raise InputError(
            f"{where}: expected the trust rule that training writes, got: {error}; delete it and "
            "run 04 again"
        ) from None


def _risk(measures: pd.DataFrame, reference: np.ndarray, predictions: pd.DataFrame) -> np.ndarray:
    """(N,) each point's own surprise and its case's mean one: a model on the wrong tooth is so
    with all of its points, the sure ones too."""
    own = pd.Series(uncertainty.surprise(measures.to_numpy(), reference), index=predictions.index)
    own = own.where(measures.notna().any(axis=1))  # no measure at all: nothing to trust it for
    case = own.groupby([predictions["image"], predictions["side"]]).transform("mean")
    return ((own + case) / 2).to_numpy()


def compare_measures(predictions: pd.DataFrame) -> pd.DataFrame:
    """How well each measure and the risk tell failures on these predictions.

    Args:
        predictions: with measures and the columns of `apply_trust`.
    Returns: a row per measure: auc (for failures), failure_rate_90 (of the surest 90 %),
        failure_rate (of all).
    """
    failed = (predictions["error_mm"] > FAILURE_MM).to_numpy()
    known = predictions["error_mm"].notna().to_numpy()
    columns = measures_of(predictions).assign(risk=predictions["risk"])
    rows = {}
    for name, values in columns.items():
        curve = uncertainty.risk_coverage(values[known], failed[known])
        sure = curve[curve["coverage"] <= KEEP + 1e-9]
        rows[name] = {
            "auc": uncertainty.auc(values[known], failed[known]),
            "failure_rate_90": sure["failure_rate"].iloc[-1] if len(sure) else np.nan,
            "failure_rate": failed[known].mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")
