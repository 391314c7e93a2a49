"""What all losses share: whose landmarks count, and in which precision.

Losses compute in float32, or in float64 where that is what comes, also under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor


def checked(maps: Tensor, target: Tensor, annotated: Tensor) -> None:
    if maps.shape != target.shape or annotated.shape != maps.shape[:2]:
        raise ValueError(
            "maps, target, annotated: expected (B, L, H, W) twice and (B, L), got "
            f"{tuple(maps.shape)}, {tuple(target.shape)} and {tuple(annotated.shape)}"
        )


def wide(values: Tensor) -> Tensor:
    """float32, or float64 where that is what came."""
    return values if values.dtype == torch.float64 else values.float()


def mean_over(per_landmark: Tensor, annotated: Tensor) -> Tensor:
    """Mean of (B, L) values over the annotated ones; 0, with zero gradient, without any."""
    kept = torch.where(annotated, per_landmark, 0)
    return kept.sum() / annotated.sum().clamp(min=1)


def known(points: Tensor, annotated: Tensor) -> Tensor:
    """Points with 0 for NaN: a NaN that is masked later still poisons the gradient."""
    return torch.where(annotated.unsqueeze(-1), points, 0)
