"""What a run writes into its folder, one process at a time, each file whole or not at all.

metrics.json comes last, so a folder that has it is finished; see `lmkit.runs` for reading.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure
from safetensors.torch import save
from torch import nn

from lmkit import __version__
from lmkit.config import RunConfig
from lmkit.data import Dataset
from lmkit.evaluate import score
from lmkit.fields import InputError
from lmkit.files import (
    atomic_path,
    json_text,
    project_root,
    remove_stale_parts,
    write_text,
    writing,
)
from lmkit.inference import pick_device, pick_precision
from lmkit.locks import take
from lmkit.model import plain_weights
from lmkit.runs import Run, find_run, run_folder
from lmkit.samples import Samples
from lmkit.trust import judged


@contextmanager
def start_run(config: RunConfig, dataset: Dataset, samples: Samples) -> Iterator[Run]:
    """The run of these settings, its folder locked; made where it is not there yet.

    The lock comes first: of two processes that start one run both would find none, and the folder
    would keep the settings of the one that is refused.

    Args:
        samples: that it trains on; their landmarks and mirror partners are written down.
    Raises: InputError when another process writes it, or the folder holds a run of other settings
        or of other data.
    """
    folder = run_folder(config, dataset)
    with locked(folder):
        yield find_run(config, dataset) or _new_run(folder, config, dataset, samples)


def _new_run(folder: Path, config: RunConfig, dataset: Dataset, samples: Samples) -> Run:
    """Writes config.yaml."""
    device = pick_device(config)
    about = {
        "started": datetime.now(UTC).date().isoformat(),
        "lmkit": __version__,
        "git_commit": git_commit(),
        "torch": str(torch.__version__),
        "device": str(device),
        "precision": pick_precision(config, device),
        "threads": torch.get_num_threads(),
        "dataset_name": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "n_maps": len(samples.landmarks),
        "partner": None if samples.partner is None else samples.partner.tolist(),
    }
    stored = {"settings": config.model_dump(mode="json"), "about": about}
    write_text(folder / "config.yaml", yaml.safe_dump(stored, sort_keys=False))
    return Run(folder, config, about)


def save_figure(run: Run, figure: Figure, name: str) -> None:
    """figures/<name>.png in the run folder."""
    save_figure_in(run.folder, figure, name)


def save_figure_in(folder: Path, figure: Figure, name: str) -> None:
    """figures/<name>.png in a folder of outputs."""
    with atomic_path(folder / "figures" / f"{name}.png") as part:
        figure.savefig(part, format="png", dpi=110)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time writes a run folder, made where it is not there yet; the lock goes with
    the process, killed or not.

    Raises: InputError when another process holds it, or the file system has no locks.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writing(folder / ".lock"):
        file = (folder / ".lock").open("w")
    with file:
        if not take(file, folder):
            raise InputError(
                f"{folder}: expected to be alone, but another process is writing this run; "
                "wait for it or name another run"
            )
        remove_stale_parts(folder)
        yield


def write_scores(run: Run, predictions: pd.DataFrame) -> None:
    """predictions.csv with whom to trust, trust.json, then metrics.json; none of them when the
    predictions cannot be scored.

    Raises: InputError naming the largest error where it, or a figure made of it, is not finite.
    """
    metrics = score(predictions)
    predictions, rule = judged(predictions)
    try:  # both before the first is written
        said, scored = json_text(rule.to_dict()), json_text(metrics)
    except ValueError:
        worst = predictions.loc[predictions["error_mm"].idxmax()]
        raise InputError(
            f"{run.folder}: expected figures that are finite, got an error of "
            f"{worst['error_mm']:g} mm ({worst['image']}, {worst['side']} {worst['landmark']}); "
            "look at that label and its image's spacing"
        ) from None
    write_text(run.folder / "trust.json", said)
    with atomic_path(run.folder / "predictions.csv") as part:
        predictions.to_csv(part, index=False)
    write_text(run.folder / "metrics.json", scored)


def write_members(
    run: Run, members: Sequence[nn.Module], histories: Sequence[pd.DataFrame]
) -> None:
    """model.safetensors of an ensemble, names led by the member's number, and history.csv: the
    members' mean of every epoch, but their `seconds` summed, for that is what it took."""
    with atomic_path(run.folder / "model.safetensors") as part:
        part.write_bytes(save(plain_weights(nn.ModuleList(members))))
    epochs = pd.concat(histories).groupby("epoch")
    history = epochs.mean().assign(seconds=epochs["seconds"].sum()).reset_index()
    with atomic_path(run.folder / "history.csv") as part:
        history.to_csv(part, index=False)


def git_commit() -> str:
    """The commit of the project folder, with '+' for changes on top; '' outside a checkout."""

    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(project_root()), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        return result.stdout.strip() if result.returncode == 0 else ""

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except OSError:
        return ""
