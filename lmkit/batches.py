"""Batches for training and prediction: one resampling, from stored canvas to network input.

Three frames: source (the image as stored, where errors are measured), canvas (all images at one
size, on disk), input (what the network sees). Mirroring, fitting and augmentation are matrices
between them, so a picture is interpolated once and its points move by the same product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.augment import (
    displaced,
    random_affine,
    random_elastic,
    random_mirror,
    to_device,
    warp,
)
from lmkit.canvas import Canvas, open_canvas
from lmkit.config import RunConfig
from lmkit.data import Dataset
from lmkit.exposure import cutout, intensity
from lmkit.fields import InputError
from lmkit.geometry import Size, apply, block_matrix, fit_matrix, mirror_matrix, scale_matrix
from lmkit.samples import Samples
from lmkit.spans import span

MIDDLE_GREY, GREY_UNIT = 127.5, 64  # what becomes 0 and 1 for the network
OVERSAMPLE = 2.0  # canvas pixels per input pixel, so that one bilinear sample does not alias


@dataclass(frozen=True)
class Batch:
    """What the network gets, and the way back.

    Attributes:
        images: (B, 1, H, W) float32, about -2 to 2.
        points: (B, L, 2) xy float32, input pixels; NaN = not annotated or moved out of the input.
        to_input: (B, 3, 3) float64, from source pixels to input pixels; stays on the CPU.
        spacing_mm: (B, 2) float64, mm per source pixel, x and y; stays on the CPU.
    """

    images: Tensor
    points: Tensor
    to_input: Tensor
    spacing_mm: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def part(self, rows: slice) -> Batch:
        """Some of its samples."""
        every = self.images, self.points, self.to_input, self.spacing_mm
        return Batch(*(values[rows] for values in every))

    @property
    def px_per_mm(self) -> Tensor:
        """(B, 2) float64: input pixels along x and y that a millimetre in any direction covers.

        The root of the summed squares over both directions, so that a circle of 1 mm, rotated
        and scaled with its picture, has these standard deviations.
        """
        jacobian = self.to_input[:, :2, :2] / self.spacing_mm[:, None, :]
        return jacobian.square().sum(-1).sqrt()


def canvas_size(dataset: Dataset, config: RunConfig) -> Size:
    """(H, W) of the canvas: up to twice the input, not beyond the largest image's own pixels."""
    sizes = {dataset.size(image) for image in dataset.images["image"].iloc[:64]}
    return canvas_frame(sizes, config)


def canvas_frame(sizes: set[Size], config: RunConfig) -> Size:
    """(H, W) of a canvas for images of these (H, W), pixels; see `canvas_size`."""
    shrink = [1 / fit_matrix(s, config.input_hw, config.keep_aspect)[[0, 1], [0, 1]] for s in sizes]
    factor = min(OVERSAMPLE, max(1.0, torch.stack(shrink).max().item()))
    return round(config.input_hw[0] * factor), round(config.input_hw[1] * factor)


def canvas_for(dataset: Dataset, config: RunConfig) -> Canvas:
    """The dataset's images at canvas size, from the cache folder."""
    names = list(dataset.images["image"])
    frame = canvas_size(dataset, config)
    keep = config.keep_aspect
    return open_canvas(names, dataset.read, dataset.size, dataset.fingerprint, frame, keep)


def source_to_input(samples: Samples, source_hw: np.ndarray, config: RunConfig) -> Tensor:
    """The map of each sample's image into the network's input: mirrored where asked, then fitted.

    Args:
        source_hw: (number of images in the dataset, 2) H and W, pixels.
    Returns: (N, 3, 3) float64, from source pixels to input pixels.
    """
    known: dict[tuple[int, int, bool], Tensor] = {}
    for height, width in np.unique(source_hw, axis=0).tolist():
        fit = fit_matrix((height, width), config.input_hw, config.keep_aspect)
        known[height, width, False] = fit
        known[height, width, True] = fit @ mirror_matrix((height, width))
    sizes, flags = source_hw[samples.index].tolist(), samples.mirrored.tolist()
    return torch.stack([known[h, w, flag] for (h, w), flag in zip(sizes, flags, strict=True)])


def normalised(grey: Tensor) -> Tensor:
    """What the network sees of grey levels 0 to 255: about -2 to 2."""
    return grey.sub(MIDDLE_GREY).div_(GREY_UNIT)


def grey_levels(images: Tensor) -> Tensor:
    """The grey levels that `normalised` images had."""
    return images * GREY_UNIT + MIDDLE_GREY


def check_mirror(samples: Samples, config: RunConfig) -> None:
    """Refuse mirrored images where no map stands for a mirrored landmark. Raises: InputError."""
    if samples.partner is None and "mirror" in config.augment:
        raise InputError(
            f"augment: expected no mirror, for a mirrored image of side {config.side} is not one "
            "of that side, got mirror; use side joint, or for a dataset without sides "
            "state mirror_pairs in dataset.yaml"
        )


class Feed:
    """Serves batches of some samples.

    Args:
        samples: what to show.
        canvas: of the samples' dataset.
        config: input size, aspect, augmentation.
        device: where batches go.
    """

    def __init__(
        self, samples: Samples, canvas: Canvas, config: RunConfig, device: torch.device
    ) -> None:
        self.samples, self.canvas, self.config, self.device = samples, canvas, config, device
        self.points = torch.from_numpy(samples.points)
        self.to_input = source_to_input(samples, canvas.source_hw, config)
        canvas_to_source = torch.linalg.inv(canvas.matrix[samples.index])
        self.canvas_to_input = self.to_input @ canvas_to_source
        check_mirror(samples, config)

    def __len__(self) -> int:
        return len(self.samples)

    def batch(
        self, rows: np.ndarray, generator: torch.Generator | None = None, scale: float = 1.0
    ) -> Batch:
        """The samples of some rows; augmented when a generator is given and the settings say so.

        Args:
            rows: (B,) which samples.
            scale: of the input size, see `RunConfig.sized`.
        """
        with span("images and points"):
            return self._batch(rows, generator, scale)

    def _batch(self, rows: np.ndarray, generator: torch.Generator | None, scale: float) -> Batch:
        config, size = self.config, self.config.sized(scale)
        resized = scale_matrix(config.input_hw, size, scale)
        kinds = config.augment.split("+") if generator is not None else []
        displacement, source_points = None, self.points[rows]
        if generator is not None and "mirror" in kinds:
            turned, flipped = random_mirror(len(rows), size, generator=generator)
            resized = turned @ resized
            source_points[flipped] = source_points[flipped][:, self.samples.partner]
        if generator is not None and "affine" in kinds:
            moved = random_affine(
                len(rows),
                size,
                rotate_deg=config.rotate_deg,
                scale_range=config.scale_range,
                translate_frac=config.translate_frac,
                generator=generator,
            )
            resized = moved @ resized
        to_input = resized @ self.to_input[rows]
        points = apply(to_input, source_points)
        if generator is not None and "elastic" in kinds:
            displacement = random_elastic(
                len(rows),
                size,
                elastic_px=config.elastic_px * scale,
                cells=config.elastic_cells,
                generator=generator,
            )
            points = displaced(points, displacement)
        edge = torch.tensor([size[1], size[0]]) - 0.5
        outside = ((points < -0.5) | (points > edge)).any(-1, keepdim=True)
        points = points.masked_fill(outside, torch.nan).float()
        pixels = to_device(self.canvas.batch(self.samples.index[rows]), self.device)
        to_size = resized @ self.canvas_to_input[rows]
        if (block := self._block(scale)) > 1:
            pixels = F.avg_pool2d(pixels.float(), block, ceil_mode=True)
            to_size = to_size @ torch.linalg.inv(block_matrix(block))
        images = warp(pixels, to_size, size, displacement)
        images = normalised(self._altered(images, kinds, generator))
        spacing_mm = torch.from_numpy(self.samples.spacing_mm[rows])
        return Batch(images, to_device(points, self.device), to_input, spacing_mm)

    def _block(self, scale: float) -> int:
        """Side of the squares of canvas pixels that are averaged before a picture is drawn smaller
        than the input, so that a sample of it has OVERSAMPLE of them at most to look at."""
        if scale >= 1:
            return 1
        frame = self.canvas.pixels.shape[1:]
        most = max(n / m for n, m in zip(frame, self.config.input_hw, strict=True)) / scale
        return math.ceil(most / OVERSAMPLE - 0.01)  # sizes are rounded to pixels

    def _altered(
        self, images: Tensor, kinds: list[str], generator: torch.Generator | None
    ) -> Tensor:
        """The images with other grey values, where the settings say so."""
        config = self.config
        if generator is not None and "intensity" in kinds:
            images = intensity(
                images,
                gain_range=config.gain_range,
                gamma_range=config.gamma_range,
                noise_sd=config.noise_sd,
                blur_px=config.blur_px,
                generator=generator,
            )
        if generator is not None and "cutout" in kinds:
            images = cutout(
                images,
                holes=config.cutout_holes,
                size_frac=config.cutout_frac,
                generator=generator,
            )
        return images

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """All samples once, shuffled and augmented by the generator."""
        order = torch.randperm(len(self), generator=generator).numpy()
        scales = self.config.scales
        for start in range(0, len(order), batch_size):
            pick = int(torch.randint(len(scales), (1,), generator=generator))
            yield self.batch(order[start : start + batch_size], generator, scales[pick])

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """All samples once, in order, not augmented."""
        for start in range(0, len(self), batch_size):
            yield self.batch(np.arange(start, min(start + batch_size, len(self))))
