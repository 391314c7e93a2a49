"""From the grid to runs: which settings each strategy, side and seed is trained with, and where.

Strategies are compared on **validation** patients. Choosing a recipe is a choice, and the test
patients are opened once, by 04, for the recipe that was chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lmkit.config import RunConfig
from lmkit.data import Dataset, open_for
from lmkit.fields import InputError, Int, Text, nearest, one_line
from lmkit.grid import Design, Grid
from lmkit.gridfile import GRID, read_grid
from lmkit.parameters import asked_for, configure
from lmkit.planning import JOINER, PLACES, Maker, Planned, recipes_of
from lmkit.runs import run_folder
from lmkit.samples import run_side

SPLIT = "val"  # what strategies are compared on
DONE = {"add": "one thing added", "remove": "one thing taken out or replaced"}  # to the base


class Own(BaseModel):
    """Parameters of notebook 05 alone, checked: papermill passes false as text."""

    model_config = ConfigDict(frozen=True)
    preset: Text = Field(description="a size in the grid")
    grid: Text = Field(GRID, description="the grid's file")
    scheduler: Text = Field("", description="address of a dask scheduler, or nothing")
    workers: Int = Field(0, ge=0, description="on this machine; 0 = as fit")
    train: bool = Field(True, description="false = read the runs that there are")
    write_recommended: bool = Field(False, description="let params/recommended.yaml be changed")


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep.

    Attributes:
        grid, size: what it was made from.
        sides: that results are told for.
        folder: of the sweep; run folders, summary.csv and report.html lie in it.
        runs: base and strategies; the bases first, seed by seed.
        screening: the cheap first look, when the size has one.
        left_out: (design, strategy) -> why it is not among the runs.
    """

    grid: Grid
    size: str
    sides: tuple[str, ...]
    folder: Path
    runs: tuple[Planned, ...]
    screening: tuple[Planned, ...]
    left_out: dict[tuple[str, str], str]

    @property
    def designs(self) -> dict[str, Design]:
        """Name -> design."""
        return {str(name): one for name, one in self.grid.sizes[self.size].designs.items()}

    def base(self, design: str) -> str:
        """What the base is called."""
        return Path(self.designs[design].base).stem

    def base_of(self, design: str, strategy: str) -> str:
        """What a strategy is compared with: what it goes over, or the base where it goes over that
        or what the base has already."""
        tried = {run.strategy for run in self.runs if run.design == design}
        below = (name for name in self.grid.below(design, strategy) if name in tried)
        return next(below, self.base(design))

    def called(self, design: str, strategy: str) -> str:
        """What was changed, to read: a strategy's name, in `remove` after `with` or `without`; and
        what it goes over, where that is not the base."""
        parts, under = strategy.split(JOINER), self.base_of(design, strategy)
        name = JOINER.join(self.grid.called(design, part) for part in parts)
        return name if under == self.base(design) else f"{name} over {under}"


def plan_runs(
    size: str, grid: str | Path = GRID, given: Mapping[str, Any] | None = None, run: str = ""
) -> Plan:
    """The runs of one size of a grid.

    Args:
        size: its name in the grid.
        grid: the grid's file.
        given: settings over the grid's own, for every run, such as dataset or device; `side` left
            or right keeps to one side, `outputs` says where the sweep's folder goes.
        run: name of the sweep's folder; empty: dataset and size.
    Raises: InputError of one line for an unknown size, or settings that no run could have.
    """
    asked, read = dict(given or {}), read_grid(grid)
    if size not in read.sizes:
        raise InputError(
            f"preset: expected {' | '.join(read.sizes)} (the sizes of {grid}), got {size!r}"
            f"{nearest(size, read.sizes)}"
        )
    chosen, side = read.sizes[size], asked.pop("side", "")
    if side not in ("", "left", "right"):
        raise InputError(f"side: expected left, right or nothing for both of them, got {side!r}")
    data = chosen.data | {k: v for k, v in asked.items() if k not in PLACES}
    dataset = open_for(configure(data))
    outputs = _outputs(dataset, asked.get("outputs"), run or f"{dataset.name}-{size}")
    sides = ((side,) if side else tuple(chosen.sides)) if dataset.sides else ("right",)
    left_out: dict[tuple[str, str], str] = {}
    runs, screening = [], []
    for name, design in chosen.designs.items():
        make = Maker(read, name, design, data, asked, outputs, dataset, sides)
        recipes = recipes_of(read, size, name, dataset, asked, left_out)
        runs += make.runs(recipes, chosen.seeds, design.budget)
        if chosen.screen and name in chosen.screen.designs:
            screening += make.runs(recipes, chosen.screen.seeds, chosen.screen.budget)
    shown = sides if dataset.sides else (run_side(dataset, "right"),)
    return Plan(read, size, shown, outputs, tuple(runs), tuple(screening), left_out)


def resolve(namespace: Mapping[str, Any]) -> tuple[Plan, Own]:
    """The plan of notebook 05, from its parameters cell and papermill's; printed. And what was
    asked of the notebook itself.

    Raises: InputError for an unknown name, a wrong type or a value out of range.
    """
    asked = asked_for(namespace)
    plan = plan_of(namespace, asked)
    print(describe(plan))
    return plan, own_of(namespace, asked)


def own_of(values: Mapping[str, Any], asked: Mapping[str, Any]) -> Own:
    """What was asked of 05 itself; arguments and errors as of `plan_of`."""
    given = {key: asked.get(key, values[key]) for key in Own.model_fields}
    try:
        return Own(**given)
    except ValidationError as error:
        raise InputError(one_line(error.errors()[0], Own.model_fields)) from None


def plan_of(values: Mapping[str, Any], asked: Mapping[str, Any]) -> Plan:
    """The plan of what was asked for.

    Args:
        values: of the parameters of 05 alone, where `asked` has none.
        asked: of these and of settings of a run.
    Raises: InputError as of `resolve`.
    """
    own, side = own_of(values, asked), asked.get("side", values["side"])
    settings = {k: v for k, v in asked.items() if k not in (*Own.model_fields, "side")}
    known = [*RunConfig.model_fields, *Own.model_fields]
    for key in settings:
        if key not in known:
            raise InputError(f"unknown parameter {key}{nearest(key, known)}")
    run = str(settings.pop("run", ""))
    return plan_runs(own.preset, own.grid, settings | {"side": side}, run)


def describe(plan: Plan) -> str:
    """What will be run, in lines."""
    size = plan.grid.sizes[plan.size]
    lines = [f"{plan.size}: {size.about}"]
    for name, design in plan.designs.items():
        runs = [r for r in plan.runs if r.design == name]
        first = runs[0].config
        length = f"{first.max_minutes:g} min" if first.max_minutes else f"{first.epochs} epochs"
        lines.append(
            f"{name}: {plan.base(name)}, {DONE[name]}; "
            f"{len({r.strategy for r in runs}) - 1} strategies, {length} each"
        )
        if design.stands_for:
            lines.append(f"  {plan.base(name)} stands in for {design.stands_for}")
    seeds = " ".join(map(str, size.seeds))
    lines.append(f"sides {' '.join(plan.sides)}; seeds {seeds}; {len(plan.runs)} runs")
    if plan.screening:
        lines.append(f"after a first look of {len(plan.screening)} short runs")
    return "\n".join(lines)


def promoted(plan: Plan, dropped: Sequence[tuple[str, str]]) -> Plan:
    """The plan without the runs of (design, strategy) that a first look has ruled out.

    A pair goes with either of its parts, and a strategy with what it goes over; bases always stay.
    """

    def stays(run: Planned) -> bool:
        return not any((run.design, part) in gone for part in run.strategy.split(JOINER))

    gone = {*dropped, *fallen(plan, dropped)}
    return replace(plan, runs=tuple(run for run in plan.runs if stays(run)))


def fallen(plan: Plan, dropped: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(design, strategy) -> what it goes over, of those that go with one that is dropped."""
    found: dict[tuple[str, str], str] = {}
    for design in plan.designs:
        for name in plan.grid.strategies:
            below = plan.grid.below(design, name)
            if (design, name) not in dropped and any((design, one) in dropped for one in below):
                found[design, name] = below[0]
    return found


def changes(plan: Plan, strategy: str, design: str) -> str:
    """The settings of a strategy, to read."""
    parts = [plan.grid.settings(plan.size, design, name) for name in strategy.split(JOINER)]
    return ", ".join(f"{key} {_plain(value)}" for part in parts for key, value in part.items())


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _outputs(dataset: Dataset, outputs: Any, name: str) -> Path:
    """The sweep's folder, outputs/ablation/<name>; checked as a run's name is."""
    somewhere = {"run": name} | ({"outputs": outputs} if outputs else {})
    folder = run_folder(configure(somewhere), dataset)
    return folder.parents[2] / "ablation" / folder.name


def plan_table(plan: Plan) -> pd.DataFrame:
    """A row per design and strategy: settings, group, claim, number of runs; to read."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for run in plan.runs:
        row = rows.setdefault((run.design, run.strategy), {"runs": 0})
        row["runs"] += 1
    for (design, strategy), row in rows.items():
        known = plan.grid.strategies.get(strategy)
        row["claim"] = "" if known is None or known.claim is None else str(known.claim)
        row["group"] = known.group if known else ("pair" if JOINER in strategy else "base")
        under = plan.base_of(design, strategy)
        over = "" if under == plan.base(design) else f"over {under}: "
        row["settings"] = over + changes(plan, strategy, design)
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(table.index, names=["design", "strategy"])
    return table[["group", "claim", "settings", "runs"]]
