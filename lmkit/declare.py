"""Measurements as a dataset declares them, checked: `measurements:` in dataset.yaml.

m3_depth: {kind: between, point: top, from: [a, b], to: [c, d]}
depth_class: {kind: class, of: m3_depth, below: {A: 0, B: 1}, else: C}
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from reprlib import repr as shown
from typing import Any

from lmkit.fields import InputError, is_name, is_number, nearest
from lmkit.measures import UNITS, Measurement

KEYS = {  # of each kind: those that must be there, those that may
    "distance": (("points",), ()),
    "angle": ((), ("points", "lines")),
    "line_height": (("point", "line"), ("along",)),
    "between": (("point", "from", "to"), ()),
    "class": (("of", "below", "else"), ()),
}
ALONG = ("vertical", "perpendicular")


def declared(where: object, about: object, names: tuple[str, ...]) -> tuple[Measurement, ...]:
    """The measurements of a dataset.

    Args:
        where: to name in errors, such as the path of dataset.yaml.
        about: measurement -> its keys, as YAML gives them; None = none declared.
        names: the dataset's landmarks.
    Raises: InputError, one line, naming file, measurement and key.
    """
    place = f"{where}: measurements"
    if about is None:
        return ()
    if not isinstance(about, Mapping):
        raise InputError(f"{place}: expected lines of `name: {{kind: ...}}`, got {shown(about)}")
    texts = {_text(name, place): keys for name, keys in about.items()}
    kinds = {name: _kind(f"{place}: {name}", keys) for name, keys in texts.items()}
    found: dict[str, Measurement] = {}
    for name, kind in kinds.items():
        if kind != "class":
            found[name] = _number(f"{place}: {name}", name, texts[name], names)
    numbers = dict(found)  # the measurement of a class may be written under it
    for name, kind in kinds.items():
        if kind == "class":
            found[name] = _class(f"{place}: {name}", name, texts[name], numbers, kinds)
    return tuple(found[name] for name in texts)


def _kind(where: str, keys: object) -> str:
    """The kind of a measurement whose keys fit it. Raises: InputError."""
    kind = keys.get("kind") if isinstance(keys, Mapping) else keys
    if not isinstance(keys, Mapping) or not isinstance(kind, str) or kind not in KEYS:
        hint = nearest(kind, KEYS) if isinstance(kind, str) else ""
        raise InputError(f"{where}: kind: expected {' | '.join(KEYS)}, got {shown(kind)}{hint}")
    _check_keys(where, kind, keys)
    return kind


def _number(where: str, name: str, keys: Mapping[Any, Any], names: tuple[str, ...]) -> Measurement:
    def points(key: str, count: int) -> tuple[str, ...]:
        return _landmarks(f"{where}: {key}", keys[key], names, count)

    kind = keys["kind"]
    if kind == "distance":
        return Measurement(name, kind, points("points", 2))
    if kind == "angle":
        return Measurement(name, kind, _angle(where, keys, names))
    point = _landmarks(f"{where}: point", [keys["point"]], names, 1)
    if kind == "between":
        return Measurement(name, kind, point + points("from", 2) + points("to", 2))
    along = keys.get("along", "vertical")
    if along not in ALONG:
        raise InputError(f"{where}: along: expected {' | '.join(ALONG)}, got {along!r}")
    return Measurement(name, kind, point + points("line", 2), along == "perpendicular")


def _check_keys(where: str, kind: str, keys: Mapping[Any, Any]) -> None:
    required, optional = KEYS[kind]
    known = ("kind", *required, *optional, "unit")
    for key in keys:
        if key not in known:
            raise InputError(
                f"{where}: expected {', '.join(known)} for a {kind}, got {key!r}"
                f"{nearest(str(key), known)}"
            )
    for key in required:
        if key not in keys:
            raise InputError(f"{where}: {key}: expected for a {kind}, got nothing")
    unit = {"°": "degrees"}.get(UNITS[kind], UNITS[kind])
    if "unit" in keys and keys["unit"] != unit:
        expected = unit or "none: it is a number without unit"
        raise InputError(f"{where}: unit: expected {expected}, got {shown(keys['unit'])}")


def _angle(where: str, keys: Mapping[Any, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """The three points of an angle, or the four of two lines."""
    if ("points" in keys) == ("lines" in keys):
        raise InputError(
            f"{where}: expected points: [a, b, c] (the angle at b) or lines: [[a, b], [c, d]], "
            f"got {'both' if 'points' in keys else 'neither'}"
        )
    if "points" in keys:
        return _landmarks(f"{where}: points", keys["points"], names, 3)
    pair = keys["lines"]
    if not isinstance(pair, list) or len(pair) != 2:
        raise InputError(f"{where}: lines: expected [[a, b], [c, d]], got {shown(pair)}")
    first, second = (_landmarks(f"{where}: lines", line, names, 2) for line in pair)
    return first + second


def _landmarks(where: str, given: object, names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """So many different landmark names. Raises: InputError."""
    if not isinstance(given, list | tuple) or len(given) != count:
        words = {1: "one landmark", 2: "two landmarks [a, b]", 3: "three landmarks [a, b, c]"}
        raise InputError(f"{where}: expected {words[count]}, got {shown(given)}")
    texts = tuple(str(name) for name in given)
    for name in texts:
        if name not in names:
            raise InputError(
                f"{where}: expected landmarks ({' | '.join(names)}), got {name!r}"
                f"{nearest(name, names)}"
            )
    if len(set(texts)) < count:
        raise InputError(f"{where}: expected different landmarks, got {texts[0]!r} twice")
    return texts


def _class(
    where: str,
    name: str,
    keys: Mapping[Any, Any],
    numbers: dict[str, Measurement],
    kinds: dict[str, str],
) -> Measurement:
    of, below = str(keys["of"]), keys["below"]
    if kinds.get(of) == "class":
        raise InputError(
            f"{where}: of: expected a measurement with a number, got {of!r}, "
            f"{'itself' if of == name else 'a class'}"
        )
    if of not in numbers:
        raise InputError(
            f"{where}: of: expected a measurement ({' | '.join(numbers) or 'none is declared'}), "
            f"got {of!r}{nearest(of, numbers)}"
        )
    if not isinstance(below, Mapping) or not below:
        raise InputError(f"{where}: below: expected class: number, ..., got {shown(below)}")
    classes = tuple(_text(c, f"{where}: below") for c in below)
    classes += (_text(keys["else"], f"{where}: else"),)
    if len(set(classes)) < len(classes):
        raise InputError(f"{where}: else: expected another class, got {classes[-1]!r} again")
    borders = tuple(_border(where, c, value) for c, value in below.items())
    if any(b <= a for a, b in itertools.pairwise(borders)):
        raise InputError(f"{where}: below: expected rising numbers, got {shown(dict(below))}")
    return Measurement(name, "class", of=numbers[of], borders=borders, classes=classes)


def _border(where: str, name: object, value: object) -> float:
    if not is_number(value):
        raise InputError(f"{where}: below: {name}: expected a number, got {shown(value)}")
    return float(value)


def _text(value: object, where: str) -> str:
    """A name from YAML, where an unquoted yes or no is a switch. Raises: InputError."""
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value):
        raise InputError(
            f"{where}: expected a name, in quotes where YAML would read a switch or a decimal "
            f"number, got {shown(value)}"
        )
    if not is_name(str(value)):
        raise InputError(f"{where}: expected a name on one line, got {shown(value)}")
    return str(value)
