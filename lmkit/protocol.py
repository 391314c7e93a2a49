"""What a sweep asked before its first run, kept beside the runs, so that later changes show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import yaml

from lmkit.ablation import Plan
from lmkit.files import read_yaml, write_text
from lmkit.planning import PLACES

NAME = "protocol.yaml"  # in the sweep's folder


def keep_protocol(plan: Plan) -> None:
    """Write what is asked, with the date, unless an earlier call has done so."""
    path = plan.folder / NAME
    if not path.exists():
        stored = {"fixed": datetime.now().isoformat(timespec="minutes")} | asked(plan)
        write_text(path, yaml.safe_dump(stored, sort_keys=False, allow_unicode=True))


def asked(plan: Plan) -> dict[str, Any]:
    """What a verdict depends on and a reader may change: what matters, seeds, sides, the first
    look, and of each design the base's settings with data and budget, strategies and pairs."""
    size = plan.grid.sizes[plan.size]
    found = {
        "matters": plan.grid.matters,
        "seeds": size.seeds,
        "sides": plan.sides,
        "first_look": size.screen.model_dump() if size.screen else None,
        "base": {name: _base(plan, name) for name in plan.designs},
        "strategies": {name: _strategies(plan, name) for name in plan.designs},
        "pairs": {name: one.pairs for name, one in plan.designs.items()},
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))  # lists for tuples, as a file has them
    return plain


def _strategies(plan: Plan, design: str) -> dict[str, Any]:
    names = plan.grid.names(plan.size, design)
    found = {name: plan.grid.settings(plan.size, design, name) for name in names}
    over = {name: plan.grid.over(design, name) for name in names}
    return {name: ({"over": over[name]} if over[name] else {}) | found[name] for name in names}


def _base(plan: Plan, design: str) -> dict[str, Any]:
    """The base of a design with all that was asked for over it."""
    first = next(run for run in plan.runs if run.design == design)
    asked = {k: v for k, v in first.asked.items() if k not in (*PLACES, "seed")}
    return {"preset": first.preset} | asked


def changed_since(plan: Plan) -> list[str]:
    """What is asked otherwise now than before the first run, a line each, with the date.

    Empty where nothing was changed, and where no run was made yet.
    """
    path = plan.folder / NAME
    if not path.exists():
        return []
    kept = read_yaml(path)
    fixed = kept.pop("fixed", "an unknown day")
    return [f"changed since {fixed}: {line}" for line in _differences(kept, asked(plan))]


def _differences(kept: Mapping[str, Any], now: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """What differs, a line each, named as `strategies.add.clip`; the order of names is none."""
    for key in dict.fromkeys([*kept, *now]):
        was, value = kept.get(key), now.get(key)
        if isinstance(was, Mapping) and isinstance(value, Mapping):
            yield from _differences(was, value, f"{place}{key}.")
        elif was != value:
            was, value = ("not there" if v is None else v for v in (was, value))
            yield f"{place}{key}, was {was}, is {value}"
