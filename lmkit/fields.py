"""Types of settings: what text, numbers and switches as papermill and YAML pass them become."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any, TypeGuard, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from lmkit.pixels import MOST_OBLONG, is_oblong, point_for_comma

# in no name and no message: line breaks, other control characters, halves of surrogate pairs, signs
# of no width and those that turn the direction of writing, by which a name looks like another one.
# U+200C and U+200D, of no width as well, stay: words of Persian and of Indian languages have them.
CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
LONGEST = 2000  # of a message, signs
LEAST_MM, MOST_MM = 1e-4, 100.0  # per pixel, from a microscope's to none that shows a landmark
LONGEST_NAME = 500


class InputError(ValueError):
    """Something the user gave is wrong; the message alone says what, where and what to do.

    It is one line that a terminal can show, whatever the names in it: line breaks and other
    control characters are written out as \\n or \\x1b, and the middle of a flood is left out.
    """

    def __init__(self, message: str = "") -> None:
        text = escaped(str(message))
        if len(text) > LONGEST:
            text = f"{text[: LONGEST * 3 // 4]} ... {text[-LONGEST // 5 :]}"
        super().__init__(text)

    def _render_traceback_(self) -> list[str]:
        """IPython prints these lines instead of a traceback."""
        return [f"InputError: {self}"]


def escaped(text: str) -> str:
    """A text that a terminal can show on one line: what CONTROL names is written out."""
    return CONTROL.sub(lambda sign: sign[0].encode("unicode_escape").decode(), text)


def is_name(text: str) -> bool:
    """Whether a text can be a name: one line, no control characters, up to LONGEST_NAME signs."""
    return len(text) <= LONGEST_NAME and not CONTROL.search(text)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a finite number that a float can hold; switches are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """'; did you mean X?' for the closest known word, whatever the case, or nothing.

    Args:
        cutoff: how like it has to be, 0 to 1, as difflib measures it.
    """
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(str(word).casefold(), folded, n=1, cutoff=cutoff)
    return f"; did you mean {folded[close[0]]}?" if close else ""


def unit_of(field: FieldInfo) -> str:
    """The unit that a field states in its JSON schema, or nothing."""
    extra = field.json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) else ""


class OneOf:
    """Checks a text field: it takes the keys of `choices`; false, no, off mean none if allowed."""

    def __init__(self, choices: Mapping[str, str]) -> None:
        self.choices = choices

    def __call__(self, value: object) -> str:
        choices = self.choices
        if "none" in choices and (value is None or str(value).lower() in ("false", "no", "off")):
            return "none"
        if isinstance(value, str) and value in choices:
            return value
        raise ValueError(
            f"expected {' | '.join(choices)}, got {value!r}{nearest(str(value), choices)}"
        )


class AnyOf(OneOf):
    """Checks a text field: keys of `choices` joined by +; kept in the order of `choices`."""

    def __call__(self, value: object) -> str:
        choices = self.choices
        if value is None or str(value).lower() in ("false", "no", "off", "none"):
            return "none"
        parts = [part.strip() for part in value.split("+")] if isinstance(value, str) else [value]
        wrong = [part for part in parts if not isinstance(part, str)]
        wrong = wrong or [part for part in parts if part not in choices or part == "none"]
        if wrong:
            raise ValueError(
                f"expected {' | '.join(choices)}, or several joined by +, got {value!r}"
                f"{nearest(str(wrong[0]), choices)}"
            )
        return "+".join(name for name in choices if name in parts)


def one_of(choices: Mapping[str, str]) -> BeforeValidator:
    """What a text field that takes one of these names is annotated with."""
    return BeforeValidator(OneOf(choices), json_schema_input_type=str)


def any_of(choices: Mapping[str, str]) -> BeforeValidator:
    """What a text field that takes some of these names, joined by +, is annotated with."""
    return BeforeValidator(AnyOf(choices), json_schema_input_type=str)


def choices_of(field: FieldInfo) -> Mapping[str, str]:
    """The names that a setting takes and what they mean; empty where it takes other values."""
    checks = [getattr(check, "func", None) for check in field.metadata]
    return next((check.choices for check in checks if isinstance(check, OneOf)), {})


def _numbers(value: object) -> object:
    """Text as papermill passes it, '256, 256' or '256x256' or '[256 256]', as a list of numbers."""
    if isinstance(value, str):
        return [part for part in re.split(r"[\s,;x×\[\]()/]+", value.strip()) if part]
    if isinstance(value, list | tuple):
        return [_not_a_switch(part) for part in value]
    return value


def _not_a_switch(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {value!r}")
    return value


def _off_is_none(value: object) -> object:
    off = value is False or str(value).lower() in ("none", "off", "false", "no", "", "0", "0.0")
    return None if off else _not_a_switch(value)


def _whole(value: object) -> object:
    """Text such as '1e2', which YAML does not take for a number, as 100."""
    if isinstance(value, str):
        try:
            return int(float(value)) if float(value).is_integer() else value
        except (ValueError, OverflowError):
            return value
    return _not_a_switch(value)


def _text(value: object) -> object:
    """Names such as 7 or 2024-01-01, which papermill and YAML take for numbers and dates."""
    known = isinstance(value, int | float | date) and not isinstance(value, bool)
    return str(value) if known else value


def _schedule(value: object) -> object:
    """'3→5', '3->5', '3-5' or '3 5' as two numbers; 'constant' and none as None."""
    if isinstance(value, str) and value.strip().lower() != "constant":
        value = re.sub(r"→|->|(?<=\d)\s*-\s*(?=\d)", " ", value)
    elif isinstance(value, str):
        return None
    if value is None or value is False or value == "" or str(value).lower() in ("none", "off"):
        return None
    return _numbers(value)


def _floats(value: object) -> object:
    """A single number as a list of one."""
    return _numbers([value] if isinstance(value, int | float) else value)


def _per_pixel(value: float) -> float:
    if not LEAST_MM <= value <= MOST_MM:
        raise ValueError(f"expected {LEAST_MM:g} to {MOST_MM:g}, got {value:g}")
    return value


def _spacing(value: object) -> object:
    """One number stands for both axes; '0,17' for none, since it may be 0.17 or 0 and 17."""
    if isinstance(value, str) and (to_do := point_for_comma(value)):
        raise ValueError(
            f"expected one number, or x and y as in 0.1,0.12, got {value!r}{to_do}, or x and y "
            "with a space between them"
        )
    if isinstance(value, str | int | float):
        value = _off_is_none(value)
        parts = _numbers(str(value)) if value is not None else None
        return parts * 2 if isinstance(parts, list) and len(parts) == 1 else parts
    return value


def _pixel(pair: tuple[float, float] | None) -> tuple[float, float] | None:
    """x and y of a pixel that is not absurdly long."""
    if pair is not None and is_oblong(*pair):
        raise ValueError(
            f"expected x and y that differ up to {MOST_OBLONG:g} times, got {pair[0]:g} and "
            f"{pair[1]:g}; write decimals with a point, as in 0.17; pixels that are so long are "
            "stated in the dataset"
        )
    return pair


Int = Annotated[int, BeforeValidator(_whole)]
Text = Annotated[str, BeforeValidator(_text)]
Float = Annotated[float, BeforeValidator(_not_a_switch), Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Ints = Annotated[tuple[int, ...], BeforeValidator(_numbers)]
IntPair = Annotated[tuple[int, int], BeforeValidator(_numbers)]
FloatPair = Annotated[tuple[float, float], BeforeValidator(_numbers)]
FloatTriple = Annotated[tuple[float, float, float], BeforeValidator(_numbers)]
IntTriple = Annotated[tuple[int, int, int], BeforeValidator(_numbers)]
Scales = Annotated[tuple[Positive, ...], BeforeValidator(_floats)]
Optional = Annotated[Positive | None, BeforeValidator(_off_is_none)]
Schedule = Annotated[tuple[Positive, Positive] | None, BeforeValidator(_schedule)]
PerPixel = Annotated[Positive, AfterValidator(_per_pixel)]
Spacing = Annotated[
    tuple[PerPixel, PerPixel] | None, BeforeValidator(_spacing), AfterValidator(_pixel)
]


def one_line(error: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> str:
    """What pydantic says of one wrong value as `key: expected ..., got ... (unit)`.

    Args:
        error: one of `ValidationError.errors()`.
        fields: of the model that was filled.
    """
    message = re.sub(r"^Value error, ", "", error["msg"])
    if not error["loc"]:
        return message
    key, *where = [str(part) for part in error["loc"]]
    if error["type"] in ("missing", "too_long", "too_short", "tuple_type"):
        return f"{key}: expected {_how_many(fields[key])} numbers, got {error['input']!r}"
    if error["type"].startswith("bool"):
        message = f"expected true or false, got {error['input']!r}"
    elif "expected" not in message:
        message = re.sub(r"^Input should be ", "", message)
        message = re.sub(r", unable to parse.*$", "", message)
        message = f"expected {message}, got {error['input']!r}"
    index = next((f"[{part}]" for part in where if part.isdigit()), "")
    unit = unit_of(fields[key])
    return f"{key}{index}: {message}" + (f" ({unit})" if unit not in ("", key) else "")


def _how_many(field: FieldInfo) -> str:
    """How many numbers a tuple field takes."""
    kinds = (field.annotation, *get_args(field.annotation))
    parts = next((get_args(kind) for kind in kinds if get_origin(kind) is tuple), (...,))
    if parts[-1] is ...:
        return "one or more"
    words = {2: "two", 3: "three"}[len(parts)]
    one_will_do = any(getattr(check, "func", None) is _spacing for check in field.metadata)
    return f"one or {words}" if one_will_do else words
