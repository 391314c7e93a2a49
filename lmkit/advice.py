"""What to use now: the one change in the recommended recipe that a sweep supports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lmkit.ablation import Plan, changes
from lmkit.evidence import MAIN, interval_text
from lmkit.fields import InputError
from lmkit.files import path_of, project_root, write_text
from lmkit.parameters import configure, read_preset
from lmkit.verdicts import HELPS, HURTS

RECOMMENDED = "recommended"


def to_change(plan: Plan, verdicts: pd.DataFrame, side: str) -> pd.DataFrame:
    """What the recommended recipe should become: changes that helped in it, by design `remove`.

    A change counts when it helps SDR at 2 mm by what matters or more, and hurts neither another
    figure nor a side.

    Args:
        verdicts: of `findings.verdict_table`.
        side: that the verdict is for; the others must not be hurt.
    Returns: strategy, change, settings, effect (points, with interval); best first. Empty where
        the sweep did not start from the project's `recommended`, for what helps another recipe, be
        it another file of that name, need not help it.
    """
    rows = verdicts[verdicts["design"] == "remove"] if measured(plan) else verdicts.iloc[:0]
    hurt = set(rows.loc[rows["verdict"] == HURTS, "strategy"])
    rows = rows[(rows["figure"] == MAIN) & (rows["side"] == side) & (rows["verdict"] == HELPS)]
    rows = rows[(rows["effect"] >= plan.grid.matters["sdr_2mm"]) & ~rows["strategy"].isin(hurt)]
    rows = rows.sort_values("effect", ascending=False)
    return pd.DataFrame(
        {
            "strategy": rows["strategy"],
            "change": rows["change"],
            "settings": [changes(plan, name, "remove") for name in rows["strategy"]],
            "effect, points": [interval_text(row) for row in rows.to_dict("records")],
        }
    ).reset_index(drop=True)


def measured(plan: Plan) -> bool:
    """Whether a sweep took something out of the project's `recommended`, or put something in."""
    return "remove" in plan.designs and _is_recommended(plan.designs["remove"].base)


def write_recommended(plan: Plan, chosen: pd.DataFrame, path: Path | None = None) -> Path:
    """Write the best change that helped into params/recommended.yaml; one at a time.

    Changes were measured alone, so only the first is written; run the sweep again for the next.

    Args:
        chosen: of `to_change`.
        path: another file than params/recommended.yaml.
    Raises: InputError when there is nothing to write, or it is another `side`: a call says that
        itself, so a preset cannot.
    """
    if not len(chosen):
        raise InputError(
            "write_recommended: expected a change that helps the recommended recipe, found none; "
            "leave the switch off"
        )
    first = chosen.iloc[0]
    change = plan.grid.settings(plan.size, "remove", first["strategy"])
    if "side" in change:
        raise InputError(
            f"write_recommended: expected a change of the recipe, got {first['strategy']}, which "
            f"is another side; leave the switch off, and train with -p side {change['side']}"
        )
    base = plan.designs["remove"].base
    settings = read_preset(base) | change
    configure(settings)  # whole and valid before anything is replaced
    head = (
        f"# {base}, changed by 05_ablation as its sweep {plan.folder.name} supports:\n"
        f"# {first['change']}, SDR at 2 mm {first['effect, points']} points, the best of "
        f"{len(plan.grid.names(plan.size, 'remove'))} tried, so expect less.\n"
    )
    target = path or _recommended()
    write_text(target, head + yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True))
    return target


def _recommended() -> Path:
    return project_root() / "params" / f"{RECOMMENDED}.yaml"


def _is_recommended(base: str) -> bool:
    """Whether a base, a preset's name or a file, is the project's recommended recipe."""
    if base.endswith((".yaml", ".yml")):
        return path_of(base, "base").resolve() == _recommended().resolve()
    return base == RECOMMENDED


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    return value
