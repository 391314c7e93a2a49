"""What a map says beyond its brightest pixel: further modes, and how far its mass is spread."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit import decoders

LOWEST = 0.1  # of a map's maximum; what lies below is background, not spread
APART = 2.0  # sigma: nearer than this to a brighter mode, a maximum is the same mode


def top_modes(maps: Tensor, k: int, sigma_px: float) -> tuple[Tensor, Tensor]:
    """The brightest local maxima of each map, brightest first, none within 2 sigma of another.

    Args:
        maps: (B, L, H, W).
        k: K, how many.
        sigma_px: of the rendered Gaussian, heatmap pixels.
    Returns: (B, L, K, 2) xy, heatmap pixels, sub-pixel by one Newton step on the log of the map;
        NaN where the map has fewer maxima; (B, L, K) their heights, 0 there.
    Raises: ValueError for a bad shape or k.
    """
    if maps.ndim != 4 or k < 1:
        raise ValueError(f"maps, k: expected (B, L, H, W) and >= 1, got {tuple(maps.shape)}, {k}")
    height, width = maps.shape[-2:]
    row = torch.arange(height, device=maps.device)[:, None]
    column = torch.arange(width, device=maps.device)
    left = torch.where((maps >= F.max_pool2d(maps, 3, 1, 1)) & (maps > 0), maps, 0)
    points, heights = [], []
    for _ in range(k):
        top, index = left.flatten(-2).max(-1)
        x, y = index % width, torch.div(index, width, rounding_mode="floor")
        found = (decoders.newton(maps, x, y)).masked_fill(top.unsqueeze(-1) == 0, torch.nan)
        points.append(found)
        heights.append(top)
        near = (row - y[..., None, None]) ** 2 + (column - x[..., None, None]) ** 2
        left = left.masked_fill(near <= (APART * sigma_px) ** 2, 0)
    return torch.stack(points, -2), torch.stack(heights, -1)


def expected_radius_mm(maps: Tensor, points: Tensor, mm_per_px: Tensor) -> Tensor:
    """Mean distance of a map's mass from a point: how far the model itself spreads its answer.

    Args:
        maps: (B, L, H, W); values below a tenth of a map's maximum count as 0.
        points: (B, L, 2) xy, heatmap pixels.
        mm_per_px: (B, 2, 2), from a step in heatmap pixels to one in millimetres.
    Returns: (B, L) mm; about 1.25 sigma for a Gaussian (less its cut tail), NaN for an empty map.
    Source: the expected radial error of McCouat and Voiculescu 2022, CVPR ("Contour-hugging
        heatmaps"), of a map made a distribution by its positive part.
    """
    flat = maps.flatten(0, 1).flatten(1)  # (B * L, HW)
    top = flat.amax(-1, keepdim=True).clamp(min=1e-12)
    # a map is nearly all background: distances are computed of the few pixels that count
    owner, pixel = (flat >= LOWEST * top).nonzero(as_tuple=True)
    mass = flat[owner, pixel].double()  # summed one by one, where float32 would lose digits
    xy = torch.stack([pixel % maps.shape[-1], pixel // maps.shape[-1]], -1)  # (N, 2)
    step = (xy - points.to(xy.device).flatten(0, 1)[owner]).to(maps)
    to_mm = mm_per_px.to(maps).repeat_interleave(maps.shape[1], 0)  # (B * L, 2, 2)
    distance = (to_mm[owner] * step.unsqueeze(-2)).sum(-1).norm(dim=-1)
    total, moment = (
        mass.new_zeros(len(flat)).index_add_(0, owner, part) for part in (mass, mass * distance)
    )
    return torch.where(total > 0, moment / total, torch.nan).to(maps.dtype).view(maps.shape[:2])
