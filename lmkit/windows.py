"""The part of an image that a reader looks at, and where a click on its picture lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmkit.geometry import Size

NEAR = "label set"
VIEWS = (NEAR, "landmark", "whole")


@dataclass(frozen=True)
class Window:
    """x, y of the first pixel and the size, px of the image; pixel centres at integers."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """The window's part of an (H, W) image."""
        rows = slice(self.y, self.y + self.height)
        return pixels[rows, self.x : self.x + self.width]

    def to_window(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) px of the image to px of the window."""
        return points - np.array([self.x, self.y])

    def at(self, right: float, down: float) -> tuple[float, float]:
        """Where a click lies, px of the image.

        Args:
            right, down: shares of the picture's width and height, from its upper left corner.
        """
        return self.x + right * self.width - 0.5, self.y + down * self.height - 0.5

    def holds(self, points: np.ndarray) -> np.ndarray:
        """(N,) whether (N, 2) px of the image lie on its pixels; NaN does not."""
        x, y = self.to_window(points).T
        within = (x >= -0.5) & (x <= self.width - 0.5)
        return within & (y >= -0.5) & (y <= self.height - 0.5)


def whole(hw: Size) -> Window:
    """All of an image of (H, W)."""
    return Window(0, 0, hw[1], hw[0])


def about(point: np.ndarray, half_px: float, hw: Size) -> Window:
    """A square about a point, moved or cut so that it lies in an image of (H, W).

    Args:
        point: (2,) xy, px. half_px: half its side.
    """
    side, start = round(2 * half_px), np.round(np.asarray(point, float) - half_px)
    width, height = min(side, hw[1]), min(side, hw[0])
    x, y = np.clip(start, 0, [hw[1] - width, hw[0] - height]).astype(int)
    return Window(int(x), int(y), width, height)
