"""From a notebook's parameters and a preset to a RunConfig: default < preset < parameter."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from lmkit.config import RunConfig, make_config
from lmkit.fields import InputError, choices_of, nearest, unit_of
from lmkit.files import path_of, project_root, read_yaml

HELP = "python -m lmkit.notebooks 03_train --help-notebook explains it"
NAMED = ("side", "dataset", "preset", "run", "outputs")  # in every notebook's parameters cell
LIMITS = {"gt": "> {}", "ge": "at least {}", "lt": "< {}", "le": "at most {}"}  # as pydantic's
WHERE_NOT_WHAT = {"run", "outputs", "dataset", "side", "preset", "device"}  # not in a run's hash


def preset_names() -> list[str]:
    """The presets in params/; ablation*.yaml there are grids, see `lmkit.gridfile`."""
    files = (project_root() / "params").glob("*.yaml")
    return sorted(path.stem for path in files if not path.stem.startswith("ablation"))


def read_preset(name: str, _seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Settings of a preset: a name in params/, or the path of a YAML file.

    A preset may name another under `preset:` and then states only what differs.
    Raises: InputError naming the nearest preset, or the file and what is wrong in it.
    """
    path = project_root() / "params" / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        path = (
            Path(_seen[-1]).parent / path_of(name, "preset") if _seen else path_of(name, "preset")
        )
        path = path.resolve()  # a circle through .. is one, too
        name = str(path)
    elif name not in preset_names():
        known = preset_names()
        raise InputError(
            f"preset: expected {' | '.join(known)}, got {name!r}{nearest(name, known)}"
        )
    if name in _seen:
        raise InputError(f"{path}: preset: expected no circle, got {' -> '.join((*_seen, name))}")
    settings = read_yaml(path)
    unknown = [key for key in settings if key not in RunConfig.model_fields]
    if unknown:
        hint = nearest(unknown[0], RunConfig.model_fields)
        raise InputError(f"{path}: unknown parameter {unknown[0]}{hint}")
    base = settings.pop("preset", None)
    try:
        whole = (read_preset(str(base), (*_seen, name)) if base else {}) | settings
        make_config(whole)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return whole


def configure(settings: Mapping[str, object]) -> RunConfig:
    """A RunConfig from given settings over their preset over the defaults."""
    preset = settings.get("preset", RunConfig.model_fields["preset"].default)
    return make_config(read_preset(str(preset)) | dict(settings))


def resolve(
    namespace: Mapping[str, Any], own: Sequence[str] = (), quiet: bool = False
) -> RunConfig:
    """The RunConfig of a notebook, printed; call it in the first cell after the parameters.

    The parameters cell holds defaults, papermill's injected cell holds what was asked for; a value
    edited by hand in the parameters cell counts as asked for.

    Args:
        namespace: the notebook's `globals()`; outside a notebook, the settings themselves.
        own: parameters of this notebook alone, which are no settings of a run.
        quiet: do not print.
    Raises: InputError for an unknown key, a wrong type or a value out of range.
    """
    asked = asked_for(namespace)
    config = configure({key: value for key, value in asked.items() if key not in own})
    if not quiet:
        print(
            *(f"{key:13}  {shown(namespace[key])}\n" for key in own),
            describe(config, asked),
            sep="",
        )
    return config


def asked_for(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """What a notebook was asked for: injected parameters, and values edited by hand.

    Args:
        namespace: as of `resolve`.
    """
    if "In" not in namespace:  # outside IPython: plain settings
        return dict(namespace)
    if not any(namespace["In"]):  # nbval keeps no history, and injects nothing
        return _edited({k: v for k, v in namespace.items() if k in RunConfig.model_fields})
    cell, *injected = _parameter_cells(namespace["In"])
    asked = _edited(_assignments(cell, namespace))
    for cell in injected:
        asked |= _assignments(cell, namespace)
    return asked


def _edited(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was changed by hand in a parameters cell, whose values are the defaults."""
    fields = RunConfig.model_fields
    return {k: v for k, v in values.items() if k not in fields or v != fields[k].default}


def _parameter_cells(history: Sequence[str]) -> list[str]:
    """The last run parameters cell ('# Parameters: ...') and the last injected one after it."""
    starts = [i for i, cell in enumerate(history) if cell.lstrip().startswith("# Parameters:")]
    if not starts:
        raise InputError(
            "parameters cell: expected a cell that starts with `# Parameters:` before this "
            "one, found none; put the line back and run that cell"
        )
    injected = [
        cell
        for cell in history[starts[-1] + 1 :]
        if cell.lstrip().startswith("# Parameters")
        and not cell.lstrip().startswith("# Parameters:")
    ]
    return [history[starts[-1]], *injected[-1:]]


def _assignments(cell: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """name -> value for the top-level assignments of a cell, literals read from its text."""
    found = {}
    try:
        body = ast.parse(cell).body
    except SyntaxError as error:
        raise InputError(
            f"parameters cell line {error.lineno}: expected `name = value`, got {error.text!r}"
        ) from None
    for node in body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                try:
                    found[target.id] = ast.literal_eval(node.value)
                except ValueError:  # an expression: its value is in the namespace
                    found[target.id] = namespace[target.id]
    return found


def describe(config: RunConfig, asked: Mapping[str, object] | None = None) -> str:
    """All settings as text: those that every notebook names, the preset's and those asked for as a
    table of key, value, unit, where it came from and help; under it the others, at their defaults.
    """
    preset, source = read_preset(config.preset), Path(config.preset).name
    rows, others = [], []
    for key, field in RunConfig.model_fields.items():
        origin = "parameter" if key in (asked or {}) else source if key in preset else ""
        value, unit = getattr(config, key), unit_of(field)
        if origin or key in NAMED:
            rows.append((key, shown(value), unit, origin or "default", field.description or ""))
        else:
            others.append(f"{key} {shown(value)} ·".replace(" ", "\0"))  # stays in one line
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    rest = textwrap.fill(" ".join(others), 96, break_long_words=False).replace("\0", " ")
    return "\n".join([*lines, "", f"all else as by default ({HELP}):", rest.removesuffix(" ·")])


def shown(value: object) -> str:
    """A setting's value in one line; - for an empty one."""
    text = " ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else f"{value}"
    return text or "-"


def help_text(without: Collection[str] = ()) -> str:
    """Every setting that any notebook takes: default, unit, range, help, and what it may be.

    Args:
        without: settings that are left out.
    """
    lines = []
    for key, field in RunConfig.model_fields.items():
        if key in without:
            continue
        unit = {"times": "a factor"}.get(unit_of(field), unit_of(field))
        parts = (f"default {shown(field.default).lower()}", unit, limits_of(field))
        lines.append(f"  {key} ({'; '.join(filter(None, parts))}): {field.description}")
        choices = choices_of(field)
        width = max([15, *map(len, choices)])
        lines += [f"      {name:{width}} {means}" for name, means in choices.items()]
    return "\n".join(lines)


def limits_of(field: FieldInfo) -> str:
    """The range of a number, or of each of several, that a setting states: '> 0, at most 100'."""
    found = [
        text.format(f"{getattr(check, limit)}".removesuffix(".0"))
        for check in _checks(field)
        for limit, text in LIMITS.items()
        if getattr(check, limit, None) is not None
    ]
    return ", ".join(dict.fromkeys(found))


def _checks(kind: object) -> list[object]:
    """What a field or a type is annotated with, that of a tuple's or a union's parts included."""
    if isinstance(kind, FieldInfo):
        return [*kind.metadata, *_checks(kind.annotation)]
    parts = get_args(kind)
    return [check for part in parts for check in (part, *_checks(part))]


def settings_hash(config: RunConfig) -> str:
    """Eight hex digits for what is computed, not where: equal for left and right.

    Only what differs from the defaults enters, so a setting added later keeps old names valid.
    """
    given = config.model_dump(mode="json", exclude_defaults=True)
    given = {key: value for key, value in given.items() if key not in WHERE_NOT_WHAT}
    return hashlib.blake2b(json.dumps(given, sort_keys=True).encode(), digest_size=4).hexdigest()


def run_name(config: RunConfig) -> str:
    """The run's folder name: as given, else preset and hash.

    Raises: InputError for a name that is not one plain folder name.
    """
    if config.run and not re.fullmatch(r"\w[\w.-]{0,99}", config.run):
        raise InputError(
            "run: expected up to 100 letters, digits, '.', '-' and '_', not starting with '.' or "
            f"'-', got {config.run!r}"
        )
    preset = re.sub(r"[^\w.-]", "_", Path(config.preset).stem)[:60]
    return config.run or f"{preset}-{settings_hash(config)}"
