"""What the maps of a batch should be, on each grid that a network draws on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lmkit import heatmap, losses
from lmkit.augment import to_device
from lmkit.batches import Batch
from lmkit.config import RunConfig
from lmkit.geometry import apply
from lmkit.losses import Target
from lmkit.model import heatmap_matrix


def target_of(
    batch: Batch, config: RunConfig, sigma: Tensor | None = None, stride: int | None = None
) -> Target:
    """What the maps of a batch should be.

    Args:
        sigma: (L,) as `UNet.sigma` has it; that of the settings' first epoch when not given.
        stride: input pixels per heatmap pixel; `stem_stride` when not given. A sigma in heatmap
            pixels is one of these maps' pixels.
    """
    device, stride = batch.points.device, stride or config.stem_stride
    points = apply(to_device(heatmap_matrix(stride), device), batch.points)
    height, width = (size // stride for size in batch.images.shape[-2:])
    first = config.sigma_at(0)
    if sigma is None:
        sigma = torch.full((points.shape[1],), first, device=device)
    per_unit = torch.ones(1, 1, 2, device=device)  # heatmap pixels per unit of sigma
    if config.sigma_mm is not None:
        per_unit = to_device((batch.px_per_mm / stride).float(), device).unsqueeze(1)
    widths = sigma.unsqueeze(-1) * per_unit  # (1 or B, L, 2)
    area, energy = heatmap.profile_sums(widths.detach(), config.target)
    top = torch.full_like(area, config.amplitude)
    top = top / area if config.target == "mass" else top
    maps = heatmap.render(
        points, (height, width), widths, amplitude=config.amplitude, target=config.target
    )
    if config.learn_sigma:  # the mass is held, so that neither 0 nor infinity is the best sigma
        ratio = (sigma / first).square()
        penalty = config.sigma_penalty * ratio.mean()
        maps, shown = maps / ratio[:, None, None], top / ratio.detach()
        first_energy = energy / ratio.detach()  # of the first sigma: the unit must not move
        return Target(maps, points, widths, top, shown, first_energy, penalty)
    if config.hold_peak:
        held = heatmap.true_peak(first * per_unit, config.amplitude, config.target)
        maps, top = maps * (held / top)[..., None, None], held.expand_as(top)
    return Target(maps, points, widths, top, top, energy)


def targets_of(
    batch: Batch, config: RunConfig, sigma: Tensor, levels: Sequence[tuple[Tensor, int]]
) -> list[Target]:
    """What each of a network's maps should be; see `target_of`."""
    return [target_of(batch, config, sigma, stride) for _, stride in levels]


def loss_over(
    levels: Sequence[tuple[Tensor, int]], targets: Sequence[Target], loss: losses.Loss
) -> Tensor:
    """The loss of all maps of a network, summed."""
    parts = [loss(maps, want) for (maps, _), want in zip(levels, targets, strict=True)]
    return torch.stack(parts).sum()
