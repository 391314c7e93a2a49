"""From images through a network to points in the source image."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from lmkit import decoders, heatmap, losses, modes
from lmkit.batches import Batch, Feed
from lmkit.config import RunConfig
from lmkit.fields import InputError
from lmkit.geometry import apply
from lmkit.memory import Room, keep_freed
from lmkit.model import Network, heatmap_matrix
from lmkit.targets import loss_over, targets_of


def pick_device(config: RunConfig) -> torch.device:
    """The device that `config.device` means here. Raises: InputError for cuda without one."""
    has_cuda = torch.cuda.is_available()
    if config.device == "cuda" and not has_cuda:
        raise InputError("device: expected auto or cpu, got cuda, but torch sees no GPU here")
    return torch.device("cuda" if has_cuda and config.device != "cpu" else "cpu")


def pick_precision(config: RunConfig, device: torch.device) -> str:
    """float32 or bf16: what `config.precision` means on this device; auto is bf16 where the device
    computes in it, and not where it only imitates it, which is slower than float32."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bf16" if _cpu_has_bf16() else "float32"


def _cpu_has_bf16() -> bool:
    """Whether the CPU has instructions for bf16 and torch a library that uses them.

    torch's probes are not public and not in every build (macOS has none): one that is missing says
    no. oneDNN's own also says yes of x86 that imitates bf16, so only ARM is asked that way.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        probe = getattr(torch.cpu, name, None)
        if probe is not None and probe():
            return True
    if platform.machine().lower() not in ("aarch64", "arm64"):
        return False
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False


@contextmanager
def true_float32(config: RunConfig, device: torch.device) -> Iterator[None]:
    """Where the arithmetic is float32, convolutions on a GPU compute in it: cuDNN's default there
    is TF32, with 10 of its 23 bits. Written without a GPU at hand."""
    if device.type != "cuda" or pick_precision(config, device) != "float32":
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def maps_of(model: Network, images: Tensor, config: RunConfig) -> Tensor:
    """(B, L, h, w) float32 maps of (B, 1, H, W) images, in the run's precision."""
    return levels_of(model, images, config)[-1][0]


def levels_of(model: Network, images: Tensor, config: RunConfig) -> list[tuple[Tensor, int]]:
    """All maps that a network draws of (B, 1, H, W) images, coarse ones first, each (B, L, h, w)
    float32 with its input pixels per heatmap pixel; in the run's precision."""
    device = images.device
    images = images.contiguous(memory_format=torch.channels_last)
    half = pick_precision(config, device) == "bf16"
    with true_float32(config, device), torch.autocast(device.type, torch.bfloat16, enabled=half):
        return [(maps.float(), stride) for maps, stride in model.levels(images)]


def points_of(maps: Tensor, to_input: Tensor, config: RunConfig, sigma_px: float) -> Tensor:
    """(B, L, 2) xy float64, source pixels, on the CPU.

    Args:
        maps: (B, L, h, w), activated, see `losses.activate`. For a spatial loss `softargmax` is
            the mean of the distribution itself, which is what wing, dsnt_js and star train.
        to_input: (B, 3, 3), from source pixels to input pixels.
        sigma_px: of the targets, heatmap pixels, for the windows of some decoders.
    """
    if config.loss in losses.SPATIAL and config.decoder == "softargmax":
        points = decoders.expectation(maps / maps.sum((-2, -1), keepdim=True))
    else:
        points = heatmap.decode(maps, config.decoder, sigma=sigma_px, beta=config.soft_beta)
    to_heatmap = heatmap_matrix(config.stem_stride) @ to_input
    return apply(torch.linalg.inv(to_heatmap), points.double().cpu())


def window_sigma(model: nn.Module, config: RunConfig) -> float:
    """Sigma that sets the decoders' windows, heatmap pixels: the members' mean, or `sigma_px`
    where targets are in mm, so that no prediction depends on the other images of its batch."""
    if config.sigma_mm is not None:
        return config.sigma_px
    return float(np.mean([member.sigma.mean().item() for member in members_of(model)]))


def confidence(maps: Tensor, config: RunConfig, sigma_px: float) -> Tensor:
    """(B, L) in [0, 1] of activated maps: the height as a share of a target's; for a spatial loss,
    whose maps may be as sharp as they like, the probability near the brightest pixel."""
    if config.loss in losses.SPATIAL:
        return heatmap.mass_near_peak(maps, sigma_px)
    return heatmap.peak(maps)


def members_of(model: nn.Module) -> list[Network]:
    """The networks of an ensemble, or the network alone."""
    members = list(model) if isinstance(model, nn.ModuleList) else [model]
    return cast("list[Network]", members)  # torch knows modules only


def activated(
    maps: Tensor,
    member: Network,
    images: Tensor,
    config: RunConfig,
    height: Tensor,
    partner: np.ndarray | None = None,
) -> Tensor:
    """The maps to decode, (B, L, h, w): activated, with the mirror image's for tta=mirror.

    Args:
        maps: (B, L, h, w), as `member` draws them of `images`, (B, 1, H, W).
        height: (1 or B, L), of a target.
        partner: (L,) the map that each map becomes in a mirrored image.
    """
    seen = losses.activate(maps, config.loss, height)
    if config.tta == "mirror":
        turned = losses.activate(maps_of(member, images.flip(-1), config), config.loss, height)
        seen = (seen + turned.flip(-1)[:, partner]) / 2
    return seen


MODES = 3  # of each map, to look among for where else a landmark might be


@dataclass(frozen=True)
class Inferred:
    """What a model says of N samples.

    Attributes:
        points: (N, L, 2) xy, source pixels.
        peak: (N, L) confidence in [0, 1], of the mean map or the members' mean.
        loss: the mean loss, of an ensemble the members' mean.
        ere_mm: (N, L) how far each map spreads about its point, see `modes.expected_radius_mm`.
        modes: (N, L, K, 2) xy, source pixels: each map's brightest places, those of a cascade in
            its coarse maps, which see the whole image; NaN = none.
        shares: (N, L, K) their heights over the first one's.
        members_mm: (N, L) root mean square distance of the members' points from their mean;
            None for one network.
    """

    points: np.ndarray
    peak: np.ndarray
    loss: float
    ere_mm: np.ndarray | None = None
    modes: np.ndarray | None = None
    shares: np.ndarray | None = None
    members_mm: np.ndarray | None = None


@torch.inference_mode()
def infer(model: nn.Module, feed: Feed, detail: bool = False, room: Room | None = None) -> Inferred:
    """Predict all samples of a feed.

    Args:
        model: a network, or a ModuleList of the members of an ensemble.
        detail: say how sure each point is, too; points and loss alone take less time.
        room: how many images memory has room for, and who is told when there are fewer.
    """
    keep_freed()
    room, total, parts = room or Room(), 0.0, []
    read = partial(_read, model.eval(), feed, losses.build(feed.config), detail)
    for batch in feed.in_order(max(8, feed.config.batch_size)):
        for part, loss in room.fit(len(batch), partial(read, batch)):
            parts.append(part)
            total += loss * len(part["points"])
    whole = {key: torch.cat([part[key] for part in parts]).numpy() for key in parts[0]}
    return Inferred(loss=total / len(feed), **whole)


Found = dict[str, Tensor]  # fields of Inferred, of some samples


def _read(
    model: nn.Module,
    feed: Feed,
    loss_of: losses.Loss,
    detail: bool,
    batch: Batch,
    parts: list[slice],
) -> list[tuple[Found, float]]:
    """What a model says of each part of a batch, and its loss."""
    return [_read_part(model, feed, loss_of, detail, batch.part(rows)) for rows in parts]


def _read_part(
    model: nn.Module, feed: Feed, loss_of: losses.Loss, detail: bool, batch: Batch
) -> tuple[Found, float]:
    config, partner, loss = feed.config, feed.samples.partner, 0.0
    members, sigma_px = members_of(model), window_sigma(model, config)
    active, coarse = [], []
    for member in members:
        levels = levels_of(member, batch.images, config)
        targets = targets_of(batch, config, member.sigma, levels)
        loss += loss_over(levels, targets, loss_of).item() / len(members)
        maps, height = levels[-1][0], targets[-1].height
        active.append(activated(maps, member, batch.images, config, height, partner))
        if detail and len(levels) > 1:
            first = losses.activate(levels[0][0], config.loss, targets[0].height)
        else:
            first = active[-1]
        coarse.append(first)
    one_map = [torch.stack(active).mean(0)]
    read = one_map if config.ensemble_by == "maps" else active
    found = torch.stack([points_of(maps, batch.to_input, config, sigma_px) for maps in read])
    middle = found.quantile(0.5, 0) if config.ensemble_by == "median" else found.mean(0)
    sure = torch.stack([confidence(maps, config, sigma_px) for maps in read]).mean(0)
    part = {"points": middle, "peak": sure.cpu()}
    if detail:
        stride = levels[0][1]
        part["ere_mm"] = _spread_of(one_map[0], middle, batch, config)
        part |= _modes_of(torch.stack(coarse).mean(0), batch, stride, sigma_px)
    if detail and len(members) > 1:
        each = [points_of(maps, batch.to_input, config, sigma_px) for maps in active]
        part["members_mm"] = spread_mm(torch.stack(each), batch.spacing_mm)
    return part, loss


def _spread_of(maps: Tensor, points: Tensor, batch: Batch, config: RunConfig) -> Tensor:
    """(B, L) mm: `modes.expected_radius_mm` of activated maps about points in source pixels."""
    to_heatmap = heatmap_matrix(config.stem_stride) @ batch.to_input
    back = batch.spacing_mm[:, :, None] * torch.linalg.inv(to_heatmap)[:, :2, :2]
    return modes.expected_radius_mm(maps.float(), apply(to_heatmap, points), back).cpu()


def _modes_of(maps: Tensor, batch: Batch, stride: int, sigma_px: float) -> dict[str, Tensor]:
    """Modes in source pixels and their shares, of activated maps with this stride."""
    points, heights = modes.top_modes(maps.float(), MODES, sigma_px)
    to_heatmap = heatmap_matrix(stride) @ batch.to_input
    source = apply(torch.linalg.inv(to_heatmap)[:, None], points.double().cpu())
    return {"modes": source, "shares": (heights / heights[..., :1].clamp(min=1e-12)).cpu()}


def spread_mm(points: Tensor, spacing_mm: Tensor) -> Tensor:
    """(B, L) mm: root mean square distance of K guesses from their mean.

    Args:
        points: (K, B, L, 2) xy, source pixels.
        spacing_mm: (B, 2).
    """
    away = (points - points.mean(0)) * spacing_mm[:, None].to(points)
    return away.square().sum(-1).mean(0).sqrt()
