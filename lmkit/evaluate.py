"""How good predictions are, and predictions of image files; points are in the source image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from lmkit import losses
from lmkit.batches import Batch, Feed, source_to_input
from lmkit.canvas import Canvas
from lmkit.config import RunConfig
from lmkit.fields import InputError
from lmkit.geometry import apply
from lmkit.inference import Inferred, infer, pick_device, points_of
from lmkit.measures import spacing_of
from lmkit.metrics import error_matrix, radial_error_mm, summarise, table
from lmkit.runs import Run, load_run, on_device
from lmkit.samples import Samples
from lmkit.stats import FEWEST, bootstrap_intervals
from lmkit.tables import LEFT_RIGHT
from lmkit.targets import target_of
from lmkit.trust import apply_trust
from lmkit.unlabelled import canvases, unlabelled

CHUNK = 32  # image files in memory at a time
OF_FILES = [
    *("image", "side", "landmark", "x", "y", "peak"),
    *("second_x", "second_y", "second_share", "risk", "p_fail", "trust", "radius_mm"),
]


def predict(
    run: Run | str | Path, files: Sequence[str | Path], device: str | None = None
) -> pd.DataFrame:
    """Where a run's model sees its landmarks in image files.

    Args:
        run: finished, or its folder.
        files: readable images, of any size; memory does not grow with their number.
        device: see `runs.on_device`.
    Returns: image (the path as given), side, landmark, x, y (pixels of the stored image), peak
        (confidence in [0, 1]), second_x, second_y, second_share (the map's next mode); and what the
        run's validation patients say of it: risk, p_fail (probability of an error over 4 mm), trust
        (bool), radius_mm (holds the truth in 90 %); a row per landmark, for `both` and `joint` of
        both sides.
    Raises: InputError for an unfinished run, no files, a file that is no image, or a device that
        is not there.
    """
    run = on_device(run if isinstance(run, Run) else load_run(run), device)
    if not run.finished:
        raise InputError(f"{run.folder}: expected a finished run, got one without metrics.json")
    if not files:
        raise InputError("images: expected at least one image file, got none")
    model, landmarks = run.model(), maps_drawn(run)
    tables = [
        _predict_chunk(model, run, landmarks, [str(f) for f in files[i : i + CHUNK]])
        for i in range(0, len(files), CHUNK)
    ]
    return pd.concat(tables, ignore_index=True)


def maps_drawn(run: Run) -> list[tuple[str, str]]:
    """(side, landmark) of each map of the run, from its predictions."""
    rows = run.predictions
    rows = rows[rows["image"] == rows["image"].iloc[0]]
    if run.config.side == "both" and set(rows["side"]) <= {*LEFT_RIGHT}:
        rows = rows[rows["side"] == rows["side"].iloc[0]].assign(side="right")
    return list(zip(rows["side"], rows["landmark"], strict=True))


def _predict_chunk(
    model: nn.Module, run: Run, landmarks: list[tuple[str, str]], files: list[str]
) -> pd.DataFrame:
    """Rows of some files, in their order."""
    config, parts = run.config, []
    for numbers, canvas in canvases(files, config):
        shown = [files[i] for i in numbers]
        samples = unlabelled(shown, landmarks, config.side == "both", run.about.get("partner"))
        table = predict_samples(model, config, samples, canvas)
        parts.append(table.set_index(np.repeat(numbers, len(table) // len(numbers))))
    table = pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
    table = table.drop(columns="ere_mm")  # in mm, and these images state no spacing
    if (rule := run.trust_rule) is not None:
        table = apply_trust(rule, table)
    return table[[column for column in OF_FILES if column in table]]


def predict_samples(
    model: nn.Module, config: RunConfig, samples: Samples, canvas: Canvas
) -> pd.DataFrame:
    """Predictions of a model on samples, as in predictions.csv.

    Returns: split, image, patient, side, landmark, x, y, x_true, y_true (source pixels), error_mm
        (NaN = not annotated), peak (confidence in [0, 1]), ere_mm (how far the map spreads),
        second_ and third_x, _y and _share (the map's next modes, source pixels, and their heights
        over the first one's), for an ensemble ensemble_mm (how far its members are apart); a row
        per landmark.
    """
    feed = Feed(samples, canvas, config, pick_device(config))
    return inferred_table(samples, infer(model, feed, detail=True))


def inferred_table(samples: Samples, found: Inferred) -> pd.DataFrame:
    """What a model says of samples, in detail, as the table of predictions.csv."""
    if found.ere_mm is None or found.modes is None or found.shares is None:
        raise ValueError("found: expected an inference in detail, got points and loss alone")
    columns = {"peak": found.peak, "ere_mm": found.ere_mm}
    for k, name in enumerate(("second", "third"), start=1):
        columns[f"{name}_x"], columns[f"{name}_y"] = np.moveaxis(found.modes[:, :, k], -1, 0)
        columns[f"{name}_share"] = found.shares[:, :, k]
    if found.members_mm is not None:
        columns["ensemble_mm"] = found.members_mm
    flat = {name: values.ravel().astype(float) for name, values in columns.items()}
    return as_table(samples, found.points).assign(**flat)


def as_table(samples: Samples, points: np.ndarray) -> pd.DataFrame:
    """(N, L, 2) predicted points, source pixels, as the first columns of predictions.csv."""
    n, n_maps = points.shape[:2]
    error = radial_error_mm(points, samples.points, samples.spacing_mm[:, None])
    columns: dict[str, Any] = {
        "split": np.repeat(samples.splits, n_maps),
        "image": np.repeat(samples.images, n_maps),
        "patient": np.repeat(samples.patients, n_maps),
        "side": samples.sides.ravel(),
        "landmark": np.tile(samples.landmarks, n),
        "x": points[..., 0].ravel(),
        "y": points[..., 1].ravel(),
        "x_true": samples.points[..., 0].ravel(),
        "y_true": samples.points[..., 1].ravel(),
        "error_mm": error.ravel(),
    }
    return pd.DataFrame(columns)


def with_points(predictions: pd.DataFrame, kind: str, images: pd.DataFrame) -> pd.DataFrame:
    """Predictions moved to other points that the table has for them, with the error there.

    Args:
        kind: such as tta, for columns tta_x and tta_y (source pixels).
        images: image, spacing_x_mm, spacing_y_mm.
    """
    found, true = predictions[[f"{kind}_x", f"{kind}_y"]], predictions[["x_true", "y_true"]]
    spacing = spacing_of(predictions["image"], images)
    error = radial_error_mm(found.to_numpy(float), true.to_numpy(float), spacing)
    return predictions.assign(x=found.iloc[:, 0], y=found.iloc[:, 1], error_mm=error)


def score(predictions: pd.DataFrame) -> dict[str, Any]:
    """metrics.json of predictions: split -> summary, intervals, per landmark and side."""
    return {str(split): _score(rows) for split, rows in predictions.groupby("split", sort=False)}


def _score(rows: pd.DataFrame) -> dict[str, Any]:
    errors = error_matrix(rows)
    patients = errors.index.get_level_values("patient").to_numpy(str)
    values, landmarks = errors.to_numpy(), list(errors.columns)
    summary = summarise(values, landmarks)
    summary["n_images"] = int(rows.loc[rows["error_mm"].notna(), "image"].nunique())
    summary["intervals"] = bootstrap_intervals(values, patients)
    for i, name in enumerate(landmarks):
        summary["per_landmark"][name]["intervals"] = bootstrap_intervals(values[:, [i]], patients)
    if rows["side"].nunique() > 1:
        summary["per_side"] = {s: _score(part) for s, part in rows.groupby("side", sort=True)}
    return summary


def summary_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """The summary of some predictions to read, a row per side and one for all."""
    parts = {str(side): part for side, part in predictions.groupby("side", sort=True)}
    if len(parts) > 1:
        parts["together"] = predictions
    return table({name: summarise(error_matrix(part).to_numpy()) for name, part in parts.items()})


def interval_table(summary: dict[str, Any]) -> pd.DataFrame:
    """Each figure of a summary beside its interval, to read."""
    intervals = summary["intervals"]
    figures = {
        "MRE, mm": (summary["mre_mm"], intervals["mre_mm"]),
        "median, mm": (summary["median_mm"], intervals["median_mm"]),
        "failures > 4 mm": (summary["failure_rate"], intervals["failure_rate"]),
        **{f"SDR {t} mm": (v, intervals["sdr"][t]) for t, v in summary["sdr"].items()},
    }
    nothing = (float("nan"), float("nan"))
    rows = {name: (value, *(span or nothing)) for name, (value, span) in figures.items()}
    level = f"{100 * intervals['level']:g} %"
    columns = ["value", f"{level} from", f"{level} to"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).round(3)


def why_no_interval(summary: dict[str, Any]) -> str:
    """Why a summary's mean and median have no interval, in a sentence; empty where they have."""
    if summary["intervals"]["mre_mm"] is not None or not summary["n_landmarks"]:
        return ""
    return (
        f"No interval of mean and median: it takes {FEWEST} test patients with labels; of fewer, "
        "resampling only gives their own values back."
    )


def headline(summary: dict[str, Any]) -> str:
    """MRE with its interval, where it has one, and median, in words."""
    if summary["mre_mm"] is None:
        return "no landmark annotated"
    span, level = summary["intervals"]["mre_mm"], 100 * summary["intervals"]["level"]
    said = f" ({level:g} % interval {span[0]:.2f}–{span[1]:.2f})" if span else ""
    return f"MRE {summary['mre_mm']:.2f} mm{said}, median {summary['median_mm']:.2f} mm"


def decoding_cost_mm(samples: Samples, source_hw: np.ndarray, config: RunConfig) -> np.ndarray:
    """The error that even a perfect model would make: labels to maps and back, through the grid.

    Args:
        source_hw: (number of images in the dataset, 2) H and W, pixels.
    Returns: (N, L) mm; NaN = not annotated.
    """
    to_input, decoded = source_to_input(samples, source_hw, config), []
    shape = torch.zeros(1, 1, 1, 1).expand(16, 1, *config.input_hw)
    plain = config.model_copy(update={"loss": "mse"})  # a perfect map is the target itself
    sigma_px = config.sigma_px if config.sigma_mm else config.sigma_at(0)
    for start in range(0, len(samples), 16):
        part = slice(start, start + 16)
        points = apply(to_input[part], torch.from_numpy(samples.points[part]))
        spacing_mm = torch.from_numpy(samples.spacing_mm[part])
        batch = Batch(shape[: len(points)], points, to_input[part], spacing_mm)
        target = target_of(batch, plain)
        maps = losses.activate(target.maps, "mse", target.height)
        decoded.append(points_of(maps, to_input[part], plain, sigma_px).numpy())
    return radial_error_mm(np.concatenate(decoded), samples.points, samples.spacing_mm[:, None])


def mean_shape(train: Samples, others: Samples, source_hw: np.ndarray) -> np.ndarray:
    """The baseline that looks at nothing: each landmark at its average place in training images.

    Args:
        train, others: samples to average and to predict.
        source_hw: (number of images in the dataset, 2) H and W, pixels.
    Returns: (N, L, 2) xy, source pixels of `others`.
    """

    def size_of(samples: Samples) -> np.ndarray:
        return source_hw[samples.index][:, None, ::-1].astype(float)

    def mirrored(samples: Samples, points: np.ndarray) -> np.ndarray:
        flipped = points * [-1, 1] + (size_of(samples) - 1) * [1, 0]
        return np.where(samples.mirrored[:, None, None], flipped, points)

    share = (mirrored(train, train.points) + 0.5) / size_of(train)
    average = np.nanmean(share, axis=0)
    return mirrored(others, average * size_of(others) - 0.5)
