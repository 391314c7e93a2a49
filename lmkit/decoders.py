"""From maps to points, one function per decoder; `lmkit.heatmap.decode` picks one by name.

All take (B, L, H, W) maps and return (B, L, 2) xy in heatmap pixels, pixel centres at integers,
on any device. A peak beyond the outermost pixel cannot be seen, so for all of them a landmark
outside the map comes back at the border; what else the border does is said with each.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOCAL_BETA = 8.0  # of the local soft-argmax, per share of the map's own maximum


def argmax(maps: Tensor) -> Tensor:
    """The brightest pixel, the first of equals; off by up to half a pixel on each axis."""
    return torch.stack(_brightest(maps), -1).to(maps.dtype)


def quarter(maps: Tensor) -> Tensor:
    """The brightest pixel, moved a quarter of a pixel towards its brighter neighbour.

    Off by up to a quarter of a pixel on each axis. On an axis whose neighbour lies outside the map
    the whole pixel is kept. Source: Newell et al. 2016, arXiv:1603.06937.
    """
    x, y = _brightest(maps)
    height, width = maps.shape[-2:]
    dx = (_at(maps, x + 1, y) - _at(maps, x - 1, y)).sign() * ((x > 0) & (x < width - 1))
    dy = (_at(maps, x, y + 1) - _at(maps, x, y - 1)).sign() * ((y > 0) & (y < height - 1))
    return argmax(maps) + 0.25 * torch.stack([dx, dy], -1)


def dark(maps: Tensor) -> Tensor:
    """The brightest pixel plus one Newton step on the log of the map: exact for a Gaussian.

    On an axis whose neighbour lies outside the map the whole pixel is kept, so there a peak is off
    by up to half a pixel. Source: Zhang et al. 2020, arXiv:1910.06278, without its smoothing.
    """
    return newton(maps, *_brightest(maps))


def newton(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """One Newton step on the log of the map, from given pixels to the top beside them.

    Args:
        x, y: (B, L), column and row, integers.
    Returns: (B, L, 2) xy; a step is at most half a pixel, for the top lies within that of the
        brightest one and a longer step is noise; none on an axis that ends there.
    """
    height, width = maps.shape[-2:]

    def log_at(dx: int, dy: int) -> Tensor:
        return _at(maps, x + dx, y + dy).clamp(min=1e-12).log()

    centre = log_at(0, 0)
    left, right, above, below = log_at(-1, 0), log_at(1, 0), log_at(0, -1), log_at(0, 1)
    gx, gy = (right - left) / 2, (below - above) / 2
    hxx, hyy = right - 2 * centre + left, below - 2 * centre + above
    hxy = (log_at(1, 1) - log_at(1, -1) - log_at(-1, 1) + log_at(-1, -1)) / 4
    inner_x, inner_y = (x > 0) & (x < width - 1), (y > 0) & (y < height - 1)
    step = _top_of(gx * inner_x, gy * inner_y, hxx, hxy * (inner_x & inner_y), hyy)
    return torch.stack([x, y], -1).to(maps.dtype) + step.clamp(-0.5, 0.5)


def local_softargmax(maps: Tensor, sigma: float = 2.0) -> Tensor:
    """Softmax-weighted mean position in a window of two sigma about the brightest pixel.

    The map is taken as a share of its own maximum, so its amplitude does not matter. Within 0.02
    px of a Gaussian's centre for sigma from 1.5; at a border the window is cut, and the mean leans
    inward by up to 0.4 sigma.

    Args:
        sigma: of the rendered Gaussian, heatmap pixels; sets the window.
    Source: Bulat et al. 2021, arXiv:2111.02360.
    """
    radius = max(2, math.ceil(2 * sigma))
    x, y = _brightest(maps)
    values, dx, dy, inside = _window(maps, x, y, radius)
    share = values / values.amax(-1, keepdim=True).clamp(min=1e-12)
    weight = torch.exp(LOCAL_BETA * (share.clamp(-1, 1) - 1)) * inside
    total = weight.sum(-1)
    step = torch.stack([(weight * dx).sum(-1), (weight * dy).sum(-1)], -1) / total.unsqueeze(-1)
    return argmax(maps) + step


def softargmax(maps: Tensor, top: float | Tensor = 1.0, beta: float = 25.0) -> Tensor:
    """Softmax-weighted mean position over the whole map; differentiable.

    Leans inward by what the softmax leaves to the background (beta 10 on a map of 96 x 176: a
    fifth of the way to the middle; beta 25: nothing), at borders by up to 0.2 sigma, and lies
    between two equal modes.

    Args:
        top: the largest value of a rendered target, so that the amplitude does not matter.
        beta: the maps are multiplied by this after division by `top`.
    Source: Luvizon et al. 2019, arXiv:1710.02322.
    """
    return expectation(spatial_softmax(maps * (beta / top)))


def gaussian_fit(maps: Tensor, sigma: float = 2.0) -> Tensor:
    """Least-squares fit of a Gaussian to a window of 1.5 sigma about the brightest pixel.

    The log of a Gaussian is a parabola, fitted with the squared values as weights: exact for a
    Gaussian of any widths and tilt, at the border too while its centre lies on the map.

    Args:
        sigma: of the rendered Gaussian, heatmap pixels; sets the window.
    Source: Guo 2011, doi 10.1109/MSP.2011.941846, one iteration.
    """
    radius = max(2, math.ceil(1.5 * sigma))
    x, y = _brightest(maps)
    values, dx, dy, inside = _window(maps, x, y, radius)
    values, dx, dy = values.double(), dx.double(), dy.double()
    share = values / values.amax(-1, keepdim=True).clamp(min=1e-12)
    positive = inside & (share > 1e-3)
    weight = torch.where(positive, share, 0) ** 2
    log = torch.where(positive, share, 1).log()
    design = torch.stack([torch.ones_like(dx), dx, dy, dx * dx, dx * dy, dy * dy], -1)  # (K, 6)
    normal = torch.einsum("blk,ki,kj->blij", weight, design, design)
    right = torch.einsum("blk,ki->bli", weight * log, design)
    normal = normal + 1e-12 * torch.eye(6, dtype=normal.dtype, device=normal.device)
    _, gx, gy, xx, xy, yy = torch.linalg.solve(normal, right).unbind(-1)
    step = _top_of(gx, gy, 2 * xx, xy, 2 * yy)
    # further than sigma from the brightest pixel, the fit describes something else
    step = torch.where(step.abs().amax(-1, keepdim=True) <= max(1.0, sigma), step, 0)
    return argmax(maps) + step.to(maps.dtype)


def spatial_softmax(logits: Tensor) -> Tensor:
    """(B, L, H, W) -> the same, positive, summing to 1 over each map."""
    return logits.flatten(-2).softmax(-1).view_as(logits)


def expectation(distribution: Tensor) -> Tensor:
    """(B, L, 2) mean xy, pixels, of (B, L, H, W) maps that sum to 1."""
    height, width = distribution.shape[-2:]
    along_x = torch.arange(width, device=distribution.device, dtype=distribution.dtype)
    along_y = torch.arange(height, device=distribution.device, dtype=distribution.dtype)
    return torch.stack([distribution.sum(-2) @ along_x, distribution.sum(-1) @ along_y], -1)


def window_sum(maps: Tensor, radius: int) -> Tensor:
    """(B, L): sum over the square of 2 radius + 1 pixels about each map's brightest pixel."""
    values, _, _, inside = _window(maps, *_brightest(maps), radius)
    return (values * inside).sum(-1)


def _brightest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L) column and (B, L) row of the brightest pixel; the first one of equals."""
    index = maps.flatten(-2).argmax(-1)
    return index % maps.shape[-1], torch.div(index, maps.shape[-1], rounding_mode="floor")


def _at(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(B, L, ...) values at columns and rows; those outside take the border's."""
    height, width = maps.shape[-2:]
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    flat = maps.flatten(-2)
    return flat.gather(-1, index.flatten(2) if index.ndim > 2 else index.unsqueeze(-1)).view(
        index.shape
    )


def _window(maps: Tensor, x: Tensor, y: Tensor, radius: int) -> tuple[Tensor, ...]:
    """Values (B, L, K) about (x, y), offsets (K,) and (K,), and which (B, L, K) are on the map."""
    offset = torch.arange(-radius, radius + 1, device=maps.device)
    dy, dx = torch.meshgrid(offset, offset, indexing="ij")
    dx, dy = dx.flatten(), dy.flatten()
    columns, rows = x.unsqueeze(-1) + dx, y.unsqueeze(-1) + dy
    height, width = maps.shape[-2:]
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return _at(maps, columns, rows), dx.to(maps.dtype), dy.to(maps.dtype), inside


def _top_of(gx: Tensor, gy: Tensor, hxx: Tensor, hxy: Tensor, hyy: Tensor) -> Tensor:
    """(B, L, 2): from a point with this gradient and Hessian to the top; 0 where there is none."""
    determinant = hxx * hyy - hxy**2
    concave = (hxx < 0) & (hyy < 0) & (determinant > 0)
    safe = torch.where(concave, determinant, 1)
    step = torch.stack([-(hyy * gx - hxy * gy) / safe, -(hxx * gy - hxy * gx) / safe], -1)
    return torch.where(concave.unsqueeze(-1), step, 0)
