"""Run folders, outputs/<dataset>/<side>/<run>/: which one is whose, and reading what it holds.

A folder with metrics.json is finished; `lmkit.records` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from lmkit.choices import DEVICES
from lmkit.config import RunConfig, make_config
from lmkit.data import Dataset
from lmkit.fields import InputError
from lmkit.files import path_of, project_root, read_yaml
from lmkit.inference import pick_device
from lmkit.model import build
from lmkit.parameters import run_name
from lmkit.samples import OPPOSITE, run_side
from lmkit.trust import TrustRule, read_rule

TEXT = ("split", "image", "patient", "side", "landmark")  # columns that stay text
MOST_MAPS = 10_000  # of a network; a file that says more is not one of training's
SAME_RUN = {"run", "preset", "outputs", "device", "dataset"}  # may differ between two calls for it


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
        folder: outputs/<dataset>/<side>/<run>.
        config: the settings.
        about: versions and dataset fingerprint, from config.yaml.
    """

    folder: Path
    config: RunConfig
    about: dict[str, Any]

    @property
    def history(self) -> pd.DataFrame:
        """A row per epoch; see history.csv."""
        return _read_csv(self.folder / "history.csv", ("epoch", "val_mre_mm"))

    @property
    def predictions(self) -> pd.DataFrame:
        """A row per landmark; see predictions.csv."""
        return _read_csv(self.folder / "predictions.csv", (*TEXT, "error_mm"))

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json, or {} for a run that is not finished."""
        path = self.folder / "metrics.json"
        if not path.exists():
            return {}
        stored = _read_json(path)
        if not isinstance(stored, dict):
            raise InputError(
                f"{path}: expected the JSON that training writes, got something else; delete it "
                "and run 03 again, which trains nothing twice"
            )
        return stored

    @property
    def trust_rule(self) -> TrustRule | None:
        """What validation patients say about trusting this run; None in runs that have none."""
        path = self.folder / "trust.json"
        if not path.exists():
            return None
        stored = _read_json(path)
        return read_rule({} if stored is None else stored, str(path))

    @property
    def finished(self) -> bool:
        """Trained to the last epoch and scored on the validation split."""
        return "val" in self.metrics

    def model(self) -> nn.Module:
        """The best network of the run, on the run's device, in evaluation mode.

        Returns: the network; for an ensemble a ModuleList of its members.
        """
        path = self.folder / "model.safetensors"
        networks = [build(self.config, self.about["n_maps"]) for _ in range(self.config.ensemble)]
        network = networks[0] if len(networks) == 1 else nn.ModuleList(networks)
        try:
            network.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: expected this run's weights, got: {reason}") from None
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.to(pick_device(self.config)).eval()


def run_folder(config: RunConfig, dataset: Dataset) -> Path:
    """outputs/<dataset>/<side>/<run>, absolute; a relative `outputs` starts at the project."""
    outputs = path_of(config.outputs, "outputs")
    if not outputs.is_absolute():
        outputs = project_root() / outputs
    return outputs / dataset.name / run_side(dataset, config.side) / run_name(config)


def load_run(path: str | Path) -> Run:
    """Open a run folder for reading.

    Raises: InputError when it has no config.yaml, or one that is not a run's.
    """
    folder = path_of(path, "run folder")
    if not (folder / "config.yaml").exists():
        raise InputError(f"{folder}: expected a run folder with config.yaml, found none")
    path = folder / "config.yaml"
    stored = read_yaml(path)
    settings, about = stored.get("settings"), stored.get("about")
    if not isinstance(settings, dict) or not isinstance(about, dict):
        raise InputError(f"{path}: expected settings: and about:, each with keys, got others")
    missing = [key for key in ("dataset_fingerprint", "n_maps") if key not in about]
    if missing:
        raise InputError(f"{path}: about: expected {missing[0]}, found none")
    if type(about["n_maps"]) is not int or not 0 < about["n_maps"] <= MOST_MAPS:
        raise InputError(f"{path}: n_maps: expected 1 to {MOST_MAPS}, got {about['n_maps']!r}")
    try:
        return Run(folder, make_config(settings), about)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def find_run(config: RunConfig, dataset: Dataset) -> Run | None:
    """The run of these settings, or None where it was never started.

    Raises: InputError when the folder holds a run of other settings or of other data.
    """
    folder = run_folder(config, dataset)
    if not (folder / "config.yaml").exists():
        if (folder / "checkpoint.pt").exists():
            raise InputError(
                f"{folder} holds a checkpoint without config.yaml, so nobody knows of which "
                "settings; name another run, or remove that folder"
            )
        return None
    run = load_run(folder)
    if different := other_settings(run, config, bool(dataset.sides)):
        raise InputError(
            f"{folder} holds a run with {different}; name another run, or remove that folder"
        )
    return here(run, config, dataset)


def other_settings(run: Run, config: RunConfig, sided: bool = True) -> str:
    """The first setting in which a run is another, `key value, got key value`; empty: in none.

    Args:
        sided: whether the dataset has sides; without, `side` says nothing.
    """
    old, new = run.config.model_dump(mode="json"), config.model_dump(mode="json")
    free = SAME_RUN if sided else SAME_RUN | {"side"}
    key = next((k for k in new if old[k] != new[k] and k not in free), None)
    return f"{key} {old[key]}, got {key} {new[key]}" if key else ""


def named_run(config: RunConfig, dataset: Dataset) -> Run | None:
    """The run called `config.run`, with its own settings; None without a name or such a run.

    Raises: InputError when it was trained on other data.
    """
    folder = run_folder(config, dataset)
    named = bool(config.run) and (folder / "config.yaml").exists()
    return here(load_run(folder), config, dataset) if named else None


def here(run: Run, config: RunConfig, dataset: Dataset) -> Run:
    """The run with dataset, outputs and device as they are in this call.

    Raises: InputError when `dataset` is not what the run was trained on.
    """
    if run.about["dataset_fingerprint"] != dataset.fingerprint:
        raise InputError(
            f"{run.folder} holds a run on other images or landmarks of {dataset.name}; "
            "name another run, or remove that folder"
        )
    now = {key: getattr(config, key) for key in ("dataset", "outputs", "device")}
    return replace(run, config=run.config.model_copy(update=now))


def on_device(run: Run, device: str | None = None) -> Run:
    """The run with its network on a device.

    Args:
        device: auto, cpu or cuda; None = the run's own, or auto where that is a GPU and there is
            none, so that a run made on one opens on a laptop.
    Raises: InputError for another name, or cuda without a GPU.
    """
    if device is None:
        missing = run.config.device == "cuda" and not torch.cuda.is_available()
        device = "auto" if missing else run.config.device
    if device not in DEVICES:
        raise InputError(f"device: expected {' | '.join(DEVICES)}, got {device!r}")
    there = replace(run, config=run.config.model_copy(update={"device": device}))
    pick_device(there.config)  # says at once that there is none
    return there


def rival_of(run: Run, name: str) -> Run:
    """Another finished run of the same side and labels, to compare with.

    Raises: InputError where there is none of that name, it is unfinished, or on other labels.
    """
    rival = load_run(run.folder.parent / name)
    if not rival.finished:
        raise InputError(f"{rival.folder}: expected a finished run, got one without metrics.json")
    check_same_data(rival, run)
    return rival


def check_same_data(other: Run, run: Run) -> None:
    """Raises: InputError where `other` was made of other images or labels than `run`: the errors
    that it keeps are from labels that may have been corrected since, and cannot be set beside."""
    if other.about["dataset_fingerprint"] != run.about["dataset_fingerprint"]:
        raise InputError(
            f"{other.folder}: expected a run on the images and labels of {run.folder.name}, got "
            "one on others, such as labels before a correction; name another run, or remove that "
            "folder and run 03 and 04 of it again"
        )


def other_side(run: Run) -> Run | None:
    """The run of the same name on the other side, where it is finished.

    Raises: InputError where it is on other images or labels.
    """
    opposite = OPPOSITE.get(run.folder.parent.name)
    folder = run.folder.parent.parent / str(opposite) / run.folder.name
    if opposite is None or not (folder / "config.yaml").exists():
        return None
    other = load_run(folder)
    if not other.finished:
        return None
    check_same_data(other, run)
    return other


def _read_json(path: Path) -> Any:
    """What a JSON file says; None where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


def _read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table that training wrote. Raises: InputError naming the file when it is not that."""
    text = dict.fromkeys(TEXT, str)
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise InputError(f"{path}: expected a file that training writes, found none") from None
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: expected the table that training writes, got: {reason}"
        ) from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(f"{path}: expected columns {', '.join(columns)}, got no {missing[0]}")
    return table
