"""What a sweep asked before its first run, kept beside the runs, so that later changes show."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import yaml

from lmkit.ablation import Plan
from lmkit.files import read_yaml, write_text

NAME = "protocol.yaml"  # in the sweep's folder


def keep_protocol(plan: Plan) -> None:
    """Write what is asked, with the date, unless an earlier call has done so."""
    path = plan.folder / NAME
    if not path.exists():
        stored = {"fixed": datetime.now().isoformat(timespec="minutes")} | asked(plan)
        write_text(path, yaml.safe_dump(stored, sort_keys=False, allow_unicode=True))


def asked(plan: Plan) -> dict[str, Any]:
    """What a verdict depends on and a reader may change: what matters, seeds, sides, budget and
    strategies of each design."""
    size = plan.grid.sizes[plan.size]
    return {
        "matters": {str(figure): value for figure, value in plan.grid.matters.items()},
        "seeds": list(size.seeds),
        "sides": list(plan.sides),
        "budget": {name: one.budget.model_dump() for name, one in plan.designs.items()},
        "strategies": {
            name: [n for n in plan.grid.names(plan.size, name) if (name, n) not in plan.left_out]
            for name in plan.designs
        },
    }


def changed_since(plan: Plan) -> list[str]:
    """What is asked otherwise now than before the first run, a line each, with the date.

    Empty where nothing was changed, and where no run was made yet.
    """
    path = plan.folder / NAME
    if not path.exists():
        return []
    kept, now = read_yaml(path), asked(plan)
    return [
        f"changed since {kept.get('fixed')}: {key}, was {kept.get(key)}, is {value}"
        for key, value in now.items()
        if kept.get(key) != value
    ]
