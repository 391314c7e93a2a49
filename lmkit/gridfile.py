"""Reading a grid file, params/ablation.yaml or another: what is in it, checked and made whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lmkit.choices import DECODERS, LOSSES
from lmkit.config import RunConfig
from lmkit.fields import InputError, nearest
from lmkit.files import path_of, project_root, read_yaml
from lmkit.grid import DESIGNS, Budget, Design, Grid, Screen, Settings, Size, Strategy

GRID = "params/ablation.yaml"
REGISTERED = {"loss": LOSSES, "decoder": DECODERS}


def read_grid(path: str | Path = GRID) -> Grid:
    """A grid file, checked; a relative path starts here, else at the project.

    Raises: InputError of one line: the file, where in it, expected, got, nearest name.
    """
    file = path_of(path, "grid")
    if not file.is_absolute() and not file.exists():
        file = project_root() / file
    stored = read_yaml(file)
    odd = [key for key in stored if not isinstance(key, str)]
    if odd:
        raise InputError(f"{file}: expected names as keys, got {odd[0]!r}")
    try:
        grid = Grid(**stored)
    except ValidationError as error:
        raise InputError(f"{file}: {_one_line(error.errors()[0], stored)}") from None
    grid = _with_registered(_located(grid, file.parent))
    for where, settings in _all_settings(grid):
        for key in settings:
            if key not in RunConfig.model_fields:
                hint = nearest(key, RunConfig.model_fields)
                raise InputError(f"{file}: {where}: unknown parameter {key}{hint}")
    return grid


def _located(grid: Grid, folder: Path) -> Grid:
    """The grid with bases that are files beside it, or under the current folder, by whole path: a
    run starts in another folder."""

    def whole(design: Design) -> Design:
        base = design.base
        if not base.endswith((".yaml", ".yml")):
            return design
        there = folder / path_of(base, "base")
        return design.model_copy(
            update={"base": str((there if there.exists() else Path(base)).resolve())}
        )

    sizes = {
        name: size.model_copy(update={"designs": {k: whole(d) for k, d in size.designs.items()}})
        for name, size in grid.sizes.items()
    }
    return grid.model_copy(update={"sizes": sizes})


def _with_registered(grid: Grid) -> Grid:
    """The grid with a strategy for each registered value, of `every`, in each design where none of
    its own sets it."""
    strategies = dict(grid.strategies)
    for key in grid.every:
        tried = {
            design: [(getattr(s, design) or {}).get(key) for s in grid.strategies.values()]
            for design in DESIGNS
        }
        for value, says in REGISTERED[key].items():
            add, remove = (None if value in tried[d] else {str(key): value} for d in DESIGNS)
            if add or remove:
                name = f"{key}_{value}" if value in strategies else value
                strategies[name] = Strategy(
                    says=says, group=key, add=add, remove=remove, registered=True
                )
    return grid.model_copy(update={"strategies": strategies})


def _all_settings(grid: Grid) -> list[tuple[str, Settings]]:
    """(where, settings) of everything in a grid that becomes settings of a run."""
    found = []
    for name, strategy in grid.strategies.items():
        found += [(f"strategies.{name}.{k}", getattr(strategy, k) or {}) for k in ("add", "remove")]
    for name, size in grid.sizes.items():
        found.append((f"sizes.{name}.data", size.data))
        for which, design in size.designs.items():
            place = f"sizes.{name}.designs.{which}"
            found.append((f"{place}.settings", design.settings))
            found += [(f"{place}.instead.{k}", given) for k, given in design.instead.items()]
    return found


_MODELS: dict[str, type[BaseModel]] = {
    "": Grid,
    "strategies": Strategy,
    "sizes": Size,
    "designs": Design,
    "budget": Budget,
    "screen": Screen,
}


def _one_line(error: Any, stored: Mapping[str, Any]) -> str:
    """A pydantic error as: where: expected, got."""
    where = ".".join(str(part) for part in error["loc"] if part != "[key]")
    message = re.sub(r"^Value error, ", "", error["msg"])
    if error["type"] == "extra_forbidden":
        *place, key = [str(part) for part in error["loc"]]
        parent = next((part for part in reversed(place) if part in _MODELS), "")
        known = _MODELS[parent].model_fields
        return f"{'.'.join(place) or 'grid'}: unknown key {key}{nearest(key, known)}"
    if error["type"] == "missing":
        return f"{where}: expected a value, got none"
    if error["type"] == "value_error":
        return f"{where}: {message}" if where else message
    if error["type"] in ("model_type", "dict_type"):
        return f"{where}: expected lines of key: value, got {error['input']!r}"
    message = re.sub(r"^(Input|Value|List|Dictionary|Tuple) should ", "", message)
    return f"{where}: expected to {message}, got {error['input']!r}"
