"""Tables that say what a sweep has found: claim beside evidence, cost, seeds, what to use now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lmkit.ablation import Plan, changes
from lmkit.fields import InputError
from lmkit.files import project_root, write_text
from lmkit.findings import FINISHED, state_of
from lmkit.parameters import configure, read_preset
from lmkit.planning import Planned
from lmkit.runs import load_run
from lmkit.verdicts import HELPS, UNITS, Family, p_text

RECOMMENDED = "recommended"
MAIN = "sdr_2mm"  # the figure that claims are about
NOTHING = "–"


def readable(verdicts: pd.DataFrame, figure: str, side: str) -> pd.DataFrame:
    """Verdicts on one figure and side, to read: points or mm, best first.

    Returns: indexed by design and strategy: base, value, effect, from, to, Holm p, verdict, would
        have seen, patients, seeds.
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
    return rows.set_index(["design", "strategy"])[columns]


def claim_table(plan: Plan, verdicts: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim beside evidence: a row for each claim, strategy and design, those not run included.

    Args:
        verdicts: of `findings.verdict_table`.
        runs: of `findings.run_table`.
    Returns: claim (its number), the document says, strategy, tried (the base and what was changed
        in it), a column per side and one for both together with the verdict on SDR at 2 mm, effect
        of the last of these with its interval, Holm p, time (training, times that of the base).
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
    table = pd.DataFrame(rows, columns=[*columns, "effect, points", "Holm p", "time"])
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
    return row | {"Holm p": p_text(last["p_holm"])}


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

    Returns: indexed by design and strategy: minutes, times (those of the base), SDR gained, points,
        minutes per point (those more than the base's; NaN where nothing is gained).
    """
    minutes, rows = _minutes(plan, runs), {}
    chosen = verdicts.query("figure == @MAIN and side == @side")
    for row in chosen.to_dict("records"):
        key, gain = (row["design"], row["strategy"]), 100 * row["effect"]
        base = minutes.get((row["design"], plan.base(row["design"])), math.nan)
        own = minutes.get(key, math.nan)
        price = (own - base) / gain if gain > 0 else math.nan
        rows[key] = {"minutes": own, "times": own / base}
        rows[key] |= {"SDR gained, points": gain, "minutes per point": price}
    table = pd.DataFrame.from_dict(rows, orient="index").round(2)
    return table.sort_values("SDR gained, points", ascending=False) if len(table) else table


def seed_table(family: Family, threshold_mm: float = 2.0) -> pd.DataFrame:
    """SDR at 2 mm, points, of each seed: a row per strategy, a column per seed, and their range."""
    rows = {}
    for name, tables in family.recipes.items():
        known = [table["error_mm"].dropna() for table in tables]
        rows[name] = {
            i: 100 * float((error <= threshold_mm).mean()) for i, error in enumerate(known)
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    spread = table.max(axis=1) - table.min(axis=1)
    return table.assign(mean=table.mean(axis=1), range=spread)


def curves(plan: Plan, design: str, side: str, column: str = "val_sdr_2mm") -> dict[str, pd.Series]:
    """strategy -> a column of history.csv by epoch, mean over finished seeds of a side.

    A run of both sides at once counts for each of them.
    """
    found: dict[str, list[pd.Series]] = {}
    for run in plan.runs:
        if run.design == design and run.side in (side, "both", "joint"):
            _add_curve(found, run, column)
    return {name: pd.concat(parts, axis=1).mean(axis=1) for name, parts in found.items()}


def _add_curve(found: dict[str, list[pd.Series]], run: Planned, column: str) -> None:
    if state_of(run) == FINISHED:
        history = load_run(run.folder).history
        found.setdefault(run.strategy, []).append(history.set_index("epoch")[column])


def to_change(plan: Plan, verdicts: pd.DataFrame, side: str) -> pd.DataFrame:
    """What the recommended recipe should become: changes that helped in it, by design `remove`.

    Returns: strategy, settings, effect (points, with interval); best first. Empty where the sweep
        did not start from `recommended`, for what helps another recipe need not help this one.
    """
    measured = "remove" in plan.designs and plan.base("remove") == RECOMMENDED
    rows = verdicts if measured else verdicts.iloc[:0]
    rows = rows.query("design == 'remove' and figure == @MAIN and side == @side")
    rows = rows[rows["verdict"] == HELPS].sort_values("effect", ascending=False)
    return pd.DataFrame(
        {
            "strategy": rows["strategy"],
            "settings": [changes(plan, name, "remove") for name in rows["strategy"]],
            "effect, points": [interval_text(row) for row in rows.to_dict("records")],
        }
    ).reset_index(drop=True)


def write_recommended(plan: Plan, chosen: pd.DataFrame, path: Path | None = None) -> Path:
    """Write the best change that helped into params/recommended.yaml; one at a time.

    Changes were measured alone, so only the first is written; run the sweep again for the next.

    Args:
        chosen: of `to_change`.
        path: another file than params/recommended.yaml.
    Raises: InputError when there is nothing to write.
    """
    if not len(chosen):
        raise InputError(
            "write_recommended: expected a change that helps the recommended recipe, found none; "
            "leave the switch off"
        )
    strategy = chosen["strategy"].iloc[0]
    base = plan.designs["remove"].base
    settings = read_preset(base) | plan.grid.settings(plan.size, "remove", strategy)
    configure(settings)  # whole and valid before anything is replaced
    head = (
        f"# {base}, changed by 05_ablation as its sweep {plan.folder.name} supports: {strategy},\n"
        f"# SDR at 2 mm {chosen['effect, points'].iloc[0]} points.\n"
    )
    target = path or project_root() / "params" / f"{RECOMMENDED}.yaml"
    write_text(target, head + yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True))
    return target


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    return value
