"""U-Net: from an image to one heatmap per landmark."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class DoubleConv(nn.Sequential):
    """Twice 3 x 3 convolution, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        layers: list[nn.Module] = []
        for c in (c_in, c_out):
            layers += [nn.Conv2d(c, c_out, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """U-Net; widths (64, 128, 256, 512, 1024) with stem stride 1 is the classical one.

    A stem stride s folds s x s pixels into channels before the first level, so a heatmap pixel
    covers s x s input pixels: heatmap (c + 0.5) * s - 0.5 is the input pixel.

    Args:
        n_maps: L, heatmaps.
        widths: channels per level; the size halves from one level to the next.
        channels: C of the images.
        stem_stride: input pixels per heatmap pixel.
        sigma: of the targets at first; kept with the weights as `sigma`, one per landmark.
        learn_sigma: `sigma` is trained.
        dropout: share of the deepest level's channels dropped while training.
    Source: Ronneberger et al. 2015, arXiv:1505.04597, with batch norm and padded convolutions.
    """

    def __init__(
        self,
        n_maps: int,
        widths: tuple[int, ...],
        stem_stride: int = 1,
        sigma: float = 2.0,
        learn_sigma: bool = False,
        channels: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        start = torch.full((n_maps,), math.log(sigma))
        self.log_sigma = nn.Parameter(start, requires_grad=learn_sigma)
        self.fold = nn.PixelUnshuffle(stem_stride)
        self.down = nn.ModuleList(
            DoubleConv(c_in, c_out)
            for c_in, c_out in zip((channels * stem_stride**2, *widths[:-1]), widths, strict=True)
        )
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, c, 2, stride=2) for deep, c in steps)
        self.merge = nn.ModuleList(DoubleConv(2 * c, c) for _, c in steps)
        self.drop = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(widths[0], n_maps, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, L, H / s, W / s)."""
        return self.maps(self.features(images))

    def levels(self, images: Tensor) -> list[tuple[Tensor, int]]:
        """The maps that a loss is taken of, each with its input pixels per heatmap pixel."""
        return [(self(images), self.fold.downscale_factor)]

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, widths[0], H / s, W / s), what the maps are drawn from."""
        stride = self.fold.downscale_factor
        x, skips = images if stride == 1 else self.fold(images), []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        x = self.drop(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return x

    def maps(self, features: Tensor) -> Tensor:
        """(B, widths[0], h, w) -> (B, L, h, w) float32."""
        with torch.autocast(features.device.type, enabled=False):
            # 8 bits of mantissa in a logit of 20 are a third of a pixel after decoding
            return self.head(features.float())

    @property
    def sigma(self) -> Tensor:
        """(L,) sigma of the targets, in the unit of the settings: heatmap pixels or mm."""
        return self.log_sigma.exp()
