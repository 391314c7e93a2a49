"""Everything that training changes, and how it is kept on disk so that a kill costs an epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from safetensors.torch import save
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from lmkit.fields import InputError
from lmkit.files import atomic_path
from lmkit.memory import Room
from lmkit.model import Network

NO_CHECKPOINT = "expected a whole checkpoint of this run; delete it to start again"


@dataclass
class State:
    """Everything that training changes, and so everything that resuming needs."""

    model: Network
    optimiser: torch.optim.Optimizer
    scheduler: ReduceLROnPlateau | None
    average: AveragedModel | None = None  # of the weights, over the steps
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)  # epoch, val_mre_mm, weights
    room: Room = field(default_factory=Room)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def judged(self) -> Network:
        """The network that is validated and kept: the averaged one where there is one."""
        if self.average is None:
            return self.model
        return cast("Network", self.average.module)  # torch knows a module only


def save_state(state: State, folder: Path, settings: str) -> None:
    """Weights, then checkpoint, then history: whatever a kill leaves, resuming repairs the rest."""
    if state.best["epoch"] == state.epoch:
        with atomic_path(folder / "model.safetensors") as part:
            part.write_bytes(save(state.best["weights"]))
    with atomic_path(folder / "checkpoint.pt") as part:
        _save(
            {
                "model": state.model.state_dict(),
                "optimiser": state.optimiser.state_dict(),
                "scheduler": {} if state.scheduler is None else state.scheduler.state_dict(),
                "average": {} if state.average is None else state.average.state_dict(),
                "rng": torch.get_rng_state(),
                "settings": settings,
                "epoch": state.epoch,
                "at_once": state.room.at_once,
                "best": state.best,
                "history": state.history,
            },
            part,
        )
    with atomic_path(folder / "history.csv") as part:
        pd.DataFrame(state.history).to_csv(part, index=False)


def _save(values: dict[str, Any], path: Path) -> None:
    """torch.save that raises OSError where the disk is full, which torch says in its own words."""
    try:
        with path.open("wb") as file:
            torch.save(values, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def restore_state(state: State, path: Path, device: torch.device, settings: str) -> None:
    """Set `state` to a checkpoint, and the run folder's other files to what it says."""
    saved = _load(path, device)
    if saved.get("settings") != settings:
        raise InputError(
            f"{path}: expected a checkpoint of these settings, got one of others; "
            "name another run, or remove that folder"
        )
    try:
        state.model.load_state_dict(saved["model"])
        state.optimiser.load_state_dict(saved["optimiser"])
        if state.scheduler is not None:
            state.scheduler.load_state_dict(saved["scheduler"])
        if state.average is not None:
            state.average.load_state_dict(saved["average"])
        torch.set_rng_state(saved["rng"].cpu())
        state.history, state.best = saved["history"], saved["best"]
        state.room.at_once = saved.get("at_once")
        weights = save({k: v.cpu() for k, v in state.best["weights"].items()})
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: {NO_CHECKPOINT}") from None
    with atomic_path(path.parent / "model.safetensors") as part:
        part.write_bytes(weights)
    with atomic_path(path.parent / "history.csv") as part:
        pd.DataFrame(state.history).to_csv(part, index=False)


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
    except Exception:  # of a broken file torch's restricted unpickler raises nearly anything
        saved = None
    if not isinstance(saved, dict):
        raise InputError(f"{path}: {NO_CHECKPOINT}")
    return saved
