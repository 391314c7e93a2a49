"""What the explorers draw: one sample as the network gets it, a target, a soft peak; no widgets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lmkit import heatmap, plots
from lmkit.augment import warp
from lmkit.batches import Batch, grey_levels, normalised, source_to_input
from lmkit.case_desk import Pictures
from lmkit.cases import feed_of_one
from lmkit.config import RunConfig
from lmkit.data import Dataset
from lmkit.geometry import Size, affine_matrix, apply
from lmkit.images import to_uint8
from lmkit.model import heatmap_matrix
from lmkit.samples import Samples
from lmkit.targets import target_of

OTHER_FIELDS = ("points", "to_input", "spacing_mm")  # of a batch, beside its images


def input_picture(
    dataset: Dataset,
    samples: Samples,
    config: RunConfig,
    row: int,
    moved: Tensor | None = None,
    pixels: np.ndarray | None = None,
) -> Batch:
    """One sample as a batch of one, grey values in 0 to 255, straight from its file.

    Args:
        row: which of the samples.
        moved: (3, 3) an augmentation, from input pixels to input pixels; none when not given.
        pixels: (H, W) uint8 of its image, where they are at hand.
    """
    if pixels is None:
        pixels = to_uint8(dataset.read(str(samples.images[row])))
    fit = source_to_input(samples.take(np.array([row])), _only(samples.index[row], pixels), config)
    matrix = fit if moved is None else moved @ fit
    grey = torch.from_numpy(pixels.copy())[None, None].float()
    points = apply(matrix, torch.from_numpy(samples.points[[row]])).float()
    spacing_mm = torch.from_numpy(samples.spacing_mm[[row]])
    return Batch(warp(grey, matrix, config.input_hw), points, matrix, spacing_mm)


def input_batch(
    dataset: Dataset, samples: Samples, config: RunConfig, rows: Iterable[int]
) -> Batch:
    """Some samples as the network gets them, not augmented, straight from their files."""
    parts = [input_picture(dataset, samples, config, row) for row in rows]
    images = normalised(torch.cat([part.images for part in parts]))
    others = (torch.cat([getattr(p, k) for p in parts]) for k in OTHER_FIELDS)
    return Batch(images, *others)


def augmented_draws(
    dataset: Dataset, samples: Samples, config: RunConfig, row: int, n: int
) -> Batch:
    """One sample n times as training sees it, with all of the settings' augmentation.

    Returns: as training gets it, but for the grey values, which are in 0 to 255.
    """
    feed = feed_of_one(dataset, samples, config, row, torch.device("cpu"))
    batch = feed.batch(np.zeros(n, int), torch.Generator().manual_seed(config.seed))
    return replace(batch, images=grey_levels(batch.images))


def _pair(width: float, height: float, ratio: tuple[float, float]) -> tuple[Figure, Axes, Axes]:
    """A figure (inches) of two axes; margins are fixed: a layout costs more than the drawing."""
    figure = Figure(figsize=(width, height), dpi=80)
    below, above = 0.5 / height, 1 - 0.3 / height
    margins = {"left": 0.02, "right": 0.99, "bottom": below, "top": above, "wspace": 0.16}
    left, right = figure.subplots(1, 2, width_ratios=ratio, gridspec_kw=margins)
    return figure, left, right


def _only(index: int, pixels: np.ndarray) -> np.ndarray:
    """A table of image sizes in which only row `index` will be read."""
    return np.broadcast_to(pixels.shape, (index + 1, 2))


def augmented_view(
    dataset: Dataset,
    samples: Samples,
    config: RunConfig,
    row: int,
    *,
    rotate_deg: float = 0.0,
    scale: float = 1.0,
    shift_x: float = 0.0,
    shift_y: float = 0.0,
    sigma_px: float | None = None,
    amplitude: float | None = None,
    pictures: Pictures | None = None,
) -> Figure:
    """One sample as the network gets it under a chosen augmentation, with its target maps.

    Args:
        row: which of the samples.
        rotate_deg: degrees, clockwise. scale: times. shift_x, shift_y: shares of the input size.
        sigma_px, amplitude: of the target; those of `config` when not given.
        pictures: that hold the image already; None = it is read.
    Returns: a figure: image, points and maps on the left, a cut through the first map on the right.
    """
    target = {"sigma_px": sigma_px, "amplitude": amplitude}
    asked: dict[str, float | None] = {k: v for k, v in target.items() if v is not None}
    if sigma_px is not None:
        asked |= {"sigma_mm": None, "sigma_schedule": None}  # which would override it
    config = config.model_copy(update=asked)
    frame, shift = config.input_hw, torch.tensor([[shift_x, shift_y]])
    moved = affine_matrix(frame, torch.tensor([rotate_deg]), torch.tensor([scale]), shift)
    pixels = pictures.get(str(samples.images[row])) if pictures else None
    picture = input_picture(dataset, samples, config, row, moved, pixels)
    points, maps = picture.points[0].numpy(), target_of(picture, config).maps[0].numpy()
    in_map = apply(heatmap_matrix(config.stem_stride), picture.points)[0].numpy()
    figure, left, right = _pair(11, 4, (3, 1.2))
    plots.image(left, picture.images[0, 0].numpy(), points)
    plots.overlay(left, maps)
    name = plots.plain(str(samples.images[row]))
    left.set_title(f"{name}: {frame[1]} × {frame[0]} input pixels", fontsize=9)
    plots.map_cut(right, maps[0], in_map[0])
    return figure


def target_view(
    size: Size, *, sigma_px: float, amplitude: float, target: str, offset_px: float
) -> Figure:
    """A rendered landmark, whole and along its row.

    Args:
        size: (H, W), heatmap pixels. offset_px: how far right of a pixel's centre it lies.
    """
    point = torch.tensor([[[size[1] // 2 + offset_px, size[0] // 2]]])
    rendered = heatmap.render(point, size, sigma_px, amplitude, target)[0, 0].numpy()
    figure, left, right = _pair(10, 3, (1.4, 1))
    plots.image(left, rendered, point[0].numpy(), title=f"{target}, σ {sigma_px:g} heatmap px")
    plots.map_cut(right, rendered, point[0, 0].numpy())
    return figure


def soft_peak_view(
    size: Size, sigma_px: float, *, beta: float, divide: bool, amplitude: float, share: float
) -> Figure:
    """Where argmax and the soft peak lie on a map with a second mode.

    Args:
        size: (H, W), heatmap pixels.
        beta: of the softmax. divide: by the amplitude before it.
        amplitude: height of the map. share: of the peak that stands at a neighbour.
    """
    points = torch.tensor([[[0.3 * size[1], size[0] / 2]], [[0.55 * size[1], size[0] / 2]]])
    here, there = heatmap.render(points, size, sigma_px)
    maps = amplitude * ((1 - share) * here + share * there)[None]
    soft = heatmap.decode(maps, "softargmax", top=amplitude if divide else 1.0, beta=beta)
    hard = heatmap.decode(maps, "argmax")
    figure, left, right = _pair(10, 3, (1, 1))
    for ax, found, name in ((left, hard, "argmax"), (right, soft, "soft peak")):
        title = f"{name} at x = {found[0, 0, 0]:.2f}, landmark at {points[0, 0, 0]:.2f}"
        plots.image(ax, maps[0, 0].numpy(), points[0].numpy(), found[0].numpy(), title)
    return figure
