"""What notebook 05 leaves beside the run folders: summary.csv and report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lmkit import evidence, verdicts
from lmkit.ablation import Plan, describe, plan_table
from lmkit.files import atomic_path
from lmkit.findings import FAILED, FINISHED, scopes
from lmkit.grid import EFFECTS
from lmkit.report import Section, write_report


def write_summary(plan: Plan, table: pd.DataFrame) -> Path:
    """summary.csv in the sweep's folder: all verdicts, unrounded, shares as shares."""
    path = plan.folder / "summary.csv"
    with atomic_path(path) as part:
        table.to_csv(part, index=False)
    return path


def write_ablation_report(
    plan: Plan,
    table: pd.DataFrame,
    runs: pd.DataFrame,
    figures: Mapping[str, Figure],
) -> Path:
    """report.html in the sweep's folder, one file.

    Args:
        table: of `findings.verdict_table`.
        runs: of `findings.run_table`.
        figures: title -> figure, each a section of its own between the claims and the tables.
    """
    side = scopes(plan)[-1]
    sections = [
        Section("What was asked", "", [describe(plan), _flat(plan_table(plan))]),
        Section("The rule, fixed before anything was run", "", [verdicts.RULE, matters_text(plan)]),
        Section(
            "Claim beside evidence",
            f"Verdicts on SDR at 2 mm; effect, p and verdict are for: {side}.",
            [evidence.claim_table(plan, table, runs)],
        ),
        *(Section(title, "", [figure]) for title, figure in figures.items()),
    ]
    if len(table):
        sections += [
            Section(verdicts.TITLES[figure], f"For: {side}. {_unit(figure)}", [_flat(shown)])
            for figure in EFFECTS
            if len(shown := evidence.readable(table, figure, side))
        ]
        sections.append(
            Section(
                "Cost",
                "Minutes of training for all sides, mean over seeds.",
                [_flat(evidence.cost_table(plan, table, runs, side))],
            )
        )
    failed = runs[runs["state"] == FAILED]
    if len(failed):
        columns = ["design", "strategy", "side", "seed", "reason"]
        sections.append(Section("Runs that failed", "", [failed[columns]]))
    done = int((runs["state"] == FINISHED).sum())
    return write_report(
        plan.folder / "report.html",
        f"Ablation: {plan.folder.name}",
        sections,
        settings={"grid size": plan.size, "folder": plan.folder.name},
        note=f"{done} of {len(runs)} runs finished. {stand_ins(plan)}".strip(),
    )


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


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """A table with its index as columns."""
    return table.rename_axis(index=["design", "strategy"]).reset_index()
