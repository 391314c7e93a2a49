"""The filter of notebook 05: effects by design, figure, side and group."""

from __future__ import annotations

from typing import Any

import ipywidgets as w
import pandas as pd
from matplotlib.figure import Figure

from lmkit.ablation import Plan
from lmkit.grid import EFFECTS, Effect
from lmkit.plots_effects import forest
from lmkit.verdicts import TITLES
from lmkit.widgets import WIDE, explorer

ALL = "all"


def effects_view(
    plan: Plan, verdicts: pd.DataFrame, *, design: str, figure: Effect, side: str, group: str
) -> Figure:
    """Effects on one figure and side, of one group of strategies or all of them.

    Args:
        verdicts: of `findings.verdict_table`.
    """
    known = plan.grid.strategies
    chosen = verdicts[(verdicts["design"] == design) & (verdicts["figure"] == figure)]
    chosen = chosen[chosen["side"] == side]
    if group != ALL:
        groups = [known[name].group if name in known else "pair" for name in chosen["strategy"]]
        chosen = chosen[[name == group for name in groups]]
    drawn = Figure(figsize=(8, 1.2 + 0.3 * max(chosen["strategy"].nunique(), 1)))
    ax = drawn.subplots()
    if len(chosen):
        forest(ax, chosen, plan.grid.matters[figure])
    else:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "nothing of this group here", ha="center")
    drawn.tight_layout()
    return drawn


def effects_explorer(plan: Plan, verdicts: pd.DataFrame) -> w.VBox:
    """Menus for design, figure, side and group over a picture of the effects; a line in its place
    where nothing could be compared."""
    if not len(verdicts):
        return w.VBox([w.HTML("no strategy and its base are both finished: nothing to compare")])
    sides = list(dict.fromkeys(verdicts["side"]))
    groups = [ALL, *dict.fromkeys(s.group for s in plan.grid.strategies.values()), "pair"]

    def menu(options: list[Any], text: str, value: str) -> w.Dropdown:
        return w.Dropdown(options=options, value=value, description=text, style=WIDE)

    designs = list(dict.fromkeys(verdicts["design"]))
    controls = {
        "design": menu(designs, "design", designs[0]),
        "figure": menu([(TITLES[name], name) for name in EFFECTS], "figure", EFFECTS[0]),
        "side": menu(sides, "side", sides[-1]),
        "group": menu(groups, "strategies", ALL),
    }
    return explorer(lambda **chosen: effects_view(plan, verdicts, **chosen), controls)
