"""Losses between maps and targets; a landmark that is not annotated never enters.

To add one: a function (maps, target, annotated) in `loss_maps` or `loss_spatial`, and its name in
`lmkit.choices.LOSSES`; it is then `lmkit.losses.<name>` too. One with weights of its own also needs
to be called with them here.

Two kinds. Regression losses (mse, weighted_mse, combined, adaptive_wing) want maps equal to the
targets. Spatial losses (cross_entropy, kl, dsnt_js, star, wing) take a softmax over each map and
want it to be the right distribution, or to have the right mean; their maps are logits.

Units. `loss_units=raw` is each loss as published: maps in units of the amplitude, distances in
heatmap pixels. `relative` makes weights mean the same at any amplitude, sigma and heatmap size: a
squared error of 1 is an empty map, a distance of 1 is a hundredth of the map's diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lmkit import loss_maps, loss_spatial
from lmkit.choices import LOSSES
from lmkit.config import RunConfig
from lmkit.decoders import expectation, spatial_softmax
from lmkit.loss_common import wide
from lmkit.loss_maps import adaptive_wing, combined, mse, peak_distance, weighted_mse
from lmkit.loss_spatial import cross_entropy, dsnt_js, kl, star, wing

__all__ = ["adaptive_wing", "combined", "cross_entropy", "dsnt_js", "kl", "mse", "peak_distance"]
__all__ += ["Target", "activate", "build", "star", "weighted_mse", "wing"]


@dataclass(frozen=True)
class Target:
    """What the maps of a batch should be.

    Attributes:
        maps: (B, L, H, W); zero where not annotated.
        points: (B, L, 2) xy, heatmap pixels; NaN = not annotated.
        sigma: (1 or B, L, 2) along x and y, heatmap pixels.
        top: (1 or B, L), what relative units divide the maps by: the height of a target.
        height: (1 or B, L), the height of a target; differs from `top` where sigma is learned.
        energy: (1 or B, L), pixels: the summed squares of a target of height 1.
        penalty: scalar, added to the loss in relative units; for a learned sigma.
    """

    maps: Tensor
    points: Tensor
    sigma: Tensor
    top: Tensor
    height: Tensor
    energy: Tensor
    penalty: Tensor | None = None

    @property
    def annotated(self) -> Tensor:
        """(B, L), True where the landmark counts."""
        return ~self.points.isnan().any(-1)


Loss = Callable[[Tensor, Target], Tensor]


# the module that defines a loss decides what its maps are: here, logits of a distribution
SPATIAL = tuple(n for n in LOSSES if hasattr(loss_spatial, n))


def __getattr__(name: str) -> Callable[..., Tensor]:
    """A loss that is registered in `LOSSES`, from the module that defines it."""
    if name not in LOSSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(loss_spatial if name in SPATIAL else loss_maps, name)


def activate(maps: Tensor, loss: str, height: Tensor) -> Tensor:
    """What to decode and show: the maps as shares of a target's height, or for a spatial loss
    their softmax as a distribution.

    Args:
        maps: (B, L, H, W), as the network gives them.
        loss: a name in `LOSSES`.
        height: (1 or B, L), of a target.
    Returns: (B, L, H, W).
    """
    if loss in SPATIAL:
        return spatial_softmax(wide(maps))
    return maps / height[..., None, None]


def build(config: RunConfig) -> Loss:
    """The loss that `config.loss` names, with the settings' weights, in the settings' units."""
    relative = config.loss_units == "relative"

    def loss(maps: Tensor, target: Target) -> Tensor:
        if config.loss in SPATIAL:
            return _spatial(maps, target, config, relative)
        unit = maps[0, 0].numel() / target.energy.mean()  # an empty map costs the energy
        total = _regression(maps, target, config, unit if relative else 1.0)
        if target.penalty is not None:
            weight = 1.0 if relative else config.amplitude**2 / unit
            total = total + weight * target.penalty
        return total

    return loss


def _regression(maps: Tensor, target: Target, config: RunConfig, unit: float | Tensor) -> Tensor:
    """A regression loss; relative where `unit`, what a mean squared error is multiplied by, is
    not 1."""
    relative, wanted, top = (
        config.loss_units == "relative",
        target.maps,
        target.top[..., None, None],
    )
    if relative or config.loss == "adaptive_wing":
        maps, wanted, top = maps / top, wanted / top, torch.ones_like(top)
    if config.loss == "weighted_mse":
        return unit * weighted_mse(maps, wanted, target.annotated, config.pixel_weight, top)
    if config.loss == "adaptive_wing":
        return adaptive_wing(maps, wanted.clamp(max=1), target.annotated)  # made for [0, 1]
    if config.loss != "combined":
        function: Callable[..., Tensor] = getattr(loss_maps, config.loss)
        return unit * function(maps, wanted, target.annotated)
    percent = 100 / math.hypot(*maps.shape[-2:]) if relative else 1.0
    return combined(
        maps,
        wanted,
        target.annotated,
        mse_weight=config.mse_weight * unit,
        peak_weight=config.peak_weight * percent,
        peak_decoder=config.peak_decoder,
        top=top,
        beta=config.soft_beta,
    )


def _spatial(maps: Tensor, target: Target, config: RunConfig, relative: bool) -> Tensor:
    """A spatial loss; only wing has a unit to choose."""
    annotated = target.annotated
    if config.loss == "dsnt_js":
        return dsnt_js(maps, target.points, annotated, target.sigma, config.js_weight)
    if config.loss == "star":
        return star(maps, target.points, annotated, config.star_restriction)
    if config.loss != "wing":
        function: Callable[..., Tensor] = getattr(loss_spatial, config.loss)
        return function(maps, target.maps, annotated)
    percent = 100 / math.hypot(*maps.shape[-2:]) if relative else 1.0
    points = expectation(spatial_softmax(wide(maps))) * percent
    return wing(points, target.points * percent, annotated, config.wing_omega, config.wing_epsilon)
