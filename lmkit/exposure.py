"""Augmentation of grey values: another exposure, blur, noise, holes. Points stay where they are.

All random functions take a `torch.Generator`; the same generator state gives the same result.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.augment import in_cache, to_device

UNSEEN_PX = 0.2  # a narrower blur moves 4 millionths of a grey value to the next pixel
NOISE = 1 << 22  # normal numbers that pictures take their noise from, each at a place of its own


def intensity(
    images: Tensor,
    *,
    gain_range: tuple[float, float],
    gamma_range: tuple[float, float],
    noise_sd: float,
    blur_px: float,
    generator: torch.Generator,
) -> Tensor:
    """Another exposure of the same picture: gamma, gain, blur, then noise; one draw per image.

    Args:
        images: (B, 1, H, W), 0 to 255.
        gain_range: factor on the values, uniform between the two.
        gamma_range: exponent on values / 255, log-uniform between the two.
        noise_sd: standard deviation of the noise, uniform in 0 to this, grey levels.
        blur_px: standard deviation of a Gaussian blur, uniform in 0 to this, pixels.
        generator: on the CPU.
    Returns: (B, 1, H, W), clipped to 0 to 255.
    """
    drawn = torch.rand(4, len(images), 1, 1, 1, generator=generator)
    draw, (low, high) = to_device(drawn, images.device), (math.log(g) for g in gamma_range)
    gain = gain_range[0] + (gain_range[1] - gain_range[0]) * draw[1]
    gamma = torch.exp(low + (high - low) * draw[0])
    factor = torch.log2(255 * gain) - gamma * math.log2(255)  # of 255 * gain * (v / 255) ** gamma
    parts = []
    for part in in_cache(images):
        exposed = images[part].clamp(min=1e-4).log2_()  # log2 and exp2 are faster than a power
        exposed = exposed.mul_(gamma[part]).add_(factor[part]).exp2_()
        parts.append(_blur(exposed, (blur_px * drawn[2, part]).flatten()))
    changed = torch.cat(parts)
    if noise_sd > 0:
        changed = _add_noise(changed, noise_sd * draw[3], generator)
    return changed.clamp_(0, 255)


def _add_noise(images: Tensor, sd: Tensor, generator: torch.Generator) -> Tensor:
    """The images (B, 1, H, W) with normal noise of (B, 1, 1, 1) standard deviations, in place.

    Drawing a normal number for every pixel costs as much as all else that a picture goes through;
    a picture is given a piece of a fixed row of them instead, from a random place.
    """
    n = images[0].numel()
    if 2 * n > NOISE:
        seed = int(torch.randint(2**62, (1,), generator=generator))
        on_device = torch.Generator(images.device).manual_seed(seed)
        return images.add_(torch.empty_like(images).normal_(generator=on_device).mul_(sd))
    row = _normal_row(images.device)
    starts = torch.randint(NOISE - n, (len(images),), generator=generator).tolist()
    for image, start, width in zip(images, starts, sd.flatten().unbind(), strict=True):
        image.addcmul_(row[start : start + n].view_as(image), width)
    return images


@lru_cache(maxsize=2)
def _normal_row(device: torch.device) -> Tensor:
    return torch.randn(NOISE, generator=torch.Generator(device).manual_seed(0), device=device)


def _blur(images: Tensor, sd_px: Tensor) -> Tensor:
    """Gaussian blur of (B, 1, H, W) images, each with its own standard deviation (B,), pixels.

    `sd_px` is on the CPU, so that nothing waits for a GPU. Sums of shifted pictures, for a
    convolution with one channel a group costs three times as much. Below UNSEEN_PX an image stays
    as it is.
    """
    blurred = torch.empty_like(images)
    for image, out, sd in zip(images, blurred, sd_px.tolist(), strict=True):
        if sd < UNSEEN_PX:
            out.copy_(image)
            continue
        radius = math.ceil(3 * sd)
        weight = torch.exp(-0.5 * (torch.arange(radius + 1) / sd) ** 2)
        centre, *others = (weight / (2 * weight.sum() - weight[0])).tolist()
        wide = F.pad(image, [radius] * 4, mode="replicate")
        for axis, target in ((-2, None), (-1, out)):
            n = image.shape[axis]
            # made at once with `out=`, so that the last sum needs no copy
            summed = torch.mul(wide.narrow(axis, radius, n), centre, out=target)
            for k, share in enumerate(others, start=1):
                summed.add_(wide.narrow(axis, radius - k, n), alpha=share)
                summed.add_(wide.narrow(axis, radius + k, n), alpha=share)
            wide = summed
    return blurred


def cutout(images: Tensor, *, holes: int, size_frac: float, generator: torch.Generator) -> Tensor:
    """Rectangles of one random grey level put over each image.

    Args:
        images: (B, 1, H, W), 0 to 255.
        holes: rectangles per image.
        size_frac: their sides, uniform in 0 to this share of H and of W.
        generator: on the CPU.
    Source: DeVries and Taylor 2017, arXiv:1708.04552.
    """
    n, height, width = len(images), images.shape[-2], images.shape[-1]
    for _ in range(holes):
        draw = to_device(torch.rand(5, n, 1, 1, 1, generator=generator), images.device)
        x = torch.arange(width, device=images.device)
        y = torch.arange(height, device=images.device).unsqueeze(-1)
        inside_x = (x - draw[0] * width).abs() <= draw[2] * size_frac * width / 2
        inside_y = (y - draw[1] * height).abs() <= draw[3] * size_frac * height / 2
        images = torch.where(inside_x & inside_y, 255 * draw[4], images)
    return images
