"""Predictions of a model, back in the source image, and what simple baselines would predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lmkit import decoders, heatmap, losses
from lmkit.batches import Batch, Feed, source_to_input
from lmkit.config import InputError, RunConfig
from lmkit.geometry import apply
from lmkit.images import Canvas
from lmkit.metrics import error_matrix, radial_error_mm, summarise, table
from lmkit.model import heatmap_matrix
from lmkit.samples import Samples
from lmkit.stats import bootstrap_intervals
from lmkit.targets import loss_over, target_of, targets_of


def pick_device(config: RunConfig) -> torch.device:
    """The device that `config.device` means here. Raises: InputError for cuda without one."""
    has_cuda = torch.cuda.is_available()
    if config.device == "cuda" and not has_cuda:
        raise InputError("device: expected auto or cpu, got cuda, but torch sees no GPU here")
    return torch.device("cuda" if has_cuda and config.device != "cpu" else "cpu")


def pick_precision(config: RunConfig, device: torch.device) -> str:
    """float32 or bf16: what `config.precision` means on this device."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "float32"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"


def maps_of(model: nn.Module, images: Tensor, config: RunConfig) -> Tensor:
    """(B, L, h, w) float32 maps of (B, 1, H, W) images, in the run's precision."""
    return levels_of(model, images, config)[-1][0]


def levels_of(model: nn.Module, images: Tensor, config: RunConfig) -> list[tuple[Tensor, int]]:
    """All maps that a network draws of (B, 1, H, W) images, coarse ones first, each (B, L, h, w)
    float32 with its input pixels per heatmap pixel; in the run's precision."""
    device = images.device
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(
        device.type, torch.bfloat16, enabled=pick_precision(config, device) == "bf16"
    ):
        return [(maps.float(), stride) for maps, stride in model.levels(images)]


def points_of(maps: Tensor, to_input: Tensor, config: RunConfig, sigma_px: float) -> Tensor:
    """(B, L, 2) xy float64, source pixels, on the CPU.

    Args:
        maps: (B, L, h, w), activated, see `losses.activate`. For a spatial loss `softargmax` is
            the mean of the distribution itself, which is what wing, dsnt_js and star train.
        to_input: (B, 3, 3), from source pixels to input pixels.
        sigma_px: of the targets, heatmap pixels, for the windows of some decoders.
    """
    if config.loss in losses.SPATIAL and config.decoder == "softargmax":
        points = decoders.expectation(maps / maps.sum((-2, -1), keepdim=True))
    else:
        points = heatmap.decode(maps, config.decoder, sigma=sigma_px, beta=config.soft_beta)
    to_heatmap = heatmap_matrix(config.stem_stride) @ to_input
    return apply(torch.linalg.inv(to_heatmap), points.double().cpu())


def window_sigma(model: nn.Module, config: RunConfig) -> float:
    """Sigma that sets the decoders' windows, heatmap pixels: the members' mean, or `sigma_px`
    where targets are in mm, so that no prediction depends on the other images of its batch."""
    if config.sigma_mm is not None:
        return config.sigma_px
    return float(np.mean([member.sigma.mean().item() for member in members_of(model)]))


def confidence(maps: Tensor, config: RunConfig, sigma_px: float) -> Tensor:
    """(B, L) in [0, 1] of activated maps: the height as a share of a target's; for a spatial loss,
    whose maps may be as sharp as they like, the probability near the brightest pixel."""
    if config.loss in losses.SPATIAL:
        return heatmap.mass_near_peak(maps, sigma_px)
    return heatmap.peak(maps)


def members_of(model: nn.Module) -> list[nn.Module]:
    """The networks of an ensemble, or the network alone."""
    return list(model) if isinstance(model, nn.ModuleList) else [model]


def activated(
    maps: Tensor,
    member: nn.Module,
    images: Tensor,
    config: RunConfig,
    height: Tensor,
    partner: np.ndarray | None = None,
) -> Tensor:
    """The maps to decode, (B, L, h, w): activated, with the mirror image's for tta=mirror.

    Args:
        maps: (B, L, h, w), as `member` draws them of `images`, (B, 1, H, W).
        height: (1 or B, L), of a target.
        partner: (L,) the map that each map becomes in a mirrored image.
    """
    seen = losses.activate(maps, config.loss, height)
    if config.tta == "mirror":
        turned = losses.activate(maps_of(member, images.flip(-1), config), config.loss, height)
        seen = (seen + turned.flip(-1)[:, partner]) / 2
    return seen


@torch.inference_mode()
def infer(model: nn.Module, feed: Feed) -> tuple[np.ndarray, np.ndarray, float]:
    """Predict all samples of a feed.

    Args:
        model: a network, or a ModuleList of the members of an ensemble.
    Returns: (N, L, 2) xy, source pixels; (N, L) confidence in [0, 1], of the mean map or the
        members' mean; the mean loss, of an ensemble the members' mean.
    """
    config, loss = feed.config, losses.build(feed.config)
    members, sigma_px = members_of(model.eval()), window_sigma(model, feed.config)
    points, peaks, total = [], [], 0.0
    for batch in feed.in_order(max(8, config.batch_size)):
        active = []
        for member in members:
            levels = levels_of(member, batch.images, config)
            targets = targets_of(batch, config, member.sigma, levels)
            total += loss_over(levels, targets, loss).item() * len(batch.images) / len(members)
            maps, height = levels[-1][0], targets[-1].height
            partner = feed.samples.partner
            active.append(activated(maps, member, batch.images, config, height, partner))
        if config.ensemble_by == "maps":
            active = [torch.stack(active).mean(0)]
        found = torch.stack([points_of(maps, batch.to_input, config, sigma_px) for maps in active])
        middle = found.quantile(0.5, 0) if config.ensemble_by == "median" else found.mean(0)
        points.append(middle.numpy())
        sure = torch.stack([confidence(maps, config, sigma_px) for maps in active])
        peaks.append(sure.mean(0).cpu().numpy())
    return np.concatenate(points), np.concatenate(peaks), total / len(feed)


def predict(model: nn.Module, config: RunConfig, samples: Samples, canvas: Canvas) -> pd.DataFrame:
    """Predictions of a model on samples, as in predictions.csv.

    Returns: split, image, patient, side, landmark, x, y, x_true, y_true (source pixels), error_mm
        (NaN = not annotated), peak (confidence in [0, 1]); a row per landmark.
    """
    points, peaks, _ = infer(model, Feed(samples, canvas, config, pick_device(config)))
    return as_table(samples, points, peaks)


def as_table(samples: Samples, points: np.ndarray, peaks: np.ndarray | None = None) -> pd.DataFrame:
    """(N, L, 2) predicted points, source pixels, as the table of predictions.csv."""
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
    if peaks is not None:
        columns["peak"] = peaks.ravel().astype(float)
    return pd.DataFrame(columns)


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
