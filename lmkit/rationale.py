"""What a loss, target or decoder can and cannot do, on single maps and in a few dozen steps.

Notebook 02's measurements. Maps are (N, 1, H, W): N variants of what a network may say about one
landmark, all judged against one target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lmkit import heatmap, losses
from lmkit.batches import Batch
from lmkit.config import RunConfig
from lmkit.geometry import Size
from lmkit.inference import maps_of
from lmkit.losses import SPATIAL, Target
from lmkit.model import build
from lmkit.targets import target_of

FLOOR = 1e-6  # of a distribution, so that its logarithm is finite


def one_target(config: RunConfig, point: tuple[float, float], size: Size | None = None) -> Target:
    """The target of one landmark.

    Args:
        config: sigma, amplitude and target.
        point: xy, heatmap pixels.
        size: (H, W) of the map; that of the settings when not given.
    """
    shape = size or config.heatmap_hw
    stride = config.stem_stride
    points = (torch.tensor([[point]], dtype=torch.float32) + 0.5) * stride - 0.5  # input pixels
    images = torch.zeros(1, 1, 1, 1).expand(1, 1, shape[0] * stride, shape[1] * stride)
    unmoved = torch.eye(3, dtype=torch.float64)[None]
    return target_of(Batch(images, points, unmoved, torch.ones(1, 2, dtype=torch.float64)), config)


def shifted(target: Target, shifts: Sequence[tuple[float, float]]) -> Tensor:
    """(N, 1, H, W): the target's Gaussian, moved by each shift (x, y), heatmap pixels."""
    points = target.points + torch.tensor(shifts, dtype=torch.float32).unsqueeze(1)
    size = (target.maps.shape[-2], target.maps.shape[-1])
    return target.top * heatmap.render(points, size, target.sigma)


def two_modes(target: Target, shift: tuple[float, float], shares: Sequence[float]) -> Tensor:
    """(N, 1, H, W): a share of the peak moved from the landmark to a neighbour at `shift`."""
    here, there = shifted(target, [(0.0, 0.0)]), shifted(target, [shift])
    share = torch.tensor(shares, dtype=torch.float32).view(-1, 1, 1, 1)
    return (1 - share) * here + share * there


def as_output(maps: Tensor, loss: str) -> Tensor:
    """What a network would have to put out for these maps: logits for a spatial loss."""
    if loss not in SPATIAL:
        return maps
    total = maps.sum((-2, -1), keepdim=True).clamp(min=1e-12)
    return (maps / total + FLOOR).log()


def landscape(config: RunConfig, target: Target, maps: Tensor) -> np.ndarray:
    """(N,) loss of each map against the target."""
    loss = losses.build(config)
    return np.array([loss(one[None], target).item() for one in as_output(maps, config.loss)])


def optimise_map(
    config: RunConfig, target: Target, start: Tensor, steps: int, lr: float
) -> tuple[np.ndarray, Tensor]:
    """Let Adam change the pixels of one map under a loss.

    Args:
        start: (1, 1, H, W), values as of the target.
        lr: of Adam, as a share of the range of the first map's values, which is the height of a
            target for regression losses and the range of the logits for spatial ones.
    Returns: (steps + 1,) radial error, heatmap pixels, and the last map (1, 1, H, W), activated.
    """
    free = as_output(start, config.loss).clone()
    rate = lr * (free.max() - free.min()).item()
    optimiser = torch.optim.Adam([free.requires_grad_()], rate)
    loss, errors = losses.build(config), []
    for step in range(steps + 1):
        active = losses.activate(free.detach(), config.loss, target.height)
        found = heatmap.decode(active, config.decoder, sigma=config.sigma_px)
        errors.append(torch.linalg.vector_norm(found - target.points).item())
        if step < steps:
            optimiser.zero_grad()
            loss(free, target).backward()
            optimiser.step()
    return np.array(errors), active


def soft_peak(maps: Tensor, betas: Sequence[float], height: float, divide: bool) -> pd.DataFrame:
    """Where the soft peak of one map lies at each beta, and how hard a step pulls there.

    Args:
        maps: (1, 1, H, W), of height 1; multiplied by `height`.
        divide: by the height again before beta.
    Returns: a row per beta: beta, x, y (heatmap pixels), pull (largest gradient of x in a pixel,
        heatmap pixels per change of a pixel by the map's height).
    """
    rows = []
    for beta in betas:
        free = (height * maps).requires_grad_()
        point = heatmap.decode(free, "softargmax", top=height if divide else 1.0, beta=beta)
        (gradient,) = torch.autograd.grad(point[0, 0, 0], free)
        rows.append((beta, *point[0, 0].tolist(), gradient.abs().max().item() * height))
    return pd.DataFrame(rows, columns=["beta", "x", "y", "pull"])


def mass_at(maps: Tensor, target: Target, shift: tuple[float, float]) -> float:
    """Share of a map's positive mass that lies nearer to the neighbour than to the landmark."""
    height, width = maps.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    here = target.points[0, 0]
    there = here + torch.tensor(shift)
    nearer = (x - there[0]) ** 2 + (y - there[1]) ** 2 < (x - here[0]) ** 2 + (y - here[1]) ** 2
    positive = maps[0, 0].clamp(min=0)
    return (positive[nearer].sum() / positive.sum()).item()


def short_training(
    config: RunConfig, batch: Batch, steps: int
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Train a network from `config.seed` on one batch, again and again.

    Returns: loss, grad_norm and clipped (norm above clip_norm, or above 1 without one) per step,
        and the weights.
    """
    model = build(config, batch.points.shape[1]).train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser, loss_of, rows = torch.optim.Adam(trained, config.lr), losses.build(config), []
    target, limit = target_of(batch, config), config.clip_norm or 1.0
    for _ in range(steps):
        loss = loss_of(maps_of(model, batch.images, config), target)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, config.clip_norm or math.inf).item()
        optimiser.step()
        rows.append((loss.item(), norm, norm > limit))
    return pd.DataFrame(rows, columns=["loss", "grad_norm", "clipped"]), model.state_dict()


def decoder_error(
    method: str, sigma: float, noise: float, size: Size, points: Tensor, seed: int = 0
) -> float:
    """Mean radial error of a decoder on Gaussians of height 1, heatmap pixels.

    Args:
        sigma: heatmap pixels. noise: standard deviation added to every pixel.
        size: (H, W). points: (B, L, 2) xy, heatmap pixels.
    """
    maps = heatmap.render(points, size, sigma)
    generator = torch.Generator().manual_seed(seed)
    maps = maps + noise * torch.randn(maps.shape, generator=generator)
    found = heatmap.decode(maps, method, sigma=sigma)
    return torch.linalg.vector_norm(found - points, dim=-1).mean().item()
