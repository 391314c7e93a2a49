"""The named parts of a training step: told to torch's profiler, and timed where somebody watches.

A profiler's own work is part of what it reports, most of all for small operations; shares of a step
are therefore measured by the clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch.autograd.profiler import record_function


class Watch:
    """Seconds by part, summed over all that is watched.

    Args:
        device: a GPU is waited for at both ends of a part, for it computes behind the host; steps
            take longer for it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    def now(self) -> float:
        """The clock, seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def shares(self) -> dict[str, float]:
        """Share of each part in the time of all parts, in [0, 1]."""
        total = sum(self.seconds.values())
        return {name: took / total for name, took in self.seconds.items()}


_WATCHING: ContextVar[Watch | None] = ContextVar("watching", default=None)


@contextmanager
def watching(device: torch.device) -> Iterator[Watch]:
    """Times the parts of what runs within."""
    watch = Watch(device)
    token = _WATCHING.set(watch)
    try:
        yield watch
    finally:
        _WATCHING.reset(token)


@contextmanager
def span(name: str) -> Iterator[None]:
    """A part of a step; its name is what profiler and `Watch` call it."""
    watch = _WATCHING.get()
    with record_function(name):
        if watch is None:
            yield
            return
        began = watch.now()
        yield
        watch.seconds[name] = watch.seconds.get(name, 0.0) + watch.now() - began
