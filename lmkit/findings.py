"""What a sweep has found, read from its run folders alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lmkit import verdicts
from lmkit.ablation import SPLIT, Plan, fallen, promoted
from lmkit.fields import InputError
from lmkit.planning import JOINER, Planned
from lmkit.runs import Run, load_run, other_settings
from lmkit.stats import compare_paired
from lmkit.sweep_task import failed_notebook, reason, times_of
from lmkit.verdicts import TOGETHER, Family

FINISHED, FAILED, STOPPED, MISSING = "finished", "failed", "interrupted", "not run"
FOREIGN = "of other data or settings"


def state_of(run: Planned) -> str:
    """finished, failed, interrupted, not run, or of other data or settings than planned."""
    if (run.folder / "config.yaml").exists():
        kept = load_run(run.folder)
        if _what_differs(kept, run):
            return FOREIGN
        if kept.finished:
            return FINISHED
    if failed_notebook(run.folder).exists():
        return FAILED
    return STOPPED if (run.folder / "checkpoint.pt").exists() else MISSING


def _what_differs(kept: Run, run: Planned) -> str:
    """In what the run in a folder is not the planned one; empty where it is."""
    if kept.about["dataset_fingerprint"] != run.fingerprint:
        return "other images or landmarks"
    return other_settings(kept, run.config)


def refuse_foreign(runs: Sequence[Planned]) -> None:
    """Raises: InputError where folders hold runs that are not the planned ones; pairing these with
    new ones would compare labels, or recipes, that nobody meant to compare."""
    foreign = [run for run in runs if state_of(run) == FOREIGN]
    if foreign:
        what = _what_differs(load_run(foreign[0].folder), foreign[0])
        raise InputError(
            f"{foreign[0].folder}: expected a run of these data and settings, got one with {what} "
            f"({len(foreign)} of {len(runs)} runs like it); name another sweep, -p run NAME, or "
            "remove them"
        )


def run_table(plan: Plan) -> pd.DataFrame:
    """A row per run.

    Returns: design, strategy, side, seed, state, epochs, train_min (training and validation),
        wall_min and overhead_s (all besides training; NaN where no sweep timed it), threads,
        reason (of a failure), folder (relative to the sweep's).
    """
    rows = []
    for run in plan.runs:
        row = {"design": run.design, "strategy": run.strategy, "side": run.side, "seed": run.seed}
        row |= {"state": state_of(run)}
        if row["state"] == FINISHED:
            row |= _times(run)
        if row["state"] == FAILED:
            row["reason"] = reason(run.folder)
        rows.append(row | {"folder": str(run.folder.relative_to(plan.folder))})
    columns = [*("design", "strategy", "side", "seed", "state", "epochs", "train_min", "wall_min")]
    columns += ["overhead_s", "threads", "reason", "folder"]
    return pd.DataFrame(rows, columns=columns).fillna({"reason": ""})


def _times(run: Planned) -> dict[str, float]:
    history = load_run(run.folder).history
    train_s = history["seconds"].sum()  # of all members of an ensemble
    found = {"epochs": len(history), "train_min": train_s / 60}
    if outside := times_of(run.folder):
        found |= {
            "wall_min": outside["wall_s"] / 60,
            "overhead_s": outside["wall_s"] - train_s,
            "threads": outside["threads"],
        }
    return found


def predictions(runs: Sequence[Planned], folder_rows: dict[Path, pd.DataFrame]) -> pd.DataFrame:
    """The rows compared on of some finished runs, one under the other.

    Args:
        folder_rows: read before; filled on the way, for tables are used more than once.
    """
    for run in runs:
        if run.folder not in folder_rows:
            rows = load_run(run.folder).predictions
            folder_rows[run.folder] = rows[rows["split"] == SPLIT]
    return pd.concat([folder_rows[run.folder] for run in runs], ignore_index=True)


def recipes_on(
    runs: Sequence[Planned], side: str, sides: Sequence[str], rows: dict[Path, pd.DataFrame]
) -> dict[str, list[pd.DataFrame]]:
    """strategy -> predictions on one side or together, a table per seed that is whole, which its
    column `seed` names.

    A seed counts when all its runs for that side are finished.

    Args:
        runs: of one design.
        side: left, right, all, or together.
        sides: of the sweep.
        rows: see `predictions`.
    """
    found: dict[str, list[pd.DataFrame]] = {}
    for (strategy, seed), group in _grouped(runs).items():
        wanted = [run for run in group if side == TOGETHER or run.side in (side, "both", "joint")]
        wanted = wanted or group  # a dataset without sides
        if all(state_of(run) == FINISHED for run in wanted):
            table = predictions(wanted, rows)
            if side == TOGETHER:
                table = table[table["side"].isin(sides)]
            found.setdefault(strategy, []).append(table.assign(seed=seed))
    return verdicts.of_side(found, side)


def _grouped(runs: Sequence[Planned]) -> dict[tuple[str, int], list[Planned]]:
    groups: dict[tuple[str, int], list[Planned]] = {}
    for run in runs:
        groups.setdefault((run.strategy, run.seed), []).append(run)
    return groups


def scopes(plan: Plan) -> list[str]:
    """What results are told for: each side, and both together."""
    return [*plan.sides, *([TOGETHER] if len(plan.sides) > 1 else [])]


def families(plan: Plan) -> dict[tuple[str, str], Family]:
    """(design, side or together) -> what is compared there; empty where the base is missing."""
    rows: dict[Path, pd.DataFrame] = {}
    found = {}
    for design in plan.designs:
        runs, base = [r for r in plan.runs if r.design == design], plan.base(design)
        for side in scopes(plan):
            recipes = recipes_on(runs, side, plan.sides, rows)
            joined = [(name, name.split(JOINER)) for name in recipes if JOINER in name]
            pairs = [(first, second, name) for name, (first, second) in joined]
            if base in recipes:
                over = {name: plan.base_of(design, name) for name in recipes}
                found[design, side] = Family(base, recipes, pairs, over)
    return found


def verdict_table(plan: Plan, known: dict[tuple[str, str], Family] | None = None) -> pd.DataFrame:
    """All verdicts of a sweep: see `verdicts.judge`, with design and side before it."""
    tables, matters = [], {str(figure): least for figure, least in plan.grid.matters.items()}
    for (design, side), family in (known or families(plan)).items():
        table = verdicts.judge(family, matters, resamples=1000, permutations=4000)
        if len(table):
            tables.append(table.assign(design=design, side=side))
    first = ["design", "side", "strategy", "change", "figure"]
    if not tables:
        return pd.DataFrame(columns=[*first, *verdicts.COLUMNS, "said"])
    whole = pd.concat(tables, ignore_index=True)
    named = zip(whole["design"], whole["strategy"], strict=True)
    whole["change"] = [plan.called(design, strategy) for design, strategy in named]
    whole["said"] = [verdicts.worded(row) for row in whole.to_dict("records")]
    return whole[[*first, *verdicts.COLUMNS, "said"]]


def pair_table(plan: Plan, known: dict[tuple[str, str], Family] | None = None) -> pd.DataFrame:
    """All interactions of a sweep: see `verdicts.judge_pairs`, with design and side before it."""
    tables = [
        verdicts.judge_pairs(family).assign(design=design, side=side)
        for (design, side), family in (known or families(plan)).items()
        if family.pairs
    ]
    if not tables:
        return pd.DataFrame(columns=["design", "side", "pair", "figure"])
    whole = pd.concat(tables, ignore_index=True)
    named = zip(whole["design"], whole["pair"], strict=True) if len(whole) else ()
    whole["pair"] = [plan.called(design, name) for design, name in named]
    return whole[["design", "side", *(name for name in whole if name not in ("design", "side"))]]


def after_first_look(plan: Plan) -> Plan:
    """The plan without what a first look has ruled out, which is then among `left_out`."""
    gone = ruled_out(plan)
    if not gone:
        return plan
    said = {
        key: f"ruled out by the first look, {100 * effect:+.1f} points"
        for key, effect in gone.items()
    }
    for key, under in fallen(plan, gone).items():
        said[key] = f"{under}, which it goes over, was ruled out by the first look"
    left = promoted(plan, list(gone))
    return replace(left, left_out=plan.left_out | said)


def ruled_out(plan: Plan) -> dict[tuple[str, str], float]:
    """(design, strategy) -> effect on SDR at 2 mm, of those that a first look has ruled out.

    Ruled out: even the upper end of the 95 % interval over patients lies `spare` below the figure
    of what it is compared with. Slow starters are at risk, what pays only after more epochs than
    the first look had, and with one seed the unlucky ones; a larger `spare` keeps more of them.
    """
    screen = plan.grid.sizes[plan.size].screen
    rows: dict[Path, pd.DataFrame] = {}
    gone: dict[tuple[str, str], float] = {}
    if screen is None:
        return gone
    for design in plan.designs:
        runs, base = [r for r in plan.screening if r.design == design], plan.base(design)
        recipes = recipes_on(runs, scopes(plan)[-1], plan.sides, rows)
        for name, tables in recipes.items():
            own = recipes.get(plan.base_of(design, name), [])
            if name != base and JOINER not in name and own:
                n = min(len(tables), len(own))
                found = compare_paired(own[:n], tables[:n], resamples=2000)["sdr"]["2"]
                if found["interval"] and found["interval"][1] < -screen.spare:
                    gone[design, name] = found["effect"]
    return gone
