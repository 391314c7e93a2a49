"""How far numbers of a label file may go: a slip of the unit or of a tool is told where it stands.

A finite number can be absurd, and one such point makes every mean of a run infinite.
"""

from __future__ import annotations

from lmkit.fields import LEAST_MM, MOST_MM, InputError, is_number
from lmkit.pixels import MOST_OBLONG, is_oblong, point_for_comma

FARTHEST_PX = 1e6  # no image is as wide
MOST_LANDMARKS = 10_000


def check_coordinate(value: float, what: str, where: str) -> float:
    """A point's x or y, pixels.

    Raises: InputError with `where` and `what` for one that is in no image.
    """
    if abs(value) > FARTHEST_PX:
        raise InputError(
            f"{where}: {what}: expected up to {FARTHEST_PX:.0f} px from the image's first pixel, "
            f"got {value:g}; look whether it is in pixels, and of this image"
        )
    return value


def check_spacing(value: object, what: str, where: str) -> float:
    """A pixel spacing, mm.

    Raises: InputError with `where` and `what` for one that is not > 0, or that no image has.
    """
    if not is_number(value) or value <= 0:
        raise InputError(f"{where}: {what}: expected > 0, got {value!r:.80}")
    if not LEAST_MM <= value <= MOST_MM:
        raise InputError(
            f"{where}: {what}: expected {LEAST_MM:g} to {MOST_MM:g} mm per pixel, got {value:g}; "
            "state it in mm"
        )
    return float(value)


def check_whole(pair: list[float], what: str, where: str) -> None:
    """Two spacings, mm, of a YAML file: [1,25] is a slip for 1.25, [0.01, 0.04] is none.

    Raises: InputError with `where` and `what` for whole numbers that make an absurd pixel.
    """
    if all(isinstance(value, int) for value in pair) and is_oblong(*pair):
        raise InputError(
            f"{where}: {what}: expected x and y that differ up to {MOST_OBLONG:g} times, got "
            f"{pair}{point_for_comma(str(pair))}"
        )


def check_count(count: int, where: str) -> int:
    """How many landmarks a dataset has. Raises: InputError with `where` for too many."""
    if count > MOST_LANDMARKS:
        raise InputError(
            f"{where}: landmarks: expected up to {MOST_LANDMARKS} of them, got {count}; look "
            "whether outlines were exported as points"
        )
    return count
