"""Affine maps between pixel frames, as 3 x 3 matrices acting on (x, y, 1).

Pixel centres are at integers: x = 0 is the centre of the left-most pixel, so an image of width W
spans x from -0.5 to W - 0.5. Matrices compose right to left: `B @ A` does A first.
"""

from __future__ import annotations

import torch
from torch import Tensor

Size = tuple[int, int]  # (H, W), pixels


def resize_matrix(size: Size, new_size: Size) -> Tensor:
    """Resize an image to another size: (c + 0.5) * s - 0.5 on each axis.

    Args:
        size, new_size: (H, W), pixels.
    Returns: (3, 3) float64, from the old pixel frame to the new one.
    """
    sy, sx = new_size[0] / size[0], new_size[1] / size[1]
    rows = [[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)


def block_matrix(side: int) -> Tensor:
    """From pixels to squares of `side` x `side` of them: (c + 0.5) / side - 0.5.

    Returns: (3, 3) float64.
    """
    shift = 0.5 / side - 0.5
    rows = [[1 / side, 0, shift], [0, 1 / side, shift], [0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)


def scale_matrix(size: Size, frame: Size, scale: float) -> Tensor:
    """Scale an image by one factor and centre it in a frame. Returns: (3, 3) float64."""
    (height, width), (frame_h, frame_w) = size, frame
    shift_x = 0.5 * scale - 0.5 + (frame_w - scale * width) / 2
    shift_y = 0.5 * scale - 0.5 + (frame_h - scale * height) / 2
    rows = [[scale, 0, shift_x], [0, scale, shift_y], [0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)


def fitted_size(size: Size, frame: Size, keep_aspect: bool) -> Size:
    """(H, W) of an image drawn as large as `frame` allows; the frame itself when squashing."""
    if not keep_aspect:
        return frame
    s = min(frame[0] / size[0], frame[1] / size[1])
    return max(1, round(size[0] * s)), max(1, round(size[1] * s))


def fit_matrix(size: Size, frame: Size, keep_aspect: bool) -> Tensor:
    """Fit an image into a frame: squashed, or scaled by one factor and centred (letterbox).

    The image covers whole pixels of the frame, so the scales of the axes differ by rounding.

    Returns: (3, 3) float64, from the image's pixel frame to the frame's.
    """
    fitted = fitted_size(size, frame, keep_aspect)
    top, left = fitted_offset(fitted, frame)
    matrix = resize_matrix(size, fitted)
    matrix[0, 2] += left
    matrix[1, 2] += top
    return matrix


def fitted_offset(fitted: Size, frame: Size) -> tuple[int, int]:
    """(top, left) at which an image of size `fitted` lies centred in `frame`, pixels."""
    return (frame[0] - fitted[0]) // 2, (frame[1] - fitted[1]) // 2


def mirror_matrix(size: Size) -> Tensor:
    """Mirror left to right: x -> W - 1 - x. Returns: (3, 3) float64."""
    return torch.tensor([[-1, 0, size[1] - 1], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)


def affine_matrix(size: Size, rotate_deg: Tensor, scale: Tensor, shift_frac: Tensor) -> Tensor:
    """Rotate and scale about the middle of the image, then shift.

    Args:
        size: (H, W), pixels.
        rotate_deg: (B,), degrees; positive turns x towards y, clockwise on the screen.
        scale: (B,), times.
        shift_frac: (B, 2) x, y, as a share of (W, H).
    Returns: (B, 3, 3) float64.
    """
    height, width = size
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    shift = shift_frac.double() * torch.tensor([width, height], dtype=torch.float64)
    angle, scale = torch.deg2rad(rotate_deg.double()), scale.double()
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    matrix = torch.zeros(len(angle), 3, 3, dtype=torch.float64)
    matrix[:, 0, 0], matrix[:, 0, 1] = cos, -sin
    matrix[:, 1, 0], matrix[:, 1, 1] = sin, cos
    matrix[:, :2, 2] = centre + shift - (matrix[:, :2, :2] @ centre)
    matrix[:, 2, 2] = 1
    return matrix


def apply(matrix: Tensor, points: Tensor) -> Tensor:
    """Move points by an affine matrix.

    Args:
        matrix: (..., 3, 3).
        points: (..., L, 2) xy; NaN stays NaN.
    Returns: (..., L, 2) in the dtype of `points`, computed in float64.
    """
    moved = points.double() @ matrix[..., :2, :2].double().transpose(-1, -2)
    return (moved + matrix[..., None, :2, 2].double()).to(points.dtype)
