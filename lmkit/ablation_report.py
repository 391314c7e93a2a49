"""What notebook 05 leaves beside the run folders: summary.csv and report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lmkit import __version__, evidence, verdicts
from lmkit.ablation import Plan, describe, plan_table
from lmkit.files import atomic_path
from lmkit.findings import FAILED, FINISHED, scopes
from lmkit.grid import EFFECTS
from lmkit.report import Item, Section, write_report
from lmkit.tables import NOTHING

COST = (
    "Minutes of training for all sides, mean over seeds; a price only where a gain is shown, and "
    "where runs were not all given the same minutes. Only runs on equal, unshared machines compare."
)


def write_summary(plan: Plan, table: pd.DataFrame, pairs: pd.DataFrame) -> Path:
    """summary.csv in the sweep's folder: all verdicts, unrounded, shares as shares; and where two
    strategies were tried together, pairs.csv.

    Args:
        table: of `findings.verdict_table`.
        pairs: of `findings.pair_table`.
    """
    named = {"summary.csv": table} | ({"pairs.csv": pairs} if len(pairs) else {})
    for name, rows in named.items():
        with atomic_path(plan.folder / name) as part:
            rows.to_csv(part, index=False)
    return plan.folder / "summary.csv"


def write_ablation_report(
    plan: Plan,
    table: pd.DataFrame,
    runs: pd.DataFrame,
    figures: Mapping[str, Figure],
    pairs: pd.DataFrame,
) -> Path:
    """report.html in the sweep's folder, one file.

    Args:
        table: of `findings.verdict_table`.
        runs: of `findings.run_table`.
        figures: title -> figure, each a section of its own between the claims and the tables; one
            whose axes are all off, as of `plots_sweep.price`, shows nothing and is left out.
        pairs: of `findings.pair_table`.
    """
    side = scopes(plan)[-1]
    sections = [
        Section("What was asked", "", [describe(plan), plan_table(plan).reset_index()]),
        Section("The rule, fixed before anything was run", "", [verdicts.RULE, matters_text(plan)]),
        Section(
            "Claim beside evidence",
            f"Verdicts on SDR at 2 mm; effect, p and verdict are for: {side}.",
            claims_told(plan, evidence.claim_table(plan, table, runs)),
        ),
        *(Section(title, "", [figure]) for title, figure in figures.items() if _shows(figure)),
    ]
    sections += _numbers(plan, table, runs, side)
    if len(pairs):
        sections.append(Section("Two at once", evidence.PAIRS, [evidence.readable_pairs(pairs)]))
    sections += _missing(plan, runs)
    done = int((runs["state"] == FINISHED).sum())
    return write_report(
        plan.folder / "report.html",
        f"Ablation: {plan.folder.name}",
        sections,
        settings={
            "grid size": plan.size,
            "folder": plan.folder.name,
            "dataset fingerprint": plan.runs[0].fingerprint,
            "lmkit": __version__,
        },
        note=f"{done} of {len(runs)} runs finished. {stand_ins(plan)}".strip(),
    )


def _numbers(plan: Plan, table: pd.DataFrame, runs: pd.DataFrame, side: str) -> list[Section]:
    """A table for each figure, the interactions, and what it cost; those that have rows."""
    parts = [
        (verdicts.TITLES[figure], _unit(figure), evidence.readable(table, figure, side))
        for figure in EFFECTS
    ]
    parts.append(("Cost", COST, readable_costs(evidence.cost_table(plan, table, runs, side))))
    return [
        Section(title, f"For: {side}. {words}", [shown.reset_index()])
        for title, words, shown in parts
        if len(shown)
    ]


def claims_told(plan: Plan, claims: pd.DataFrame) -> list[Item]:
    """Claim beside evidence for the report: those that this size does not ask for are one sentence
    below the table, and columns that then say nothing are gone.

    Args:
        claims: of `evidence.claim_table`.
    """
    unasked = claims["verdict"] == f"{evidence.NOT_AMONG} {plan.size}"
    kept = claims[~unasked]
    kept = kept.loc[:, [name for name in kept if (kept[name] != NOTHING).any()]]
    parts: list[Item] = [kept.reset_index(drop=True)] if len(kept) else []
    if unasked.any():
        rows = claims[unasked]
        named = zip(rows["strategy"], rows["claim"], strict=True)
        listed = ", ".join(f"{name} (claim {claim})" for name, claim in named)
        parts.append(
            f"Not run here, for they are not among the strategies of {plan.size}: {listed}."
        )
    return parts


def readable_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """Costs to read, numbers as text: minutes and times to two digits, points to one.

    Args:
        costs: of `evidence.cost_table`.
    """
    shown, gained = costs.drop(columns="given"), "SDR gained, points"
    for name in ("minutes", "times", "minutes per point"):
        shown[name] = [verdicts.number(value, 2) for value in costs[name].astype(float)]
    shown[gained] = [
        verdicts.number(value, 1, signed=True) for value in costs[gained].astype(float)
    ]
    return shown


def _shows(figure: Figure) -> bool:
    """Whether a figure has more than a sentence in place of its axes."""
    return not figure.axes or any(ax.axison for ax in figure.axes)


def _missing(plan: Plan, runs: pd.DataFrame) -> list[Section]:
    """What was left out and what failed, each with the reason; nothing where there is nothing."""
    sections = []
    if plan.left_out:
        sections.append(Section("Not run, and why", "", [left_out_table(plan)]))
    failed = runs[runs["state"] == FAILED]
    if len(failed):
        columns = ["design", "strategy", "side", "seed", "reason"]
        sections.append(Section("Runs that failed", "", [failed[columns]]))
    return sections


def left_out_table(plan: Plan) -> pd.DataFrame:
    """A row for each strategy that was not run in a design: design, strategy, why."""
    rows = [(*key, why) for key, why in plan.left_out.items()]
    return pd.DataFrame(rows, columns=["design", "strategy", "why"])


def matters_text(plan: Plan) -> str:
    """The smallest differences worth knowing of, in words."""
    return "What matters: " + ", ".join(
        f"{verdicts.TITLES[name]} {value if name == 'median_mm' else 100 * value:g} "
        f"{verdicts.UNITS[name]}"
        for name, value in plan.grid.matters.items()
    )


def stand_ins(plan: Plan) -> str:
    """Which base stands for a larger one; empty where none does."""
    return " ".join(
        f"{plan.base(name)} stands in for {design.stands_for}."
        for name, design in plan.designs.items()
        if design.stands_for
    )


def _unit(figure: str) -> str:
    return "Millimetres." if verdicts.UNITS[figure] == "mm" else "Percent and points of percent."
