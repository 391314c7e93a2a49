"""Coarse to fine in one network: where about on the whole image, where exactly in a window.

The first network sees the image reduced to heatmap size and draws coarse maps: enough to tell a
structure from its neighbour, and cheap. About each landmark's brightest coarse pixel a second
network sees a window of the image as it is and draws the map there. Both are trained at once, each
against targets on its own grid; a window in the wrong place has an empty target, so that the second
network also learns to see nothing there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.unet import UNet


class Cascade(nn.Module):
    """Two U-Nets, the second in one window per landmark.

    Args:
        n_maps: L, heatmaps.
        widths: channels per level of the first network.
        fine_widths: channels per level of the second.
        stem_stride: input pixels per heatmap pixel.
        coarse_stride: heatmap pixels per pixel of the coarse maps.
        crop_px: side of the square windows, heatmap pixels.
        sigma, learn_sigma: as for `UNet`.
        dropout: as for `UNet`, of the first network.
    Source: coarse heatmaps, then windows about their peaks: Zhong et al. 2019, MICCAI.
    """

    def __init__(
        self,
        n_maps: int,
        widths: tuple[int, ...],
        fine_widths: tuple[int, ...],
        stem_stride: int = 2,
        coarse_stride: int = 4,
        crop_px: int = 32,
        sigma: float = 2.0,
        learn_sigma: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.coarse = UNet(n_maps, widths, coarse_stride, sigma, learn_sigma, dropout=dropout)
        # the second network sees the image's pixels and, from the first, features about them
        self.fine = UNet(n_maps, fine_widths, 1, channels=stem_stride**2 + widths[0])
        self.stem_stride, self.coarse_stride, self.crop_px = stem_stride, coarse_stride, crop_px
        self.fold = nn.PixelUnshuffle(stem_stride)

    @property
    def log_sigma(self) -> nn.Parameter:
        """Of the targets, see `UNet`."""
        return self.coarse.log_sigma

    @property
    def sigma(self) -> Tensor:
        """(L,) sigma of the targets, in the unit of the settings: heatmap pixels or mm."""
        return self.coarse.sigma

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, L, H / s, W / s), zero outside the windows."""
        return self.levels(images)[-1][0]

    def levels(self, images: Tensor) -> list[tuple[Tensor, int]]:
        """Both networks' maps (B, L, H / stride, W / stride), coarse ones first, and strides."""
        s, k = self.stem_stride, self.coarse_stride
        small = F.avg_pool2d(images[:, 0], s)[:, None]  # three axes: faster
        features = self.coarse.features(small)
        coarse = self.coarse.maps(features)
        rows, columns = self.windows(coarse)
        # of shape, not len: in an ONNX file the number of images stays open
        image = torch.arange(images.shape[0], device=images.device).view(-1, 1, 1, 1)
        landmark = torch.arange(coarse.shape[1], device=images.device).view(1, -1, 1, 1)
        row, column = _grid(rows, columns, self.crop_px)
        # windows start on whole coarse pixels, whose features are repeated
        context = features.movedim(1, -1)[image, _over(row, k), _over(column, k)]
        context = context.flatten(0, 1).movedim(-1, 1)
        source = _grid(s * rows, s * columns, s * self.crop_px)
        pixels = self.fold(images[:, 0][image, *source].flatten(0, 1)[:, None])
        seen = torch.cat([pixels.to(context.dtype), context], 1)  # (B * L, C, crop, crop)
        seen = seen.contiguous(memory_format=torch.channels_last)
        every = self.fine(seen).unflatten(0, coarse.shape[:2])  # L maps of each landmark's window
        maps = every.diagonal(dim1=1, dim2=2).movedim(-1, 1)
        where = tuple(t.expand_as(maps) for t in (image, landmark, row, column))
        fine = coarse.new_zeros(*coarse.shape[:2], *(k * n for n in coarse.shape[-2:]))
        return [(coarse, k * s), (fine.index_put_(where, maps), s)]

    def windows(self, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """First row and column (B, L) of each landmark's window, heatmap pixels.

        Args:
            coarse: (B, L, h, w). The window is about the brightest pixel, moved inside the map.
        """
        height, width = coarse.shape[-2:]
        size = self.crop_px // self.coarse_stride
        at = coarse.detach().flatten(2).argmax(-1)
        row = (_over(at, width) - size // 2).clamp(0, height - size)
        column = (at % width - size // 2).clamp(0, width - size)
        return row * self.coarse_stride, column * self.coarse_stride


def _grid(rows: Tensor, columns: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Row and column, each broadcasting to (B, L, size, size), of windows that start there."""
    step = torch.arange(size, device=rows.device)
    return rows[..., None, None] + step[:, None], columns[..., None, None] + step


def _over(numbers: Tensor, divisor: int) -> Tensor:
    return numbers.div(divisor, rounding_mode="floor")
