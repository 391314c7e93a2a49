"""Tables that say what a sweep has found: claim beside evidence, cost, curves, seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lmkit.ablation import Plan, changes
from lmkit.findings import FINISHED, state_of
from lmkit.planning import Planned
from lmkit.runs import load_run
from lmkit.verdicts import HELPS, TITLES, UNITS, Family, p_text

MAIN = "sdr_2mm"  # the figure that claims are about
NOTHING = "–"
TIMES = 60  # at which curves by minutes are read


def readable(verdicts: pd.DataFrame, figure: str, side: str) -> pd.DataFrame:
    """Verdicts on one figure and side, to read: points or mm, best first.

    Returns: indexed by design and what was changed: base, value, effect, from, to, Holm p, verdict,
        would have seen, patients, seeds.
    """
    rows = verdicts.query("figure == @figure and side == @side").copy()
    times = 1 if UNITS[figure] == "mm" else 100
    shown = ["base", "value", "effect", "low", "high", "detectable"]
    rows[shown] = (times * rows[shown].astype(float)).round(2 if times == 1 else 1)
    rows["p_holm"] = rows["p_holm"].astype(float).map(p_text)
    rows = rows.sort_values("effect", ascending=UNITS[figure] == "mm" or figure != MAIN)
    rows = rows.rename(
        columns={
            **{"low": "from", "high": "to", "p_holm": "Holm p", "verdict": "kind"},
            **{"said": "verdict", "detectable": "would have seen"},
        }
    )
    columns = [*("base", "value", "effect", "from", "to", "Holm p", "verdict")]
    columns += ["would have seen", "patients", "seeds"]
    return rows.set_index(["design", "change"])[columns]


PAIRS = "What two strategies give together beyond the sum of what each gives alone."


def readable_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Interactions to read: design, side, pair, figure, effect with its interval, Holm p.

    Args:
        pairs: of `findings.pair_table`.
    """
    rows = pairs.to_dict("records")
    return pd.DataFrame(
        {
            **{name: pairs[name] for name in ("design", "side", "pair")},
            "figure": [f"{TITLES[row['figure']]}, {UNITS[row['figure']]}" for row in rows],
            "beyond the sum": [interval_text(row) for row in rows],
            "Holm p": [p_text(row["p_holm"]) for row in rows],
        }
    )


def claim_table(plan: Plan, verdicts: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim beside evidence: a row for each claim, strategy and design, those not run included.

    Args:
        verdicts: of `findings.verdict_table`.
        runs: of `findings.run_table`.
    Returns: claim (its number), the document says, strategy, tried (the base and what was changed
        in it), a column per side and one for both together with the verdict on SDR at 2 mm; of the
        last of these the effect with its interval, Holm p, and the smallest effect that would have
        been seen; time (training, times that of the base).
    """
    rows, minutes = [], _minutes(plan, runs)
    tried = dict.fromkeys((run.design, run.strategy) for run in plan.runs)
    for claim, name in _claimed(plan):
        about = {"claim": claim, "the document says": plan.grid.claims[claim]}
        about |= {"strategy": name}
        designs = [design for design in ("add", "remove") if (design, name) in tried]
        for design in designs:
            base = minutes.get((design, plan.base(design)), math.nan)
            row = {"tried": f"{plan.base(design)} with {changes(plan, name, design)}"}
            row |= _evidence(verdicts, design, name)
            rows.append(about | row | {"time": _times(minutes.get((design, name)), base)})
        if not designs:
            why = [reason for (_, left), reason in plan.left_out.items() if left == name]
            said = why[0] if why else f"not among the strategies of {plan.size}"
            rows.append(about | {"verdict": f"not run: {said}"})
    columns = ["claim", "the document says", "strategy", "tried", *plan.sides, "verdict"]
    columns += ["effect, points", "Holm p", "would have seen", "time"]
    table = pd.DataFrame(rows, columns=columns)
    return table.dropna(axis=1, how="all").fillna(NOTHING)


def _claimed(plan: Plan) -> list[tuple[int, str]]:
    """The claims that strategies test, and these strategies, in the order of the claims."""
    found = [(s.claim, n) for n, s in plan.grid.strategies.items() if s.claim is not None]
    return sorted(found, key=lambda one: one[0])


def _evidence(verdicts: pd.DataFrame, design: str, strategy: str) -> dict[str, str]:
    """Verdicts per side, and the last side's effect in words."""
    mine = (verdicts["design"] == design) & (verdicts["strategy"] == strategy)
    found = verdicts[mine & (verdicts["figure"] == MAIN)].to_dict("records")
    if not found:
        return {"verdict": "not run to its end, or without a base to compare with"}
    last = found[-1]
    row = {str(r["side"]): r["verdict"] for r in found[:-1]}
    row |= {"verdict": last["said"], "effect, points": interval_text(last)}
    seen = NOTHING if math.isnan(last["detectable"]) else f"{100 * last['detectable']:.1f}"
    return row | {"Holm p": p_text(last["p_holm"]), "would have seen": seen}


def interval_text(row: Mapping[str, Any]) -> str:
    """An effect with its interval: points for shares, mm for distances."""
    times, digits = (1, 2) if UNITS[row["figure"]] == "mm" else (100, 1)
    said = f"{times * row['effect']:+.{digits}f}"
    if math.isnan(row["low"]):
        return said
    return f"{said} ({times * row['low']:+.{digits}f} to {times * row['high']:+.{digits}f})"


def _minutes(plan: Plan, runs: pd.DataFrame) -> dict[tuple[str, str], float]:
    """(design, strategy) -> minutes of training for all sides, mean over seeds."""
    done = runs[runs["state"] == FINISHED]
    whole = done.groupby(["design", "strategy", "seed"])["train_min"].agg(["sum", "count"])
    sides = whole["count"].groupby(level=[0, 1]).transform("max")
    return whole.loc[whole["count"] == sides, "sum"].groupby(level=[0, 1]).mean().to_dict()


def _times(minutes: float | None, base: float) -> str:
    return NOTHING if minutes is None or math.isnan(base) else f"{minutes / base:.2f} ×"


def cost_table(plan: Plan, verdicts: pd.DataFrame, runs: pd.DataFrame, side: str) -> pd.DataFrame:
    """What each strategy costs: minutes of training for all sides, and minutes per point of SDR.

    Returns: indexed by design and what was changed: minutes, times (those of the base), SDR gained,
        points, verdict, minutes per point: those more than the base's, NaN where no gain is shown,
        and where all runs have the same minutes.
    """
    minutes, rows = _minutes(plan, runs), []
    chosen = verdicts.query("figure == @MAIN and side == @side")
    for row in chosen.to_dict("records"):
        design, gain = row["design"], 100 * row["effect"]
        base = minutes.get((design, plan.base(design)), math.nan)
        own = minutes.get((design, row["strategy"]), math.nan)
        priced = row["verdict"] == HELPS and not plan.designs[design].budget.minutes
        price = (own - base) / gain if priced else math.nan
        rows.append((design, row["change"], own, own / base, gain, row["verdict"], price))
    columns = ["design", "change", "minutes", "times", "SDR gained, points", "verdict"]
    table = pd.DataFrame(rows, columns=[*columns, "minutes per point"]).round(2)
    table = table.sort_values("SDR gained, points", ascending=False)
    return table.set_index(["design", "change"])


def seed_table(plan: Plan, design: str, family: Family, threshold_mm: float = 2.0) -> pd.DataFrame:
    """SDR at 2 mm, points, of each seed: a row per change, a column per seed, and their range."""
    rows = {}
    for name, tables in family.recipes.items():
        known = [table["error_mm"].dropna() for table in tables]
        rows[plan.called(design, name)] = {
            i: 100 * float((error <= threshold_mm).mean()) for i, error in enumerate(known)
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    spread = table.max(axis=1) - table.min(axis=1)
    return table.assign(mean=table.mean(axis=1), range=spread)


def curves(plan: Plan, design: str, side: str, column: str = "val_sdr_2mm") -> dict[str, pd.Series]:
    """What was changed -> a column of history.csv by epoch, mean over finished seeds of a side; by
    minutes of training where that is the budget.

    A run of both sides at once counts for each of them. A curve ends with its first seed's end.
    """
    found: dict[str, list[pd.Series]] = {}
    minutes = plan.designs[design].budget.minutes
    for run in plan.runs:
        mine = run.design == design and run.side in (side, "both", "joint")
        if mine and state_of(run) == FINISHED:
            found.setdefault(run.strategy, []).append(_curve(run, column, minutes))
    return {
        plan.called(design, name): pd.concat(parts, axis=1).dropna().mean(axis=1)
        for name, parts in found.items()
    }


def _curve(run: Planned, column: str, minutes: float | None) -> pd.Series:
    """A column of a run's history, by epoch or at times up to some minutes."""
    history = load_run(run.folder).history
    if minutes is None:
        return history.set_index("epoch")[column]
    at = pd.Index(np.linspace(0, minutes, TIMES + 1)[1:], name="minutes")
    taken = history["seconds"].cumsum() / 60
    values = np.interp(at, taken, history[column], left=math.nan)
    return pd.Series(np.where(at > taken.iloc[-1] + minutes / TIMES, math.nan, values), at)
