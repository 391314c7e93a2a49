"""How long a run trains, and how fast it learns: epochs, time, early stop, learning rate.

With a number of epochs all of it follows from the settings, so that a run made again is the same to
the last bit (CPU, as many threads). With `max_minutes` it follows the clock, and is not.
"""

from __future__ import annotations

import math
import time

from lmkit.config import RunConfig

FEW = 4  # epochs in a time budget: with fewer, one more or less is too much to plan in epochs
SLIVER = 0.05  # of an epoch: with less time than this left, no other one begins

History = list[dict[str, float]]


def planned_epochs(config: RunConfig, history: History) -> int:
    """Epochs in all: as set, or as many as `max_minutes` has room for at the pace so far.

    The minutes count training and validation, of this and earlier calls. At least one epoch runs.
    Where only FEW fit, the last one is planned that the time ends within.
    """
    if config.max_minutes is None or not history:
        return config.epochs
    seconds = [row["seconds"] for row in history]
    left = 60 * config.max_minutes - sum(seconds)
    pace = _pace(history)
    few = 60 * config.max_minutes < FEW * pace
    room = math.ceil(left / pace - SLIVER) if few else int(left / pace)
    return min(config.epochs, len(history) + max(0, room))


def _pace(history: History) -> float:
    """Seconds an epoch takes: the median, for a first epoch also warms up."""
    return sorted(row["seconds"] for row in history)[len(history) // 2]


class Course:
    """How far training is, step by step of one epoch that begins now.

    Without `max_minutes`, and where many epochs fit into them, that is counted in steps and epochs.
    Where an epoch takes a large part of the time, it is read from the clock, so that the schedule
    ends when the time does; and with the time the epoch ends, its pass over the images done or not.
    The validation after it comes on top. On a GPU the clock is the host's, a few steps ahead.

    Args:
        config: the settings.
        history: of the epochs before.
        steps: of the epoch.
    """

    def __init__(self, config: RunConfig, history: History, steps: int) -> None:
        self.config, self.history, self.steps = config, history, steps
        self.epochs = planned_epochs(config, history)
        self.budget = 60 * (config.max_minutes or math.inf)  # seconds
        self.spent = sum(row["seconds"] for row in history)
        self.began = time.perf_counter()
        self.deadline = self.began + self.budget - self.spent

    def factor(self, step: int) -> float:
        """What `lr` is multiplied by in a step, counted from 0; see `lr_factor`."""
        epoch = len(self.history) + (step + 1) / self.steps
        done = epoch / self.epochs
        taken = time.perf_counter() - self.began
        per_step = taken / step if step else 0.0
        pace = _pace(self.history) if self.history else per_step * self.steps
        if self.budget < FEW * pace:
            done = max(done, min(1.0, (self.spent + taken + per_step) / self.budget))
        return lr_factor(self.config, epoch, done=done)

    def over(self) -> bool:
        """Whether the time is up."""
        return time.perf_counter() >= self.deadline


def stalled(config: RunConfig, history: History) -> bool:
    """Whether the best epoch by the monitor lies `early_stop` epochs back."""
    watched = [row[config.monitor] for row in history]
    return bool(config.early_stop and watched) and (
        len(watched) - 1 - watched.index(min(watched)) >= config.early_stop
    )


def lr_factor(
    config: RunConfig, epoch: float, epochs: int | None = None, done: float | None = None
) -> float:
    """What `lr` is multiplied by, `epoch` epochs after the start; a plateau's cuts come on top.

    Args:
        epochs: in all; those of the settings when not given.
        done: the share of the training that is over, where the clock and not epochs say so.
    """
    done = epoch / (epochs or config.epochs) if done is None else done
    factor = min(1.0, epoch / config.warmup_epochs) if config.warmup_epochs else 1.0
    if config.scheduler == "cosine":
        return factor * (0.505 + 0.495 * math.cos(math.pi * done))
    if config.scheduler == "onecycle":
        rising = done < 0.3
        share = done / 0.3 if rising else (done - 0.3) / 0.7
        low = 0.04 if rising else 1e-4
        half = 0.5 * math.cos(math.pi * share)
        return factor * (low + (1 - low) * (0.5 - half if rising else 0.5 + half))
    return factor
