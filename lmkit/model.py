"""The network of a run, its weights as they are stored, and the frame of its heatmaps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmkit.cascade import Cascade
from lmkit.config import RunConfig
from lmkit.geometry import block_matrix
from lmkit.unet import UNet

Network = UNet | Cascade


def build(config: RunConfig, n_maps: int) -> Network:
    """The network of a run, its weights drawn from `config.seed` and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        sigma, learn = config.sigma_at(0), config.learn_sigma
        if config.model == "cascade":
            return Cascade(
                n_maps,
                config.widths,
                config.fine_widths,
                stem_stride=config.stem_stride,
                coarse_stride=config.coarse_stride,
                crop_px=config.crop_px,
                sigma=sigma,
                learn_sigma=learn,
                dropout=config.dropout,
            )
        return UNet(n_maps, config.widths, config.stem_stride, sigma, learn, dropout=config.dropout)


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights on the CPU, in plain memory order, as safetensors stores them."""
    return {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in model.state_dict().items()
    }


def heatmap_matrix(stride: int) -> Tensor:
    """(3, 3) float64: from input pixels to heatmap pixels, (c + 0.5) / s - 0.5."""
    return block_matrix(stride)
