"""From an anatomy to an 8-bit picture: add up attenuation, then expose and develop the film."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from lmkit.phantom_bones import background
from lmkit.phantom_layout import DRAW_STREAM, GHOST_STREAM, Anatomy
from lmkit.phantom_shape import HW, SIDES
from lmkit.phantom_teeth import (
    Tooth,
    clipped_box,
    coverage,
    crown_outline,
    dentine_outline,
    filling_outline,
    limb_outline,
    limbs,
    pulp_outline,
    tooth_frame,
)

DENTINE, CROWN, ENAMEL, PULP, METAL = 0.27, 0.06, 0.22, 0.10, 0.75


@dataclass(frozen=True)
class Layers:
    """Rasters of one tooth in its box, each (h, w) float32 in [0, 1]."""

    box: tuple[int, int, int, int]
    whole: np.ndarray
    crown: np.ndarray
    enamel: np.ndarray
    pulp: np.ndarray
    metal: np.ndarray  # fillings, crowns and root fillings, already weighted by their density


def raster(tooth: Tooth, hw: tuple[int, int], margin: int = 8) -> Layers | None:
    """Layers of a tooth, or None when it lies outside the image."""
    origin, axes = tooth_frame(tooth.key)
    crown_uv, roots = crown_outline(tooth), limbs(tooth)
    roots_uv = [limb_outline(limb) for limb in roots]
    box = clipped_box(np.vstack([crown_uv, *roots_uv]) @ axes + origin, margin, hw)
    if box[2] <= box[0] or box[3] <= box[1]:
        return None

    def fill(*outlines_uv: np.ndarray) -> np.ndarray:
        return coverage([uv @ axes + origin for uv in outlines_uv], box)

    crown, whole = fill(crown_uv), fill(crown_uv, *roots_uv)
    enamel = np.clip(crown - fill(dentine_outline(tooth)), 0, 1)
    canals = [limb_outline(limb, half=2.3, start=0.02, end=0.97) for limb in roots]
    pulp = fill(pulp_outline(tooth), *canals)
    metal = np.zeros_like(crown)
    if tooth.filling > 0:
        metal = tooth.filling_density * fill(filling_outline(tooth)) * crown
    if tooth.root_filled:
        metal, pulp = np.maximum(metal, 0.75 * pulp), 0 * pulp
    if tooth.capped:
        metal = np.maximum(metal, crown)
    return Layers(box, whole, crown, enamel, pulp, metal)


def thickness(layer: np.ndarray, size: int) -> np.ndarray:
    """A mask (h, w) turned into a rounded body: half as thick at the rim as inside."""
    return layer * uniform_filter(uniform_filter(layer, size), size)


def _add_tooth(a: np.ndarray, bone: np.ndarray, tooth: Tooth) -> None:
    """Add one tooth, its periodontal space (dark) and lamina dura (bright) to the attenuation."""
    layers = raster(tooth, HW)
    if layers is None:
        return
    x0, y0, x1, y1 = layers.box
    view, local = a[y0:y1, x0:x1], bone[y0:y1, x0:x1]
    whole = layers.whole
    body = thickness(whole, 11)
    near = np.clip(2.6 * uniform_filter(whole, 5 if tooth.erupted else 7), 0, 1) * (1 - whole)
    around = np.clip(2.0 * uniform_filter(whole, 11), 0, 1) * (1 - whole) * (1 - near)
    view -= 0.10 * local * near
    view += 0.05 * local * around
    view -= 0.09 * local * whole  # the root takes the place of marrow
    crown = thickness(layers.crown, 9)
    view += tooth.density * (DENTINE * (0.35 + 0.65 * body) * whole + CROWN * crown)
    view += ENAMEL * tooth.density * layers.enamel * (0.55 + 0.45 * crown)
    view -= PULP * thickness(layers.pulp, 3)
    view += METAL * layers.metal


def _expose(a: np.ndarray, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Film response with a shoulder, blur and grain; (H, W) uint8."""
    film = anatomy.film
    a = gaussian_filter(a, film.blur_px, truncate=3.0)
    a += film.noise * (0.55 + 0.6 * a) * rng.standard_normal(HW, dtype=np.float32)
    x = np.clip(1.2 * (film.gain * (a - 0.05) + film.offset), 0, None)
    # powers in double: those of float32 differ between processors by more than a rounding hides
    x = x.astype(np.float64) ** film.gamma
    knee = 0.78
    x = np.where(x > knee, knee + (1 - knee) * np.tanh((x - knee) / (1.1 * (1 - knee))), x)
    return np.round(255 * np.clip(x, 0, 1)).astype(np.uint8)


_LETTER_L = ("1000", "1000", "1000", "1000", "1000", "1000", "1111")


def _marker(a: np.ndarray, anatomy: Anatomy) -> None:
    """A lead letter L on the patient's left, as a 7 x 4 bitmap."""
    bits = np.array([[int(c) for c in row] for row in _LETTER_L], dtype=np.float32)
    bits = bits.repeat(5, axis=0).repeat(5, axis=1)
    y, x = 60 + int(30 * anatomy.jaw[0, 0] / 2), 1035 + int(10 * anatomy.jaw[0, 1])
    a[y : y + bits.shape[0], x : x + bits.shape[1]] += 0.7 * bits


def _ghosts(a: np.ndarray, anatomy: Anatomy) -> None:
    """What lies far outside the sharp layer, on the other side: a wide bright shadow."""
    y, x = np.arange(HW[0], dtype=np.float32)[:, None], np.arange(HW[1], dtype=np.float32)
    for k, side in enumerate(SIDES):
        if "ghost" not in anatomy.cases[side]:
            continue
        rng = np.random.default_rng([anatomy.seed, anatomy.index, GHOST_STREAM, k])
        strength, width, height = rng.uniform((0.2, 45, 35), (0.5, 95, 75))
        middle = anatomy.points[side].mean(axis=0) + rng.normal(0, 35, 2)
        across = ((x - middle[0]) / width) ** 2 + ((y - middle[1]) / height) ** 2
        a += (strength * np.exp(-0.5 * across)).astype(np.float32)


def render(anatomy: Anatomy) -> np.ndarray:
    """See `lmkit.phantom.draw`."""
    rng = np.random.default_rng([anatomy.seed, anatomy.index, DRAW_STREAM])
    a, bone = background(anatomy, rng)
    for tooth in anatomy.teeth:
        _add_tooth(a, bone, tooth)
    if anatomy.film.marker:
        _marker(a, anatomy)
    _ghosts(a, anatomy)
    return _expose(a, anatomy, rng)
