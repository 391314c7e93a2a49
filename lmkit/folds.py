"""Predictions of all images by models that never saw them: one run per fold of the patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lmkit.config import RunConfig
from lmkit.data import Dataset, open_for
from lmkit.fields import InputError
from lmkit.parameters import run_name
from lmkit.runs import load_run, run_folder
from lmkit.stages import train_run

LEAST = 2
FOLDS = "_folds"  # after the dataset's name: apart from runs that count
KEY = ["image", "side", "landmark"]


def out_of_fold(
    config: RunConfig,
    k: int = 4,
    *,
    splits: Sequence[str] = ("train", "val"),
    log: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Train k runs, each without one of k parts of the patients, and join what they say of it.

    The runs go under outputs/<dataset>_folds/ and are not trained again. Each chooses its best
    epoch on the part left out, which flatters its errors a little and teaches it no label.

    Args:
        config: of every run; the quick preset is enough to find wrong labels.
        k: how many parts, at least 2; both sides of a patient are in the same one.
        splits: of the images to use. Test images are left out: labels that were mended towards a
            model make a poor test of models. Look at them with a run's own test rows, after 04.
        log: takes one line at a time.
    Returns: rows as of predictions.csv, for every label set of the side once; split is the fold's
        number.
    Raises: InputError for settings or data that cannot be trained on, or fewer than k patients.
    """
    parts = []
    for fold, dataset in enumerate(folds(open_for(config), k, splits, config.split_seed)):
        name = f"{run_name(config)}-fold{fold}of{k}"
        log(f"fold {fold + 1} of {k}: {(dataset.images['split'] == 'val').sum()} images left out")
        run = train_run(config.model_copy(update={"run": name}), log=log, dataset=dataset)
        rows = run.predictions
        parts.append(rows[rows["split"] == "val"].assign(split=str(fold)))
    return pd.concat(parts, ignore_index=True)


def unseen(config: RunConfig, dataset: Dataset) -> pd.DataFrame | None:
    """What finished runs of these settings say of images that they were not trained on.

    Labels may have been corrected since; the images are the same.

    Returns: val and test rows of the run's predictions.csv, and those of its folds, each landmark
        once; None where nothing is finished.
    """
    own = run_folder(config, dataset)
    apart = run_folder(config, replace(dataset, name=f"{dataset.name}{FOLDS}"))
    parts = []
    for folder in (own, *sorted(apart.parent.glob(f"{own.name}-fold*of*"))):
        run = load_run(folder) if (folder / "config.yaml").exists() else None
        if run is not None and run.finished:
            parts.append(run.predictions[run.predictions["split"] != "train"])
    if not parts:
        return None
    return pd.concat(parts, ignore_index=True).drop_duplicates(KEY, ignore_index=True)


def folds(dataset: Dataset, k: int, splits: Sequence[str], seed: int) -> Iterator[Dataset]:
    """The dataset k times, each time with another part of its patients as val, the rest as train.

    Raises: InputError for k below 2 or more than the patients.
    """
    images = dataset.images[dataset.images["split"].isin(splits)]
    patients = np.array(sorted(images["patient"].unique()), dtype=object)
    if not LEAST <= k <= len(patients):
        raise InputError(f"k: expected {LEAST} to {len(patients)} folds, one patient each, got {k}")
    np.random.default_rng(seed).shuffle(patients)
    landmarks = dataset.landmarks[dataset.landmarks["image"].isin(images["image"])]
    for left_out in np.array_split(patients, k):
        split = np.where(images["patient"].isin(left_out), "val", "train")
        yield replace(
            dataset,
            name=f"{dataset.name}{FOLDS}",
            images=images.assign(split=split).reset_index(drop=True),
            landmarks=landmarks.reset_index(drop=True),
        )
