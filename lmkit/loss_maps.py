"""Regression losses: they want maps equal to the targets."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, mse_loss

from lmkit.decoders import argmax, softargmax
from lmkit.loss_common import checked, mean_over, wide


def mse(maps: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    """Mean squared error over the pixels of annotated landmarks.

    Args:
        maps, target: (B, L, H, W), in the same unit.
        annotated: (B, L), True where the landmark counts.
    Returns: scalar, unit of the maps squared; 0, with zero gradient, when nothing is annotated.
    Raises: ValueError for shapes that do not match.
    Source: on heatmaps: Tompson et al. 2014, arXiv:1406.2984.
    """
    checked(maps, target, annotated)
    squared = mse_loss(wide(maps), wide(target), reduction="none")  # one pass, not three
    return mean_over(squared.mean((-2, -1)), annotated)


def weighted_mse(
    maps: Tensor, target: Tensor, annotated: Tensor, weight: float = 10.0, top: float | Tensor = 1.0
) -> Tensor:
    """Mean squared error in which a pixel counts 1 + weight * target / top times.

    Args:
        maps, target, annotated: see `mse`.
        weight: what the peak counts beyond the background; 0 gives `mse`.
        top: the largest value of a target; a number, or broadcasting to (B, L, 1, 1).
    Returns, raises: as `mse`.
    Source: the strategy document, claim 10.
    """
    checked(maps, target, annotated)
    # a mass target folded back at a border is higher than any other: it counts as a peak
    counts = 1 + weight * (wide(target) / top).clamp(0, 1)
    squared = mse_loss(wide(maps), wide(target), reduction="none")
    return mean_over((counts * squared).mean((-2, -1)), annotated)


def combined(
    maps: Tensor,
    target: Tensor,
    annotated: Tensor,
    mse_weight: float | Tensor = 0.7,
    peak_weight: float = 0.3,
    peak_decoder: str = "argmax",
    top: float | Tensor = 1.0,
    beta: float = 25.0,
) -> Tensor:
    """The strategy document's loss: alpha MSE(P, T) + beta (1/N) sum |peak(P_i) - peak(T_i)|_2.

    Args:
        maps, target, annotated: see `mse`. N counts annotated landmarks.
        mse_weight, peak_weight: alpha and beta.
        peak_decoder: argmax, literally: its gradient is exactly zero, the term changes the loss
            and no weight. soft: the softmax-weighted mean position, which has one.
        top, beta: of the soft peak, see `lmkit.decoders.softargmax`.
    Returns: scalar; the first term in the unit of the maps squared, the second in heatmap pixels.
    Raises: ValueError for shapes that do not match, or another peak_decoder.
    """
    if peak_decoder not in ("argmax", "soft"):
        raise ValueError(f"peak_decoder: expected argmax | soft, got {peak_decoder!r}")
    first = mse(maps, target, annotated)
    distance = peak_distance(maps, target, peak_decoder, top, beta)
    return mse_weight * first + peak_weight * mean_over(distance, annotated)


def peak_distance(
    maps: Tensor,
    target: Tensor,
    peak_decoder: str,
    top: float | Tensor = 1.0,
    beta: float = 25.0,
) -> Tensor:
    """(B, L) distance between the peaks of two maps, heatmap pixels; see `combined`."""
    if peak_decoder == "argmax":
        peaks = argmax(wide(maps.detach())), argmax(wide(target))
    else:
        peaks = softargmax(wide(maps), top, beta), softargmax(wide(target), top, beta)
    return torch.linalg.vector_norm(peaks[0] - peaks[1], dim=-1)


def adaptive_wing(
    maps: Tensor,
    target: Tensor,
    annotated: Tensor,
    alpha: float = 2.1,
    omega: float = 14.0,
    epsilon: float = 1.0,
    theta: float = 0.5,
    weight: float = 10.0,
) -> Tensor:
    """Adaptive Wing loss on heatmaps in [0, 1], with its weight map.

    Args:
        maps, target: (B, L, H, W), targets in [0, 1].
        annotated: (B, L).
        alpha, omega, epsilon, theta: of the published formula.
        weight: pixels where the target dilated by 3 x 3 is at least 0.2 count 1 + weight times.
    Returns: scalar, mean over pixels and annotated landmarks.
    Raises: ValueError for shapes that do not match.
    Source: Wang et al. 2019, arXiv:1904.07399.
    """
    checked(maps, target, annotated)
    maps, target = wide(maps), wide(target)
    off, power = (maps - target).abs(), alpha - target
    ratio = (theta / epsilon) ** power
    slope = omega / (1 + ratio) * power * (theta / epsilon) ** (power - 1) / epsilon
    constant = theta * slope - omega * torch.log1p(ratio)
    # where() evaluates both branches: the power's gradient must stay finite beyond theta too
    near = omega * torch.log1p((off.clamp(max=theta) / epsilon) ** power)
    per_pixel = torch.where(off < theta, near, slope * off - constant)
    dilated = max_pool2d(target, 3, stride=1, padding=1)
    return mean_over((per_pixel * (1 + weight * (dilated >= 0.2))).mean((-2, -1)), annotated)
