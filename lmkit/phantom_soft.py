"""Soft shadows of the phantom: face, neck, spine, air, upper jaw, bone texture.

They are smooth functions on a grid four times coarser than the picture. Attenuation 0 is black
film, 1 is white.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from lmkit.phantom_layout import Anatomy
from lmkit.phantom_shape import HW, SIDES, jaw_x, to_side

COARSE = 4  # px per cell of the soft shadows


@dataclass(frozen=True)
class Frame:
    """Anchors of one side, px, mirrored frame."""

    x2: float  # where the bones take the second molar to be
    neck: float  # height of its cervical line
    x3: float  # top of the last molar: what lies behind must not tell which one it is
    y3: float
    x0: float  # midline
    y0: float  # occlusal curve at the midline
    j: np.ndarray  # (14,) random shape
    burnt: bool  # air of the throat wipes out what lies behind the second molar


def frame(anatomy: Anatomy, side: str) -> Frame:
    p = to_side(anatomy.points[side], side)
    x0 = anatomy.midline_x if side == "left" else HW[1] - 1 - anatomy.midline_x
    x2, neck = jaw_x(p, side), p[2:4, 1].mean()
    shape = anatomy.jaw[SIDES.index(side)].copy()
    x2 += 34 * shape[12]  # bones must not give away which molar is the second
    shape[0] = anatomy.jaw[0, 0]  # the chin has one height
    burnt = "burnt_out" in anatomy.cases[side]
    number = {"left": 39, "right": 49}[side]
    behind = [to_side(t.key[:2], side)[:, 0].mean() for t in anatomy.teeth if t.number == number]
    return Frame(x2, neck, max([p[4, 0], *behind]), p[4, 1], x0, anatomy.midline_y, shape, burnt)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Coarse pixel coordinates (h, 1), (1, w) in image px."""
    h, w = HW[0] // COARSE, HW[1] // COARSE
    offset = (COARSE - 1) / 2
    return np.arange(h)[:, None] * COARSE + offset, np.arange(w)[None] * COARSE + offset


def _bump(x: np.ndarray, centre: np.ndarray | float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - centre) / width) ** 2)


def soft_tissue(anatomy: Anatomy, frames: dict[str, Frame]) -> np.ndarray:
    """Coarse (h, w) shadows: face, neck, spine, tongue, air of mouth and throat."""
    y, x = _grid()
    x0, y0, j = anatomy.midline_x, anatomy.midline_y, anatomy.jaw[0]
    side_x = np.abs(x - x0)
    face = 0.24 - 0.04 * (side_x / 550) ** 2 - 0.09 / (1 + np.exp(-(y - y0 - 220) / 16))
    spine = _bump(x, x0, 75) * (0.7 + 0.3 * np.tanh((y - y0) / 90))
    face = face + anatomy.film.spine * 0.17 * spine
    edge = side_x - 498 - 12 * j[11] - 10 * np.sin(y / 120 + j[9])
    discs = 1 + 0.10 * np.sin(y / (15 + j[8]) + j[10] + 0.012 * side_x)
    face = face + 0.15 / (1 + np.exp(-edge / 13)) * discs
    dorsum = y0 - 150 + 8 * j[1] + 36 * (side_x / 260) ** 2
    palate_air = _bump(y, dorsum, 13 + 3 * j[0]) / (1 + np.exp((side_x - 265) / 22))
    lips = _bump(y, y0 - 8, 20) * _bump(x, x0, 60)
    for side, f in frames.items():
        face = face + _throat(f, x if side == "left" else HW[1] - 1 - x, y)
    return face - (0.09 + 0.02 * j[3]) * palate_air - 0.06 * lips


def _throat(f: Frame, u: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coarse shadows of one side at mirrored x `u`: pharynx, ear, tongue, ghost of a jaw."""
    centre = f.x2 + 90 + 7 * f.j[6] + 0.36 * (y - f.neck + 70)
    on = 1 / (1 + np.exp(-(y - f.neck + 190) / 24)) / (1 + np.exp((y - f.neck - 150) / 26))
    air = 0.105 * _bump(u, centre, 25 + 3 * f.j[4]) * on
    if f.burnt:
        air = air + 0.26 * _bump(u, f.x3 + 22, 40) * on
    ear = 0.05 * _bump(u, HW[1] - 60, 34) * _bump(y, f.neck - 215, 60)
    ghost_y = f.neck - 165 + 8 * f.j[5] - 0.16 * (u - f.x2 - 100)
    ghost = 0.055 * _bump(y, ghost_y, 38) / (1 + np.exp(-(u - f.x2 - 20) / 26))
    tongue = 0.035 * _bump(u, f.x2 - 60, 120) * _bump(y, f.neck - 70, 70)
    return ghost + tongue - air - ear


def _blend(length: int, cell_px: int) -> np.ndarray:
    """(n, k) cubic B-spline weights of random cells for the coarse pixels along one axis."""
    at = (np.arange(length // COARSE) * COARSE + (COARSE - 1) / 2) / cell_px + 1
    d = np.abs(at[:, None] - np.arange(length // cell_px + 3))
    weights = np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.clip(2 - d, 0, None) ** 3 / 6)
    return 1.44 * weights  # about unit variance of the sum, per axis


def noise_field(rng: np.random.Generator, cell_px: int) -> np.ndarray:
    """Coarse (h, w) smooth random field of about unit variance, features of about `cell_px`."""
    y, x = _blend(HW[0], cell_px), _blend(HW[1], cell_px)
    cells = rng.standard_normal((y.shape[1], x.shape[1]))
    # einsum, not @: a threaded BLAS would take both cores and may round differently elsewhere
    return np.einsum("hl,wl->hw", np.einsum("hk,kl->hl", y, cells), x).astype(np.float32)


def trabeculae(rng: np.random.Generator) -> np.ndarray:
    """Full-size (H, W) texture of cancellous bone, standard deviation about 1."""
    half = rng.standard_normal((HW[0] // 2, HW[1] // 2), dtype=np.float32)
    fine = gaussian_filter(half, (1.0, 1.4), truncate=2.5)
    wide = uniform_filter(uniform_filter(fine, 7), 7)
    texture = (fine - wide) / (fine - wide).std()
    return upsampled(texture, 2)


def upsampled(a: np.ndarray, factor: int) -> np.ndarray:
    """Enlargement by a whole factor, smoothed over one cell (bilinear for even interiors)."""
    return uniform_filter(a.repeat(factor, axis=0).repeat(factor, axis=1), factor + 1)


def maxilla(frames: dict[str, Frame]) -> np.ndarray:
    """Coarse (h, w) density of the upper jaw: firm around the roots, fading upwards and back."""
    y, x = _grid()
    f, g = frames["left"], frames["right"]
    x0, y0 = f.x0, f.y0
    x2 = np.where(x > x0, f.x2, HW[1] - 1 - g.x2)
    neck = np.where(x > x0, f.neck, g.neck)
    s = (x - x0) / (x2 - x0)
    crest = y0 - 72 + (neck - 98 - (y0 - 72)) * s**2
    below = 1 / (1 + np.exp((y - crest) / 4))
    back = 1 / (1 + np.exp((s - 1.36) / 0.05))
    firm = 0.3 + 0.7 / (1 + np.exp(-(y - crest + 70) / 18))
    return (below * back * firm).astype(np.float32) / (1 + np.exp(-(y - crest + 230) / 30))
