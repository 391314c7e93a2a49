"""Points to maps and back. Heatmap pixels throughout; pixel centres at integers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lmkit import decoders
from lmkit.choices import DECODERS, TARGETS
from lmkit.fields import nearest

Size = tuple[int, int]  # (H, W), pixels


def render(
    points: Tensor,
    size: Size,
    sigma: float | Tensor,
    amplitude: float = 1.0,
    target: str = "peak",
) -> Tensor:
    """Draw one Gaussian per landmark.

    Args:
        points: (B, L, 2) xy, heatmap pixels, pixel centres at integers; NaN = not annotated.
        size: (H, W), pixels.
        sigma: standard deviation, heatmap pixels, > 0: one for all, or a tensor that broadcasts to
            (B, L, 2), along x and along y; on a GPU its values are not looked at.
        amplitude: `target=peak`: the value at the landmark itself. `target=mass`: the height of a
            delta at the rounded landmark before a normalised Gaussian blur, cut at radius
            int(sigma + 0.5) and reflected at the borders; 1000 becomes 30.7 at sigma 3.
        target: peak | mass.
    Returns: (B, L, H, W), dtype and device of `points`; a NaN point gives a zero map, and so does,
        for `mass`, a point that rounds to a pixel outside the map.
    Raises: ValueError for a bad shape, sigma or target.
    Source: peak: Tompson et al. 2014, arXiv:1406.2984, not normalised to sum 1. mass: the strategy
        document's generator, scipy.ndimage.gaussian_filter(delta, sigma, truncate=1).
    """
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ValueError(f"points: expected shape (B, L, 2), got {tuple(points.shape)}")
    if target not in TARGETS:
        raise ValueError(
            f"target: expected {' | '.join(TARGETS)}, got {target!r}{nearest(target, TARGETS)}"
        )
    sigma_x, sigma_y = _sigma_of(sigma, points)
    profile = _peak_profile if target == "peak" else _mass_profile
    along_x = profile(points[..., 0], size[1], sigma_x)
    along_y = profile(points[..., 1], size[0], sigma_y)
    annotated = ~points.isnan().any(-1, keepdim=True)
    along_y = torch.where(annotated, amplitude * along_y, 0)
    along_x = torch.where(annotated, along_x, 0)  # NaN * 0 is NaN: both factors must be clean
    return along_y.unsqueeze(-1) * along_x.unsqueeze(-2)


def _sigma_of(sigma: float | Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L) or scalar sigma along x and along y. Raises: ValueError."""
    widths = torch.as_tensor(sigma, dtype=points.dtype, device=points.device)
    # of a tensor on a GPU one cannot know without waiting until all before it is computed
    known = not isinstance(sigma, Tensor) or sigma.device.type == "cpu"
    if known and not (torch.as_tensor(sigma) > 0).all():
        raise ValueError(f"sigma: expected > 0, got {widths.min().item()}")
    if widths.ndim == 0:
        return widths, widths
    try:
        widths = widths.broadcast_to(points.shape)
    except RuntimeError:
        raise ValueError(
            f"sigma: expected a number or a shape that broadcasts to {tuple(points.shape)}, got "
            f"{tuple(widths.shape)}"
        ) from None
    return widths[..., 0], widths[..., 1]


def _peak_profile(centre: Tensor, length: int, sigma: Tensor) -> Tensor:
    """(B, L) -> (B, L, length): one axis of a Gaussian with value 1 at `centre`."""
    pixel = torch.arange(length, device=centre.device, dtype=centre.dtype)
    return torch.exp(-0.5 * ((pixel - centre.unsqueeze(-1)) / sigma.unsqueeze(-1)) ** 2)


def _mass_profile(centre: Tensor, length: int, sigma: Tensor) -> Tensor:
    """(B, L) -> (B, L, length): one axis of a delta at round(centre) after the cut blur."""
    sigma = sigma.unsqueeze(-1)
    radius = (sigma + 0.5).floor()
    pixel = torch.arange(length, device=centre.device, dtype=centre.dtype)
    middle = centre.round().unsqueeze(-1)

    def weight(offset: Tensor) -> Tensor:
        return torch.exp(-0.5 * (offset / sigma) ** 2) * (offset.abs() <= radius)

    reach = int(radius.max())
    kernel = weight(torch.arange(-reach, reach + 1, device=centre.device, dtype=centre.dtype))
    folded = weight(pixel - middle) + weight(pixel + middle + 1)
    folded = folded + weight(
        2 * length - 1 - middle - pixel
    )  # reflect: d c b a | a b c d | d c b a
    inside = (middle >= 0) & (middle <= length - 1)
    return torch.where(inside, folded / kernel.sum(-1, keepdim=True), 0)


def decode(
    maps: Tensor,
    method: str = "dark",
    *,
    sigma: float = 2.0,
    top: float = 1.0,
    beta: float = 25.0,
) -> Tensor:
    """Where each map peaks.

    Args:
        maps: (B, L, H, W).
        method: argmax | quarter | dark | local_softargmax | softargmax | gaussian_fit, see
            `lmkit.decoders` for what each is off by, at the border too.
        sigma: heatmap pixels; the windows of local_softargmax and gaussian_fit follow it.
        top: the largest value of a target, see `true_peak`; for softargmax only.
        beta: of softargmax.
    Returns: (B, L, 2) xy, heatmap pixels, float32 (float64 for float64 maps); an empty map gives
        a point that means nothing, see `peak` for a confidence that tells.
    Raises: ValueError for a bad shape or method.
    """
    if maps.ndim != 4:
        raise ValueError(f"maps: expected shape (B, L, H, W), got {tuple(maps.shape)}")
    if method not in DECODERS:
        raise ValueError(
            f"method: expected {' | '.join(DECODERS)}, got {method!r}{nearest(method, DECODERS)}"
        )
    maps = maps if maps.dtype == torch.float64 else maps.float()
    if method == "softargmax":
        return decoders.softargmax(maps, top, beta)
    if method in ("local_softargmax", "gaussian_fit"):
        return getattr(decoders, method)(maps, sigma)
    return getattr(decoders, method)(maps)


def peak(maps: Tensor, amplitude: float | Tensor = 1.0) -> Tensor:
    """Height of each map's maximum as a share of the target's height: a confidence in [0, 1].

    Args:
        maps: (B, L, H, W).
        amplitude: what the map is at a landmark that is found for sure, see `true_peak`; a number,
            or broadcasting to (B, L).
    Returns: (B, L).
    """
    return (maps.float().amax((-2, -1)) / amplitude).clamp(0, 1)


def true_peak(sigma: float | Tensor, amplitude: float = 1.0, target: str = "peak") -> Tensor:
    """The largest value of a rendered target: `amplitude` itself for peak, far less for mass.

    Args:
        sigma: heatmap pixels; a number, or (..., 2) along x and y.
    Returns: (...), one value for a number; a mass target's value well away from the borders.
    """
    area, _ = profile_sums(sigma, target)
    return amplitude / area if target == "mass" else torch.full_like(area, float(amplitude))


def profile_sums(sigma: float | Tensor, target: str = "peak") -> tuple[Tensor, Tensor]:
    """Sum of the values and of their squares of a target of height 1, away from the borders.

    Args:
        sigma: heatmap pixels; a number, or (..., 2) along x and y.
    Returns: (...) and (...), pixels; 2 pi sigma^2 and pi sigma^2 for target peak.
    """
    widths = torch.as_tensor(sigma, dtype=torch.float32)
    widths = widths.expand(2) if widths.ndim == 0 else widths
    if target == "peak":
        product = widths.prod(-1)
        return 2 * math.pi * product, math.pi * product
    reach = int(widths.max() + 0.5)
    offset = torch.arange(-reach, reach + 1, device=widths.device, dtype=widths.dtype)
    kernel = torch.exp(-0.5 * (offset / widths.unsqueeze(-1)) ** 2)
    kernel = kernel * (offset.abs() <= (widths + 0.5).floor().unsqueeze(-1))
    return kernel.sum(-1).prod(-1), kernel.square().sum(-1).prod(-1)


def mass_near_peak(distribution: Tensor, sigma: float) -> Tensor:
    """Probability within 1.5 sigma of each map's brightest pixel, as a share of a Gaussian's own.

    Args:
        distribution: (B, L, H, W), summing to 1 over each map.
        sigma: of the rendered Gaussian, heatmap pixels.
    Returns: (B, L), in [0, 1]: a confidence for maps whose width nothing fixes.
    """
    radius = max(1, round(1.5 * sigma))
    inside = decoders.window_sum(distribution, radius)
    expected = math.erf((radius + 0.5) / (sigma * math.sqrt(2))) ** 2
    return (inside / expected).clamp(0, 1)
