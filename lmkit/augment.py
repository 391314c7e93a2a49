"""Augmentation of images and their points together, in one resampling.

All random functions take a `torch.Generator`; the same generator state gives the same result.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.geometry import Size, affine_matrix, apply, mirror_matrix


def random_affine(
    n: int,
    size: Size,
    *,
    rotate_deg: float,
    scale_range: tuple[float, float],
    translate_frac: float,
    generator: torch.Generator,
) -> Tensor:
    """One random rotation, scale and shift per image, about the image's middle.

    Args:
        n: images.
        size: (H, W), pixels.
        rotate_deg: uniform in ±rotate_deg, degrees.
        scale_range: uniform between the two, times.
        translate_frac: uniform in ±translate_frac of W in x and of H in y.
        generator: on the CPU.
    Returns: (n, 3, 3) float64, from the image to the augmented image.
    """
    draw = torch.rand(n, 4, generator=generator, dtype=torch.float64)
    low, high = scale_range
    return affine_matrix(
        size,
        rotate_deg=(2 * draw[:, 0] - 1) * rotate_deg,
        scale=low + (high - low) * draw[:, 1],
        shift_frac=(2 * draw[:, 2:] - 1) * translate_frac,
    )


def random_mirror(n: int, size: Size, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Every image mirrored left to right, or left as it is, with even odds.

    Args:
        n: images.
        size: (H, W), pixels.
        generator: on the CPU.
    Returns: (n, 3, 3) float64, from the image to the augmented image; (n,) which are mirrored.
    """
    flipped = torch.rand(n, generator=generator) < 0.5
    same = torch.eye(3, dtype=torch.float64)
    return torch.where(flipped[:, None, None], mirror_matrix(size), same), flipped


def random_elastic(
    n: int, size: Size, *, elastic_px: float, cells: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Smooth random displacements: normal on a coarse grid, bicubic in between.

    Args:
        n: images.
        size: (H, W), pixels.
        elastic_px: standard deviation at the knots, pixels. Beyond a tenth of a cell the field
            may fold.
        cells: rows and columns of the grid of knots, each >= 2.
        generator: on the CPU.
    Returns: (n, 2, H, W) float32, dx and dy in pixels, on the CPU.
    """
    knots = torch.randn(n, 2, *cells, generator=generator) * elastic_px
    return F.interpolate(knots, size, mode="bicubic", align_corners=True)


def warp(images: Tensor, matrix: Tensor, size: Size, displacement: Tensor | None = None) -> Tensor:
    """Resample images by affine maps and displacements, once, bilinear, black outside.

    Args:
        images: (B, C, H, W), uint8 or float; B may be 0.
        matrix: (B, 3, 3), from image pixels to output pixels.
        size: (H, W) of the output, pixels.
        displacement: (B, 2, *size), output pixels: output pixel p shows what the affine map alone
            would show at p + displacement(p); `displaced` moves points alike.
    Returns: (B, C, *size), device of `images`; float64 stays so, all else becomes float32.
    Raises: ValueError for shapes that do not match.
    """
    if images.ndim != 4 or matrix.shape != (len(images), 3, 3):
        raise ValueError(
            "images, matrix: expected (B, C, H, W) and (B, 3, 3), "
            f"got {tuple(images.shape)} and {tuple(matrix.shape)}"
        )
    # grid_sample wants, on [-1, 1] from edge to edge, the way back from output to image
    back = _to_unit(images.shape[-2:]) @ torch.linalg.inv(matrix.double().cpu())
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    theta = to_device(back[:, :2].to(dtype), images.device)
    x, y = (torch.arange(n, device=images.device, dtype=dtype) for n in size[::-1])
    along_x = x[:, None] * theta[:, None, None, :, 0]  # (B, 1, W, 2)
    along_y = y[:, None, None] * theta[:, None, None, :, 1] + theta[:, None, None, :, 2]
    moved = [images.new_empty((0, images.shape[1], *size), dtype=dtype)]
    for part in in_cache(images):
        # as complex numbers the pairs are added seven times as fast
        sums = torch.view_as_complex(along_x[part]) + torch.view_as_complex(along_y[part])
        grid = torch.view_as_real(sums)
        if displacement is not None:
            away = displacement[part].to(grid).movedim(1, -1)
            grid = grid + away @ theta[part, None, :, :2].transpose(2, 3)
        pixels = images[part].to(dtype)
        moved.append(F.grid_sample(pixels, grid, padding_mode="zeros", align_corners=False))
    return torch.cat(moved)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """The values there; on a GPU a copy from pinned memory, which nothing waits for.

    From other memory even a matrix is copied only once all that was computed before is done. The
    GPU's part was written without one at hand.
    """
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def in_cache(images: Tensor) -> list[slice]:
    """Parts of a batch, on a CPU one image per thread: what a picture goes through step by step
    then stays in the processor's cache, which is more than twice as fast."""
    together = torch.get_num_threads() if images.device.type == "cpu" else len(images)
    return [slice(i, i + together) for i in range(0, len(images), together)]


def displaced(points: Tensor, displacement: Tensor, steps: int = 12) -> Tensor:
    """Where points go when their image is warped with a displacement: p + displacement(p) = point.

    Args:
        points: (B, L, 2) xy, output pixels, after the affine map; NaN stays NaN.
        displacement: (B, 2, H, W), pixels.
        steps: fixed-point iterations; each shrinks the error by the field's steepest slope.
    Returns: (B, L, 2); NaN where the field folds and the last step was still over 0.05 px.
    """
    height, width = displacement.shape[-2:]
    field = displacement.double()
    per_px = torch.tensor([2 / width, 2 / height], dtype=torch.float64, device=field.device)
    wanted = points.double()
    found = wanted
    for _ in range(steps):
        unit = (torch.nan_to_num(found) + 0.5) * per_px - 1
        offset = F.grid_sample(field, unit.unsqueeze(1), padding_mode="border", align_corners=False)
        before, found = found, wanted - offset.squeeze(2).transpose(1, 2)
    lost = ((found - before).abs() > 0.05).any(-1, keepdim=True)
    return found.masked_fill(lost, torch.nan).to(points.dtype)


def _to_unit(size: Size | torch.Size) -> Tensor:
    """(3, 3): from pixels, centres at integers, to [-1, 1] between the outer edges."""
    height, width = size
    rows = [[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)


def affine(
    images: Tensor,
    points: Tensor,
    *,
    rotate_deg: float = 3.0,
    scale_range: tuple[float, float] = (0.95, 1.05),
    translate_frac: float = 0.03,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Rotate, scale and shift images and their points by the same random maps.

    Args:
        images: (B, C, H, W), float.
        points: (B, L, 2) xy, pixels of `images`; NaN stays NaN.
        rotate_deg, scale_range, translate_frac, generator: see `random_affine`.
    Returns: (B, C, H, W) images, black where nothing was, and (B, L, 2) points.
    """
    size = (images.shape[-2], images.shape[-1])
    matrix = random_affine(
        len(images),
        size,
        rotate_deg=rotate_deg,
        scale_range=scale_range,
        translate_frac=translate_frac,
        generator=generator,
    )
    return warp(images, matrix, size), apply(matrix.to(points.device), points)
