"""Where a reader's errors go: the first one stops it, or all are kept for the dataset check."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lmkit.fields import InputError


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        image: its name, '' where the fault is not one image's.
        message: one line: where, what, expected, got, what to do.
    """

    image: str
    message: str


class Faults:
    """Catches the errors of one row at a time, so that a reader can go on with the next.

    Args:
        collect: keep them in `found` instead of raising; the row that failed is then left out.
            What is only to be looked at is kept in `remarks` instead of warned of.
    """

    def __init__(self, collect: bool = False) -> None:
        self.collect = collect
        self.found: list[Fault] = []
        self.remarks: list[Fault] = []

    def remark(self, message: str, image: str = "") -> None:
        """Something to look at that stops nothing: warned of, or kept in `remarks`."""
        if self.collect:
            self.remarks.append(Fault(image, message))
        else:
            warnings.warn(message, stacklevel=3)

    @contextmanager
    def of(self, image: str = "") -> Iterator[None]:
        """What is read inside belongs to `image`. Raises: InputError from inside, if not kept."""
        try:
            yield
        except InputError as error:
            if not self.collect:
                raise
            self.found.append(Fault(image, str(error)))


STRICT = Faults()


def one_line(error: object) -> str:
    """What an error says, or a path, without line breaks; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
