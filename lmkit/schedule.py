"""How long a run trains, and how fast it learns: epochs, early stop, learning rate."""

from __future__ import annotations

import math

from lmkit.config import RunConfig


def planned_epochs(config: RunConfig, history: list[dict[str, float]]) -> int:
    """Epochs in all: as set, or as many as `max_minutes` has room for at the pace so far.

    The minutes count training and validation, of this and earlier calls. At least one epoch runs.
    """
    if config.max_minutes is None or not history:
        return config.epochs
    seconds = [row["seconds"] for row in history]
    left = 60 * config.max_minutes - sum(seconds)
    pace = sorted(seconds)[len(seconds) // 2]  # the median: a first epoch also warms up
    return min(config.epochs, len(history) + max(0, int(left / pace)))


def stalled(config: RunConfig, history: list[dict[str, float]]) -> bool:
    """Whether the best epoch by the monitor lies `early_stop` epochs back."""
    watched = [row[config.monitor] for row in history]
    return bool(config.early_stop and watched) and (
        len(watched) - 1 - watched.index(min(watched)) >= config.early_stop
    )


def lr_factor(config: RunConfig, epoch: float, epochs: int | None = None) -> float:
    """What `lr` is multiplied by, `epoch` epochs after the start; a plateau's cuts come on top.

    Args:
        epochs: in all; those of the settings when not given.
    """
    done = epoch / (epochs or config.epochs)
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
