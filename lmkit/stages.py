"""What 03 and 04 do with a run folder: train it, find it finished, open its test split."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from torch import nn

from lmkit.batches import Feed, canvas_for, check_mirror
from lmkit.canvas import Canvas
from lmkit.config import RunConfig
from lmkit.data import Dataset, open_for
from lmkit.evaluate import predict_samples
from lmkit.fields import InputError
from lmkit.files import writing
from lmkit.inference import pick_device
from lmkit.records import locked, start_run, write_members, write_scores
from lmkit.redraws import redraw
from lmkit.runs import Run, find_run, load_run, named_run, run_folder
from lmkit.samples import Samples, line_up
from lmkit.train import check_batches, fit

OnEpoch = Callable[[pd.DataFrame], None]


def train_run(
    config: RunConfig,
    on_epoch: OnEpoch | None = None,
    log: Callable[[str], None] = print,
    dataset: Dataset | None = None,
) -> Run:
    """Train the run of these settings; a finished one is opened, an interrupted one goes on.

    Args:
        config: the settings.
        on_epoch: called with the history after every epoch.
        log: takes one line at a time.
        dataset: None = that of the settings; another one has a name of its own, see `lmkit.folds`.
    Raises: InputError for settings, data or a folder that cannot be used; nothing is written then.
    """
    dataset = open_for(config) if dataset is None else dataset
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
    with start_run(config, dataset, samples) as run:
        if run.finished:  # by another process, since this one has looked
            log("finished meanwhile, not run again")
            return run
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
    history.csv is their mean, but for its seconds, which are their sum; its model.safetensors
    holds all of their weights.
    """
    config = run.config
    if config.ensemble == 1:
        return fit(config, samples, canvas, run.folder, on_epoch, log)[0]
    members, histories = [], []
    for k in range(config.ensemble):
        log(f"member {k + 1} of {config.ensemble}, seed {config.seed + k}")
        alone = config.model_copy(update={"seed": config.seed + k, "ensemble": 1})
        folder = run.folder / "members" / str(k)
        with writing(folder):
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


def open_test_split(run: Run, log: Callable[[str], None] = print, draws: int = 0) -> pd.DataFrame:
    """Predictions on the test split: made the first time, read from the folder ever after.

    Args:
        draws: how often to predict every image again, moved a little (tta_mm) and, where trained
            with it, with dropout (dropout_mm); 0 = not.
    Returns: the test rows of predictions.csv.
    Raises: InputError for an unfinished run, changed data, or a dataset without test images.
    """
    if not run.finished:
        raise InputError(f"{run.folder}: expected a finished run, got one without metrics.json")
    if _incomplete(run, draws):
        with locked(run.folder):
            if _incomplete(run, draws):  # still: another process may have been here
                _complete(run, open_for(run.config), _lacking(run, draws), draws, log)
    predictions = run.predictions
    return predictions[predictions["split"] == "test"].reset_index(drop=True)


def _incomplete(run: Run, draws: int) -> bool:
    """Whether the test split, or a column of either split, is still to be predicted."""
    lacking = _lacks(run.predictions, "ere_mm") or bool(_lacking(run, draws))
    return "test" not in run.metrics or lacking


def _lacking(run: Run, draws: int) -> list[str]:
    """The kinds of redraws that are asked for and not there."""
    kinds = ["tta", "dropout"] if run.config.dropout else ["tta"]
    kept = run.predictions
    return [kind for kind in kinds if draws and _lacks(kept, f"{kind}_mm")]


def _lacks(predictions: pd.DataFrame, column: str) -> bool:
    """Whether a whole split has no value in a column: it was written without it."""
    known = predictions.reindex(columns=["split", column]).groupby("split")[column].count()
    return bool((known == 0).any())


def _complete(
    run: Run, dataset: Dataset, kinds: list[str], draws: int, log: Callable[[str], None]
) -> None:
    """Give both splits' predictions all their columns; one process at a time.

    Points that are there stay as they are: a run is judged by what it said the first time.
    """
    stored, parts = run.predictions, []
    lined_up, canvas = line_up(dataset, run.config.side), canvas_for(dataset, run.config)
    model, device = run.model(), pick_device(run.config)
    for name in ("val", "test"):
        samples, rows = lined_up.split(name), stored[stored["split"] == name]
        if len(rows) == 0 or _lacks(rows, "ere_mm"):
            if name == "test" and len(rows) == 0:
                log(f"test split opened: {len(samples)} label sets, once")
            made = predict_samples(model, run.config, samples, canvas)
            said = {key: rows[key].to_numpy() for key in ("x", "y", "error_mm") if len(rows)}
            rows = made.assign(**said)
        for kind in kinds:
            log(f"{name}: {len(samples)} label sets predicted {draws} times more for {kind}_mm")
            feed = Feed(samples, canvas, run.config, device)
            means, spread = redraw(model, feed, draws, kind)
            xy = {f"{kind}_x": means[..., 0].ravel(), f"{kind}_y": means[..., 1].ravel()}
            rows = rows.assign(**{f"{kind}_mm": spread.ravel()}, **xy)
        parts.append(rows)
    write_scores(run, pd.concat(parts, ignore_index=True))


def report_run(config: RunConfig) -> Run | None:
    """The run that a notebook with these parameters worked on, if there is one."""
    dataset = open_for(config)
    folder = run_folder(config, dataset)
    return load_run(folder) if (folder / "config.yaml").exists() else None
