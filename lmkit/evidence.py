"""Tables that say what a sweep has found: claim beside evidence, cost, curves, seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lmkit.ablation import DONE, Plan, changes
from lmkit.findings import FINISHED, scopes, state_of
from lmkit.grid import HIGHER_IS_BETTER
from lmkit.planning import Planned
from lmkit.runs import load_run
from lmkit.tables import NOTHING
from lmkit.verdicts import HELPS, TITLES, UNITS, Family, number, p_text, scale, seen_text

MAIN = "sdr_2mm"  # the figure that claims are about
TIMES = 60  # at which curves by minutes are read
SLIVER = 1e-9  # minutes: an epoch that ends at a time is over at it
NO_VERDICT = "not run to its end, or without a base to compare with"
NOT_AMONG = "not run: not among the strategies of"


def heading(plan: Plan, design: str) -> str:
    """A design, to read over a figure: its base and what was done to it."""
    return f"{plan.base(design)}, {DONE[design]}"


def readable(verdicts: pd.DataFrame, figure: str, side: str) -> pd.DataFrame:
    """Verdicts on one figure and side, to read: points or mm as text, best first.

    Returns: indexed by design and what was changed: base, value, effect, from, to, Holm p, verdict,
        would have seen, patients, seeds.
    """
    rows = verdicts.query("figure == @figure and side == @side").copy()
    rows = rows.sort_values("effect", ascending=not HIGHER_IS_BETTER[figure])
    times, digits = scale(figure)
    for name in ("base", "value", "effect", "low", "high"):
        signed = name in ("effect", "low", "high")
        rows[name] = [number(times * value, digits, signed) for value in rows[name]]
    rows["detectable"] = [seen_text(value, figure) for value in rows["detectable"]]
    rows["p_holm"] = rows["p_holm"].astype(float).map(p_text)
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
            under = plan.base_of(design, name)
            base = minutes.get((design, under), math.nan)
            row = {"tried": f"{under} with {changes(plan, name, design)}"}
            row |= _evidence(plan, verdicts, design, name)
            rows.append(about | row | {"time": _times(minutes.get((design, name)), base)})
        if not designs:
            why = [reason for (_, left), reason in plan.left_out.items() if left == name]
            said = f"not run: {why[0]}" if why else f"{NOT_AMONG} {plan.size}"
            rows.append(about | {"verdict": said})
    columns = ["claim", "the document says", "strategy", "tried", *plan.sides, "verdict"]
    columns += ["effect, points", "Holm p", "would have seen", "time"]
    table = pd.DataFrame(rows, columns=columns)
    return table.dropna(axis=1, how="all").fillna(NOTHING)


def _claimed(plan: Plan) -> list[tuple[int, str]]:
    """The claims that strategies test, and these strategies, in the order of the claims."""
    found = [(s.claim, n) for n, s in plan.grid.strategies.items() if s.claim is not None]
    return sorted(found, key=lambda one: one[0])


def _evidence(plan: Plan, verdicts: pd.DataFrame, design: str, strategy: str) -> dict[str, str]:
    """Verdicts per side, and the effect in words of the last scope: both sides together, or the
    one side there is; where that has none, no other side's stands in for it."""
    mine = (verdicts["design"] == design) & (verdicts["strategy"] == strategy)
    rows = verdicts[mine & (verdicts["figure"] == MAIN)].to_dict("records")
    found = {str(row["side"]): row for row in rows}
    last = found.pop(scopes(plan)[-1], None)
    row = {side: r["verdict"] for side, r in found.items()}
    if last is None:
        return row | {"verdict": NO_VERDICT}
    row |= {"verdict": last["said"], "effect, points": interval_text(last)}
    seen = seen_text(last["detectable"], MAIN)
    return row | {"Holm p": p_text(last["p_holm"]), "would have seen": seen}


def interval_text(row: Mapping[str, Any]) -> str:
    """An effect with its interval: points for shares, mm for distances."""
    times, digits = scale(row["figure"])
    said, low, high = (number(times * row[k], digits, True) for k in ("effect", "low", "high"))
    return said if math.isnan(row["low"]) else f"{said} ({low} to {high})"


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

    Returns: indexed by design and what was changed: minutes, times (those of the base), given
        (minutes that runs were given, times the base's; NaN where epochs were), SDR gained, points,
        verdict, minutes per point: those more than the base's, NaN where no gain is shown, and
        where all runs have the same minutes.
    """
    minutes, rows = _minutes(plan, runs), []
    chosen = verdicts.query("figure == @MAIN and side == @side")
    for row in chosen.to_dict("records"):
        design, gain = row["design"], 100 * row["effect"]
        base = minutes.get((design, plan.base_of(design, row["strategy"])), math.nan)
        own = minutes.get((design, row["strategy"]), math.nan)
        priced = row["verdict"] == HELPS and not plan.designs[design].budget.minutes
        price = (own - base) / gain if priced else math.nan
        given = _given(plan, design, row["strategy"])
        rows.append((design, row["change"], own, own / base, given, gain, row["verdict"], price))
    columns = ["design", "change", "minutes", "times", "given", "SDR gained, points", "verdict"]
    table = pd.DataFrame(rows, columns=[*columns, "minutes per point"]).round(2)
    table = table.sort_values("SDR gained, points", ascending=False)
    return table.set_index(["design", "change"])


def _given(plan: Plan, design: str, strategy: str) -> float:
    """Minutes a strategy's runs were given, times the base's: each network of an ensemble has them
    all; NaN where a budget is of epochs."""
    if plan.designs[design].budget.minutes is None:
        return math.nan
    networks = {r.strategy: r.config.ensemble for r in plan.runs if r.design == design}
    return networks.get(strategy, math.nan) / networks[plan.base_of(design, strategy)]


def seed_table(plan: Plan, design: str, family: Family, threshold_mm: float = 2.0) -> pd.DataFrame:
    """SDR at 2 mm, points, of each seed: a row per change, a column per seed, their mean and range.

    A seed that is not whole is NaN in its own column.

    Args:
        family: of `findings.families`.
    """
    rows = {
        plan.called(design, name): {
            int(table["seed"].iloc[0]): 100
            * float((table["error_mm"].dropna() <= threshold_mm).mean())
            for table in tables
        }
        for name, tables in family.recipes.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index").sort_index(axis=1)
    spread = table.max(axis=1) - table.min(axis=1)
    return table.assign(mean=table.mean(axis=1), range=spread)


def curves(plan: Plan, design: str, side: str, column: str = "val_sdr_2mm") -> dict[str, pd.Series]:
    """What was changed -> a column of history.csv by epoch, mean over finished seeds of a side; by
    minutes of training where that is the budget.

    A run of both sides at once counts for each of them. A curve ends with its first seed's end; one
    of seeds that have no epoch or time in common is left out.
    """
    found: dict[str, list[pd.Series]] = {}
    minutes = plan.designs[design].budget.minutes
    for run in plan.runs:
        mine = run.design == design and run.side in (side, "both", "joint")
        if mine and state_of(run) == FINISHED:
            found.setdefault(run.strategy, []).append(_curve(run, column, minutes))
    means = {
        plan.called(design, name): pd.concat(parts, axis=1).dropna().mean(axis=1)
        for name, parts in found.items()
    }
    return {name: curve for name, curve in means.items() if len(curve)}


def _curve(run: Planned, column: str, minutes: float | None) -> pd.Series:
    """A column of a run's history, by epoch; or at times up to some minutes, where it is that of
    the last epoch that was over by then.

    An epoch that ends after the minutes, for validation comes on top, counts at their end. Members
    of an ensemble have the minutes each, and the history their sum.
    """
    history = load_run(run.folder).history
    if minutes is None:
        return history.set_index("epoch")[column]
    at = pd.Index(np.linspace(0, minutes, TIMES + 1)[1:], name="minutes")
    taken = history["seconds"].cumsum().to_numpy() / 60 / run.config.ensemble
    taken = np.minimum(taken, minutes)
    last = np.searchsorted(taken, at + SLIVER, side="right") - 1
    known = (last >= 0) & (at <= taken[-1] + minutes / TIMES)
    return pd.Series(np.where(known, history[column].to_numpy()[last], math.nan), at)
