"""JSON of other tools, read with errors that say where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmkit.faults import one_line
from lmkit.fields import InputError, is_number
from lmkit.tables import shown


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises: InputError for an unreadable one, or one that is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse)
    except RecursionError:
        raise InputError(f"{path}: expected JSON, got lists nested too deeply") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, not JSON, NaN
        raise InputError(f"{path}: expected readable JSON, got: {one_line(error)}") from None


def _refuse(text: str) -> None:
    raise ValueError(f"{text}, which is no JSON number")


def entries(value: object, key: str, where: str) -> list[dict[str, Any]]:
    """value[key], a list of objects; [] without the key. Raises: InputError for anything else."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, got {shown(value)}")
    found = value.get(key) or []
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"{where}: {key}: expected a list of objects, got {shown(found)}")
    return found


def finite(value: object, what: str, where: str) -> float:
    """A finite number from JSON. Raises: InputError with `where` and `what` for anything else."""
    if not is_number(value):
        raise InputError(f"{where}: {what}: expected a number, got {shown(value)}")
    return float(value)
