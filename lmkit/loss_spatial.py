"""Spatial losses: a softmax over each map should be the right distribution, or have the right mean.

Their maps are logits. `wing` takes the mean positions themselves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from lmkit.decoders import expectation, spatial_softmax
from lmkit.loss_common import checked, known, mean_over, wide


def wing(
    points: Tensor, true: Tensor, annotated: Tensor, omega: float = 10.0, epsilon: float = 2.0
) -> Tensor:
    """Wing loss on coordinates: omega ln(1 + |d| / epsilon) for |d| < omega, else |d| - C.

    Args:
        points, true: (B, L, 2) xy, in one unit; NaN in `true` where not annotated.
        annotated: (B, L).
        omega: where the logarithm ends, unit of the points.
        epsilon: how sharp it is at 0, same unit.
    Returns: scalar: mean over landmarks of the sum over x and y.
    Raises: ValueError for shapes that do not match.
    Source: Feng et al. 2018, arXiv:1711.06753; (10, 2) as in MMPose, (15, 3) as in KNEEL.
    """
    if points.shape != true.shape or annotated.shape != points.shape[:2]:
        raise ValueError(
            "points, true, annotated: expected (B, L, 2) twice and (B, L), got "
            f"{tuple(points.shape)}, {tuple(true.shape)} and {tuple(annotated.shape)}"
        )
    off = (wide(points) - known(wide(true), annotated)).abs()
    constant = omega - omega * math.log1p(omega / epsilon)
    per_axis = torch.where(off < omega, omega * torch.log1p(off / epsilon), off - constant)
    return mean_over(per_axis.sum(-1), annotated)


def cross_entropy(logits: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    """Cross-entropy of a softmax over each map with the target as a distribution.

    Args:
        logits, target: (B, L, H, W); each target map is divided by its sum.
        annotated: (B, L); a landmark whose target map is empty does not count either.
    Returns: scalar, nats; its least value is the target's entropy, see `kl`.
    Raises: ValueError for shapes that do not match.
    Source: He et al. 2017, arXiv:1703.06870, whose target is one pixel.
    """
    checked(logits, target, annotated)
    wanted = wide(target).flatten(-2)
    mass = wanted.sum(-1, keepdim=True)
    wanted = wanted / mass.clamp(min=1e-12)
    per_map = -(wanted * wide(logits).flatten(-2).log_softmax(-1)).sum(-1)
    return mean_over(per_map, annotated & (mass.squeeze(-1) > 0))


def kl(logits: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a softmax over each map from the target: nats, 0 when equal.

    The cross-entropy less the target's own entropy: same gradient, another zero.

    Args, raises: as `cross_entropy`.
    Source: Nibali et al. 2018, arXiv:1801.07372, one of their regularisers.
    """
    wanted = wide(target).flatten(-2)
    mass = wanted.sum(-1, keepdim=True)
    entropy = -torch.special.xlogy(*[wanted / mass.clamp(min=1e-12)] * 2).sum(-1)
    return cross_entropy(logits, target, annotated) - mean_over(
        entropy, annotated & (mass.squeeze(-1) > 0)
    )


def dsnt_js(
    logits: Tensor, points: Tensor, annotated: Tensor, sigma: Tensor, js_weight: float = 1.0
) -> Tensor:
    """Distance of the softmax's mean from the landmark, plus its Jensen-Shannon divergence from a
    Gaussian there.

    Args:
        logits: (B, L, H, W).
        points: (B, L, 2) xy, heatmap pixels; NaN where not annotated.
        annotated: (B, L).
        sigma: of the Gaussian, heatmap pixels; broadcasts to (B, L, 2).
        js_weight: of the divergence (nats) against the distance.
    Returns: scalar; the distance in half widths of the map, as published.
    Raises: ValueError for shapes that do not match.
    Source: Nibali et al. 2018, arXiv:1801.07372.
    """
    probability = spatial_softmax(wide(logits))
    true = known(wide(points), annotated)
    off = (expectation(probability) - true) / _half_widths(logits)
    distance = torch.linalg.vector_norm(off, dim=-1)
    wanted = _gaussian(true, sigma, logits.shape[-2:])
    middle = (probability + wanted) / 2
    tiny = 1e-30

    def divergence(p: Tensor) -> Tensor:
        return (p * ((p + tiny).log() - (middle + tiny).log())).sum((-2, -1))

    return mean_over(
        distance + js_weight * (divergence(probability) + divergence(wanted)) / 2, annotated
    )


def _gaussian(points: Tensor, sigma: Tensor, size: torch.Size) -> Tensor:
    """(B, L, H, W) Gaussians that sum to 1 on the map, float32."""
    width = torch.as_tensor(sigma, dtype=points.dtype, device=points.device)
    width = width.broadcast_to(points.shape)
    axes = []
    for axis, length in ((1, size[0]), (0, size[1])):
        pixel = torch.arange(length, device=points.device, dtype=points.dtype)
        off = (pixel - points[..., axis : axis + 1]) / width[..., axis : axis + 1]
        axes.append((-0.5 * off.square()).softmax(-1))
    return axes[0].unsqueeze(-1) * axes[1].unsqueeze(-2)


def star(logits: Tensor, points: Tensor, annotated: Tensor, restriction: float = 1.0) -> Tensor:
    """STAR: the error along each principal axis of the predicted distribution counts less where
    the distribution is wide, for an edge is clicked anywhere along it.

    Args:
        logits: (B, L, H, W).
        points: (B, L, 2) xy, heatmap pixels; NaN where not annotated.
        annotated: (B, L).
        restriction: weight of the sum of both variances, without which widening would pay.
    Returns: scalar: sum over both axes of smooth-L1(error, knee 0.01) / SD, plus restriction times
        the sum of the two variances; errors and SD in half widths of the map, so the same at any
        resolution.
    Raises: ValueError for shapes that do not match.
    Source: Zhou et al. 2023, arXiv:2306.02763. The axes' directions are taken as constants.
    """
    probability = spatial_softmax(wide(logits))
    half = _half_widths(logits)
    mean = expectation(probability)
    a, b, c = _covariance(probability, mean)
    covariance = (a / half[0] ** 2, b / (half[0] * half[1]), c / half[1] ** 2)
    longer = 0.5 * torch.atan2(2 * covariance[1], covariance[0] - covariance[2]).detach()
    off = (known(wide(points), annotated) - mean) / half
    return mean_over(_along_axes(off, covariance, longer, restriction), annotated)


KNEE, LEAST_VARIANCE = 0.01, 1e-6  # half widths, and their square


def _along_axes(
    off: Tensor, covariance: tuple[Tensor, ...], angle: Tensor, restriction: float
) -> Tensor:
    """(B, L): STAR for (B, L, 2) errors, with the longer axis at (B, L) angles, radians."""
    (a, b, c), cos, sin = covariance, angle.cos(), angle.sin()
    total = torch.zeros_like(a)
    for ux, uy in ((cos, sin), (-sin, cos)):
        variance = (ux * ux * a + 2 * ux * uy * b + uy * uy * c).clamp(min=LEAST_VARIANCE)
        along = ux * off[..., 0] + uy * off[..., 1]
        smooth = smooth_l1_loss(along, torch.zeros_like(along), reduction="none", beta=KNEE)
        total = total + smooth / variance.sqrt() + restriction * variance
    return total


def _half_widths(maps: Tensor) -> Tensor:
    """(2,) half the width and half the height of the maps, heatmap pixels."""
    half = (maps.shape[-1] / 2, maps.shape[-2] / 2)
    return torch.tensor(half, dtype=wide(maps[:0]).dtype, device=maps.device)


def _covariance(probability: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L) variance along x, covariance, variance along y, of distributions with these means."""
    height, width = probability.shape[-2:]
    dx = torch.arange(width, device=mean.device, dtype=mean.dtype) - mean[..., :1]
    dy = torch.arange(height, device=mean.device, dtype=mean.dtype) - mean[..., 1:]
    along_x, along_y = probability.sum(-2), probability.sum(-1)
    xy = torch.einsum("blhw,blh,blw->bl", probability, dy, dx)
    return (along_x * dx * dx).sum(-1), xy, (along_y * dy * dy).sum(-1)
