"""Everything behind the teeth as attenuation: jaws, canal, sinuses, and the soft shadows.

Contours (mandible, canal, sinus walls) are exact-area polygons at full resolution; the soft
shadows come from `phantom_soft`. Attenuation 0 is black film, 1 white. All curves are built in the
mirrored frame of `phantom_shape` (x grows distally), side by side.
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import uniform_filter

from lmkit.phantom_layout import Anatomy
from lmkit.phantom_shape import HW, SIDES, to_side
from lmkit.phantom_soft import (
    COARSE,
    Frame,
    frame,
    maxilla,
    noise_field,
    soft_tissue,
    trabeculae,
    upsampled,
)
from lmkit.phantom_teeth import clipped_box, coverage

FULL = (0, 0, HW[1], HW[0])


def spline(points: list[tuple[float, float]], samples: int = 10) -> np.ndarray:
    """Open Catmull-Rom curve (n, 2) through (k, 2) points."""
    p = np.asarray(points, dtype=float)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, samples, endpoint=False)[:, None, None]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    q = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.vstack([q.transpose(1, 0, 2).reshape(-1, 2), p[-2]])


def _lower_border(f: Frame) -> np.ndarray:
    """From the chin along the lower border, ramus and processes to the retromolar crest."""
    j, x2, y = f.j, f.x2, f.neck
    chin = f.y0 + 192 + 5 * j[0]
    body = (chin - y) / 150  # keeps the border smooth where the chin is low or the molar high
    back = min(x2 + 228 + 7 * j[2], HW[1] - 16)
    retro_x = max(f.x3 + 40 + 9 * j[13], x2 + 60)
    third = (x2 - f.x0) / 3
    return spline(
        [
            (f.x0, chin), (f.x0 + 0.9 * third, chin - 1),
            (f.x0 + 1.9 * third, y + 139 * body + 3 * j[1]), (x2, y + 124 * body + 4 * j[1]),
            (x2 + 76, y + 106 * body + 5 * j[1]),
            (x2 + 140, y + 78 + 7 * j[1]), (back - 42, y + 38 + 7 * j[3]),
            (back - 12, y - 25 + 8 * j[3]), (back - 5, y - 110), (back - 13, y - 185),
            (back + 6, y - 222), (back - 4, y - 250 + 8 * j[4]), (back - 32, y - 250 + 8 * j[4]),
            (back - 43, y - 215),
            (back - 68, y - 190 + 6 * j[5]), (back - 92, y - 208), (back - 112, y - 238 + 9 * j[5]),
            (back - 127, y - 226 + 9 * j[5]), (back - 134, y - 180),
            (back - 136 + 4 * j[6], y - 120), (retro_x + 12, y - 62), (retro_x, y - 18),
        ]
    )  # fmt: skip


def _crest(f: Frame, lift: float) -> list[tuple[float, float]]:
    """Alveolar crest of the lower jaw from the third molar to the midline, `lift` px up."""
    x = np.linspace(f.x2 + 40, f.x0 + 4, 9)
    s = np.clip((x - f.x0) / (f.x2 - f.x0), 0, 1.3)
    y = f.y0 + 58 + (f.neck + 7 - f.y0 - 58) * s**2
    return list(zip(x, y - lift, strict=True))


def _polygon_pair(frames: dict[str, Frame], build: Callable[[Frame], np.ndarray]) -> np.ndarray:
    """Closed outline from one curve per side, joined at the midline; image px."""
    return np.vstack([to_side(build(frames["left"]), "left"),
                      to_side(build(frames["right"]), "right")[::-1]])  # fmt: skip


def _mandible_curve(f: Frame) -> np.ndarray:
    return np.vstack([_lower_border(f), spline(_crest(f, 0.0), 4)])


def _stroke(curve: np.ndarray, half: np.ndarray | float) -> np.ndarray:
    """Band polygon (2 n, 2) along an open curve."""
    t = np.gradient(curve, axis=0)
    normal = np.stack([-t[:, 1], t[:, 0]], -1) / np.hypot(*t.T)[:, None]
    off = normal * np.reshape(half, (-1, 1))
    return np.vstack([curve + off, (curve - off)[::-1]])


def _add(canvas: np.ndarray, polygon: np.ndarray, value: float, soften: int = 0) -> None:
    """Add `value` inside a polygon (image px), its edge softened by a box of that size."""
    box = clipped_box(polygon, 2 * soften + 2, HW)
    if box[2] <= box[0] or box[3] <= box[1]:
        return
    layer = coverage(polygon, box)
    if soften:
        layer = uniform_filter(uniform_filter(layer, soften), soften)
    canvas[box[1] : box[3], box[0] : box[2]] += value * layer


def _shifted(mask: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """The mask moved by whole px; what comes in from outside repeats the border."""
    h, w = mask.shape
    return mask[np.clip(np.arange(h) - dy, 0, h - 1)][:, np.clip(np.arange(w) - dx, 0, w - 1)]


def _cortex(mask: np.ndarray, middle: int) -> np.ndarray:
    """Bright rim of the mandible: thick below and behind, thin along the crest."""
    inner = np.empty_like(mask)
    inner[:, :middle] = _shifted(mask, 5, -13)[:, :middle]
    inner[:, middle:] = _shifted(mask, -5, -13)[:, middle:]
    thin = 1 - _shifted(mask, 0, 3)
    return uniform_filter(mask * (1 - inner + 0.3 * thin), 5)


def _canal(canvas: np.ndarray, f: Frame, side: str) -> None:
    """Mandibular canal from the lingula to the mental foramen, dark between two fine lines."""
    x2, y, j = f.x2, f.neck, f.j
    curve = spline(
        [
            (x2 + 158, y - 92), (x2 + 150, y - 24), (x2 + 112, y + 42 + 5 * j[7]),
            (x2 + 40, y + 86 + 6 * j[7]), (x2 - 40, y + 102 + 6 * j[7]),
            (x2 - 112, y + 98 + 5 * j[8]),
        ],
        8,
    )  # fmt: skip
    curve = to_side(curve, side)
    taper = np.sin(np.linspace(0.05, 1, len(curve)) * 2.2) ** 0.5
    _add(canvas, _stroke(curve, 8.5 * taper), 0.030, 2)
    _add(canvas, _stroke(curve, 6.0 * taper), -0.075, 3)
    foramen = curve[-1] + 7 * np.stack([np.cos(_CIRCLE), 0.8 * np.sin(_CIRCLE)], -1)
    _add(canvas, foramen, -0.05, 5)


_CIRCLE = np.linspace(0, 2 * np.pi, 40, endpoint=False)


def _upper_jaw(canvas: np.ndarray, f: Frame, side: str) -> None:
    """Sinus with its floor, zygomatic process and arch, hard palate."""
    x2, j, up = f.x2, f.j, f.y0
    top = f.neck - 150  # about the apices of the upper molars
    sinus = spline(
        [
            (f.x0 + 112, top - 26), (f.x0 + 134, top + 10 + 6 * j[9]),
            (x2 - 84, top + 29 + 7 * j[9]),
            (x2 - 20, top + 30 + 8 * j[10]), (x2 + 34, top + 12 + 7 * j[10]), (x2 + 70, top - 34),
            (x2 + 60, top - 96), (x2 - 10, top - 126), (x2 - 110, top - 118),
            (f.x0 + 112, top - 26),
        ],
        8,
    )  # fmt: skip
    sinus = to_side(sinus, side)
    _add(canvas, sinus, -0.075, 13)
    _add(canvas, _stroke(sinus[: int(0.62 * len(sinus))], 1.5), 0.10, 3)
    zygoma = spline([(x2 - 50, top - 84), (x2 - 36, top - 26), (x2 - 8, top - 2),
                     (x2 + 22, top - 36),
                     (x2 + 60, top - 60), (x2 + 130, top - 58), (x2 + 200, top - 74)])  # fmt: skip
    _add(canvas, _stroke(to_side(zygoma, side), 3.0), 0.09, 6)
    _add(canvas, _stroke(to_side(zygoma[20:] + np.array((0, -12)), side), 11), 0.07, 11)
    palate = spline(
        [(f.x0 - 4, up - 186), (f.x0 + 90, up - 188), (x2 - 90, top + 2), (x2 + 40, top - 12)]
    )
    _add(canvas, _stroke(to_side(palate, side), 2.5), 0.11, 5)
    _add(canvas, _stroke(to_side(palate + np.array((0, -13)), side), 2.0), 0.06, 5)


def _nose(canvas: np.ndarray, f: Frame, side: str) -> None:
    """Half of the nasal cavity with a turbinate, and the hyoid's horn below."""
    x2, up = f.x2, f.y0
    nasal = spline([(f.x0 + 8, up - 198), (f.x0 + 50, up - 202), (f.x0 + 84, up - 240),
                    (f.x0 + 66, up - 330), (f.x0 + 14, up - 390),
                    (f.x0 + 8, up - 198)])  # fmt: skip
    _add(canvas, to_side(nasal, side), -0.12, 13)
    turbinate = spline([(f.x0 + 30, up - 212), (f.x0 + 56, up - 240), (f.x0 + 44, up - 300)])
    _add(canvas, _stroke(to_side(turbinate, side), 13), 0.09, 11)
    hyoid = spline(
        [(x2 - 60, up + 226), (x2 + 10, up + 216 + 6 * f.j[9]), (x2 + 90, up + 190 + 6 * f.j[9])]
    )
    _add(canvas, _stroke(to_side(hyoid, side), 7), 0.04, 15)


def _ridge(canvas: np.ndarray, f: Frame, side: str) -> None:
    """Oblique line: the anterior border of the ramus running on across the molars' roots."""
    x2, y = f.x2, f.neck
    bend = max(f.x3 + 46 + 9 * f.j[13], x2 + 66)
    line = spline([(x2 + 98, y - 130), (bend, y - 40), (x2 + 62, y + 22), (x2 + 2, y + 52)])
    half = 3.5 * np.linspace(1.3, 0.4, len(line))
    _add(canvas, _stroke(to_side(line, side), half), 0.07, 7)


def background(anatomy: Anatomy, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation (H, W) of all but the teeth, and the bone (H, W), in [0, 1], around roots."""
    frames = {side: frame(anatomy, side) for side in SIDES}
    shadows = soft_tissue(anatomy, frames)
    shadows += 0.012 * noise_field(rng, 90) + 0.008 * noise_field(rng, 28)
    a = upsampled(shadows.astype(np.float32), COARSE)
    mandible = coverage(_polygon_pair(frames, _mandible_curve), FULL)
    soft = uniform_filter(uniform_filter(mandible, 7), 7)
    bone = np.maximum(soft, upsampled(maxilla(frames), COARSE))
    bone *= upsampled(1 + 0.10 * noise_field(rng, 60) + 0.06 * noise_field(rng, 20), COARSE)
    a += bone * (0.16 + 0.018 * trabeculae(rng))
    a += 0.12 * _cortex(mandible, int(anatomy.midline_x))
    for side, f in frames.items():
        _canal(a, f, side)
        _ridge(a, f, side)
        _upper_jaw(a, f, side)
        _nose(a, f, side)
    return a, np.clip(bone, 0, 1)
