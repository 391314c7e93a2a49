"""What 03 and 04 do with a run folder: train it, find it finished, open its test split."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from torch import nn

from lmkit.batches import canvas_for, check_mirror
from lmkit.config import InputError, RunConfig
from lmkit.data import Dataset, open_for
from lmkit.evaluate import predict_samples
from lmkit.images import Canvas
from lmkit.records import locked, start_run, write_members, write_scores
from lmkit.runs import Run, find_run, load_run, named_run, run_folder
from lmkit.samples import Samples, line_up
from lmkit.train import check_batches, fit

OnEpoch = Callable[[pd.DataFrame], None]


def train_run(
    config: RunConfig, on_epoch: OnEpoch | None = None, log: Callable[[str], None] = print
) -> Run:
    """Train the run of these settings; a finished one is opened, an interrupted one goes on.

    Args:
        config: the settings.
        on_epoch: called with the history after every epoch.
        log: takes one line at a time.
    Raises: InputError for settings, data or a folder that cannot be used; nothing is written then.
    """
    dataset = open_for(config)
    if not dataset.sides:
        log(f"{dataset.name} has no sides: side is ignored, runs go under all/")
    run = find_run(config, dataset)
    if run is not None and run.finished:
        log("finished before, not run again")
        return run
    samples = line_up(dataset, config.side, config.pool_sides)
    check_batches(config, len(samples.split("train")))
    check_mirror(samples, config)
    val = samples.split("val")  # stops here, before anything is written, when there is none
    canvas = canvas_for(dataset, config)
    run = start_run(config, dataset, samples)
    with locked(run.folder):
        model = train_members(run, samples, canvas, on_epoch, log)
        write_scores(run, predict_samples(model, config, val, canvas))
    return run


def train_members(
    run: Run,
    samples: Samples,
    canvas: Canvas,
    on_epoch: OnEpoch | None,
    log: Callable[[str], None],
) -> nn.Module:
    """Train what the run consists of: one network, or the members of an ensemble one by one.

    Member k has seed + k and its checkpoint, history and weights in members/<k>/; the run's own
    history.csv is their mean, its model.safetensors all of their weights.
    """
    config = run.config
    if config.ensemble == 1:
        return fit(config, samples, canvas, run.folder, on_epoch, log)[0]
    members, histories = [], []
    for k in range(config.ensemble):
        log(f"member {k + 1} of {config.ensemble}, seed {config.seed + k}")
        alone = config.model_copy(update={"seed": config.seed + k, "ensemble": 1})
        folder = run.folder / "members" / str(k)
        folder.mkdir(parents=True, exist_ok=True)
        model, history = fit(alone, samples, canvas, folder, on_epoch, log)
        members.append(model)
        histories.append(history)
    write_members(run, members, histories)
    return nn.ModuleList(members)


def finished_run(
    config: RunConfig, on_epoch: OnEpoch | None = None, log: Callable[[str], None] = print
) -> Run:
    """The finished run to evaluate, by name or by settings; a quick one is trained first.

    Raises: InputError where another than the quick preset would have to be trained.
    """
    dataset = open_for(config)
    run = named_run(config, dataset)
    if run is not None and run.finished:
        log(f"{run.folder.name}: evaluated with its own settings, stored in its config.yaml")
        return run
    run = find_run(config, dataset)
    if run is not None and run.finished:
        return run
    folder = run_folder(config, dataset)
    if config.preset != "quick":
        raise InputError(
            f"{folder}: expected a finished run, got none; run 03_train with the same parameters "
            f"first, here: -p preset {config.preset} -p dataset {config.dataset} "
            f"-p side {config.side}"
        )
    log(f"no finished run in {folder.name}: training it first")
    return train_run(config, on_epoch, log)


def open_test_split(run: Run, log: Callable[[str], None] = print) -> pd.DataFrame:
    """Predictions on the test split: made the first time, read from the folder ever after.

    Returns: the test rows of predictions.csv.
    Raises: InputError for an unfinished run, changed data, or a dataset without test images.
    """
    if not run.finished:
        raise InputError(f"{run.folder}: expected a finished run, got one without metrics.json")
    if "test" not in run.metrics:
        with locked(run.folder):
            _predict_test(run, open_for(run.config), log)
    predictions = run.predictions
    return predictions[predictions["split"] == "test"].reset_index(drop=True)


def _predict_test(run: Run, dataset: Dataset, log: Callable[[str], None]) -> None:
    """Add the test split to predictions.csv and metrics.json; one process at a time."""
    predictions = run.predictions
    if "test" not in set(predictions["split"]):
        samples = line_up(dataset, run.config.side).split("test")
        log(f"test split opened: {len(samples)} label sets, once")
        canvas = canvas_for(dataset, run.config)
        tested = predict_samples(run.model(), run.config, samples, canvas)
        predictions = pd.concat([predictions, tested], ignore_index=True)
    write_scores(run, predictions)


def report_run(config: RunConfig) -> Run | None:
    """The run that a notebook with these parameters worked on, if there is one."""
    dataset = open_for(config)
    folder = run_folder(config, dataset)
    return load_run(folder) if (folder / "config.yaml").exists() else None
