"""What a sweep will cost, told before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lmkit.benchmark import in_process
from lmkit.data import open_for
from lmkit.planning import Planned
from lmkit.runs import load_run
from lmkit.samples import line_up

OVERHEAD_S = 10.0  # per run besides training: a kernel, its imports, figures
LOOK_S = 2.0  # of training steps, to learn the pace of a base that was never run


@dataclass(frozen=True)
class Cost:
    """Seconds that some runs will take.

    Attributes:
        runs: how many.
        wall_s: until the last one is finished.
        measured: whether the pace comes from finished runs of this sweep.
    """

    runs: int
    wall_s: float
    measured: bool


def estimate(
    pending: Sequence[Planned], finished: Sequence[Planned], workers: int, threads: int = 1
) -> Cost:
    """The time that runs will take on some workers.

    A run with a budget in minutes takes those. Otherwise the pace is that of the finished runs of
    its design, else one short measurement of the base on this machine, with the threads of one run.
    Networks and losses of other strategies may be slower or faster than their base.

    Args:
        pending: runs to come.
        finished: runs of the same sweep to learn from.
        workers: that run side by side.
        threads: of each.
    """
    alone_s = {design: _epoch_s(design, finished) for design in {run.design for run in pending}}
    measured = all(alone_s.values())
    total_s = 0.0  # as if one came after the other
    for design, seconds in alone_s.items():
        runs = [run for run in pending if run.design == design]
        total_s += sum(60 * (run.config.max_minutes or 0) * run.config.ensemble for run in runs)
        counted = [run for run in runs if not run.config.max_minutes]
        if counted:
            pace = seconds or _measured_epoch_s(counted[0], threads)
            total_s += pace * sum(run.config.epochs * _passes(run) for run in counted)
    return Cost(len(pending), (total_s + OVERHEAD_S * len(pending)) / workers, measured)


def _passes(run: Planned) -> int:
    """How many times the base's images an epoch of the run sees."""
    both = run.side == "both" or run.config.pool_sides
    return (2 if both else 1) * run.config.ensemble


def _epoch_s(design: str, finished: Sequence[Planned]) -> float:
    """Median seconds of an epoch among a design's finished runs; 0 without any."""
    paces = [
        load_run(run.folder).history["seconds"].mean() / (2 if run.side == "both" else 1)
        for run in finished
        if run.design == design and run.config.ensemble == 1 and not run.config.pool_sides
    ]
    return float(pd.Series(paces).median()) if paces else 0.0


def _measured_epoch_s(run: Planned, threads: int) -> float:
    """Seconds of an epoch of a run, validation included, on this machine with some threads."""
    found = in_process({"preset": run.preset} | run.asked, LOOK_S, threads=threads)
    validated = len(line_up(open_for(run.config), run.side).split("val"))
    return (
        found["label_sets"] / found["train_images_per_s"] + validated * found["predict_ms"] / 1000
    )
