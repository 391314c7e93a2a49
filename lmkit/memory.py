"""Memory: kept from step to step, and batches that there is no room for computed in halves."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import TypeVar

import torch

from lmkit.faults import one_line
from lmkit.fields import InputError

Result = TypeVar("Result")

SIGNS = (  # what torch, oneDNN and CUDA say; only some of them raise a class of their own
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "could not create a",  # memory object, primitive: oneDNN
    "bad_alloc",
    "status_alloc_failed",  # cuDNN, cuBLAS
)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


@cache
def keep_freed() -> bool:
    """Have the C library keep what a step has freed for the next one, from now on.

    glibc gives large pieces back to the system at once; the next step takes the same hundreds of
    MB again and meets every page of them as a fault, which costs a tenth of a training step, and
    nearly half where two trainings share a virtual machine. The peak stays what it is. Does
    nothing where the C library is not glibc.

    Returns: whether it does.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(M_MMAP_MAX, 0))


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that there was no memory left, on the CPU or a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in SIGNS)


class Room:
    """How many images are computed at once; fewer after every shortage, never more again.

    Args:
        at_once: images, or None for as many as come.
        least: fewer are not tried.
        log: told in one line when there are fewer from now on.
    """

    def __init__(
        self, at_once: int | None = None, least: int = 1, log: Callable[[str], None] = print
    ) -> None:
        self.at_once, self.least, self.log = at_once, least, log

    def parts(self, n: int) -> list[slice]:
        """Slices of n images, as equal as can be, each of at most `at_once`."""
        count = -(-n // min(self.at_once or n, n))
        edges = [round(k * n / count) for k in range(count + 1)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def fit(self, n: int, work: Callable[[list[slice]], Result]) -> Result:
        """What `work` makes of n images, told which to take at once; done anew, in smaller parts,
        where memory ran short.

        Raises: InputError when the smallest part has no room either.
        """
        while True:
            try:
                return work(self.parts(n))
            except (RuntimeError, MemoryError) as error:
                if not is_shortage(error):
                    raise
                self._halve(n, error)
            gc.collect()  # outside of the except: the error's frames hold what was allocated
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _halve(self, n: int, error: BaseException) -> None:
        tried = min(self.at_once or n, n)
        if tried <= self.least:
            raise InputError(
                f"memory: expected room for {tried} image{'s' * (tried > 1)} at once, got: "
                f"{one_line(error)}; lower input_hw or widths, or close other programs"
            ) from None
        self.at_once = max(self.least, tried // 2)
        self.log(f"memory: no room for {tried} images at once, {self.at_once} from now on")
