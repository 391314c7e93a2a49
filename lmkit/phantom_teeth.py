"""Tooth outlines built from four key points, and their exact-area rasters.

A tooth is described by its two cusp tips and the two ends of its cervical line, in image pixels;
everything else (crown, dentine, pulp, roots, restorations) follows from them in the tooth's own
frame: u runs from the mesial to the distal cusp, v from the occlusal line towards the roots. The
crown outline touches v = 0 at the two tips and nowhere else, and its enamel ends at the two
cervical points, so labels are exact by construction.
"""

from dataclasses import dataclass

import numpy as np

CURVE_SAMPLES = 16  # per Bezier segment
EDGE_STEP_PX = 0.75
OCCLUSAL_SHARE = 0.3  # of the crown height: cusps with their shoulders
UV = tuple[float, float] | np.ndarray  # a point in a tooth's own frame, px
Limb = tuple[np.ndarray, np.ndarray, np.ndarray, float]


@dataclass(frozen=True)
class Tooth:
    """One tooth, in image pixels."""

    number: int  # FDI two-digit number; 39 and 49 stand for a fourth molar
    key: np.ndarray  # (4, 2) xy: mesial cusp, distal cusp, mesial and distal cervical end
    root_px: float  # from the cervical line to the apices
    roots: int  # 1, 2 or 3 (upper molars)
    spread: float  # half distance of the apices, in cervical widths
    bend_px: float  # apices to the distal
    bulge: float  # how far the crown overhangs the cervical line, in cervical widths
    fossa_px: float  # depth between the cusps
    enamel_px: float  # thickness over the cusps
    filling: float = 0.0  # share of the crown, 0 = none
    filling_density: float = 0.0
    capped: bool = False  # a metal crown
    root_filled: bool = False
    density: float = 1.0
    erupted: bool = True


def tooth_frame(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Origin (2,) at the mesial cusp and axes (2, 2), rows u and v, unit vectors in px."""
    u = key[1] - key[0]
    u = u / np.hypot(*u)
    v = np.array([-u[1], u[0]])
    if v @ (key[2] + key[3] - key[0] - key[1]) < 0:
        v = -v
    return key[0], np.stack([u, v])


_T = np.linspace(0, 1, CURVE_SAMPLES, endpoint=False)[:, None]
_BERNSTEIN = np.hstack([(1 - _T) ** 3, 3 * _T * (1 - _T) ** 2, 3 * _T**2 * (1 - _T), _T**3])


def _bezier(segments: list[tuple[UV, UV, UV, UV]]) -> np.ndarray:
    """Closed outline (n, 2) of cubic Bezier segments, each four uv points."""
    return (_BERNSTEIN @ np.asarray(segments, dtype=float)).reshape(-1, 2)


def _cap_outline(
    a: UV, b: UV, m: UV, d: UV, left: UV, right: UV, fossa: float, sag: float
) -> np.ndarray:
    """Crown-like outline through mesial end m, cusps a and b, distal end d; uv, px.

    `left` and `right` are the widest points; tangents are along v there and along u at the cusps.
    """
    (ul, vl), (ur, vr) = left, right
    mid, low = (a[0] + b[0]) / 2, max(a[1], b[1]) + fossa
    w, rise = b[0] - a[0], 0.62
    neck_m = (m[0] + 0.1 * (ul - m[0]), 0.75 * m[1] + 0.25 * vl)
    neck_d = (d[0] + 0.1 * (ur - d[0]), 0.75 * d[1] + 0.25 * vr)
    return _bezier(
        [
            (m, neck_m, (ul, 0.45 * m[1] + 0.55 * vl), left),
            (left, (ul, vl - rise * (vl - a[1])), (a[0] - 0.35 * (a[0] - ul), a[1]), a),
            (a, (a[0] + 0.14 * w, a[1]), (mid - 0.25 * w, low), (mid, low)),
            ((mid, low), (mid + 0.25 * w, low), (b[0] - 0.14 * w, b[1]), b),
            (b, (b[0] + 0.35 * (ur - b[0]), b[1]), (ur, vr - rise * (vr - b[1])), right),
            (right, (ur, 0.45 * d[1] + 0.55 * vr), neck_d, d),
            (d, (0.7 * d[0] + 0.3 * m[0], 0.7 * d[1] + 0.3 * m[1] + sag),
             (0.3 * d[0] + 0.7 * m[0], 0.3 * d[1] + 0.7 * m[1] + sag), m),
        ]
    )  # fmt: skip


def local_key(tooth: Tooth) -> np.ndarray:
    """(4, 2) key points in the tooth's own frame, px: cusps at v = 0, the first at the origin."""
    origin, axes = tooth_frame(tooth.key)
    return (tooth.key - origin) @ axes.T


def crown_outline(tooth: Tooth) -> np.ndarray:
    """(n, 2) uv of the crown, px; passes exactly through the four key points."""
    a, b, m, d = local_key(tooth)
    width = abs(d[0] - m[0])
    left = (min(m[0], a[0]) - tooth.bulge * width, 0.46 * m[1])
    right = (max(d[0], b[0]) + tooth.bulge * width, 0.46 * d[1])
    return _cap_outline(a, b, m, d, left, right, tooth.fossa_px, _sag(tooth, width))


def _sag(tooth: Tooth, width: float) -> float:
    return (0.10 if tooth.roots > 1 else 0.22) * width


def occlusal_part(tooth: Tooth, outline: np.ndarray) -> np.ndarray:
    """Which of the (n, 2) uv outline points belong to the occlusal surface; (n,) bool."""
    height = local_key(tooth)[2:, 1].mean()
    return outline[:, 1] < OCCLUSAL_SHARE * height


def dentine_outline(tooth: Tooth) -> np.ndarray:
    """(n, 2) uv of the dentine inside the crown; leaves no enamel at the cervical ends."""
    a, b, m, d = local_key(tooth)
    width, t = abs(d[0] - m[0]), tooth.enamel_px
    w = b[0] - a[0]
    left = (min(m[0], a[0]) + (0.72 * t - tooth.bulge * width), 0.55 * m[1])
    right = (max(d[0], b[0]) - (0.72 * t - tooth.bulge * width), 0.55 * d[1])
    horn_a, horn_b = (a[0] + 0.02 * w, t), (b[0] - 0.02 * w, t)
    fossa = min(tooth.fossa_px + 0.08 * width, 0.4 * m[1])
    return _cap_outline(horn_a, horn_b, m, d, left, right, fossa, _sag(tooth, width))


def limbs(tooth: Tooth) -> list[Limb]:
    """Each root as three centre-line points (base, control, apex; uv) and half its base width."""
    _, _, m, d = local_key(tooth)
    width, base = abs(d[0] - m[0]), (m + d) / 2
    spread = {1: (0.0,), 2: (-1.0, 1.0), 3: (-1.0, 1.0, 0.1)}[tooth.roots]
    found = []
    for side in spread:
        half = width * (0.5 if tooth.roots == 1 else 0.29 if abs(side) == 1 else 0.34)
        top = base + np.array([side * (width / 2 - half) * (abs(side) == 1), side * (d - m)[1] / 4])
        length = tooth.root_px * (1.0 if side != 1.0 else 0.96)
        apex = base + np.array([side * tooth.spread * width + tooth.bend_px, length])
        control = (top + apex) / 2 + np.array([side * 0.10 * width - 0.45 * tooth.bend_px, 0.0])
        found.append((top, control, apex, half))
    return found


def limb_outline(
    limb: Limb, half: float | None = None, start: float = -0.04, end: float = 1.0
) -> np.ndarray:
    """(n, 2) uv outline of a root, or of a canal in it when `half` (px) is given."""
    top, control, apex, base_half = limb
    s = np.linspace(start, end, 22)[:, None]
    centre = (1 - s) ** 2 * top + 2 * s * (1 - s) * control + s**2 * apex
    tip = np.sqrt(np.clip(1 - (np.clip(s, 0, end) / end) ** 5, 0, 1))
    if half is None:
        h = base_half * (1 - 0.62 * np.clip(s, 0, 1) ** 0.9) * tip
    else:
        h = half * (1 - 0.65 * np.clip(s, 0, 1)) * tip
    off = np.hstack([h, np.zeros_like(h)])
    return np.vstack([centre - off, (centre + off)[::-1]])


def pulp_outline(tooth: Tooth) -> np.ndarray:
    """(n, 2) uv of the pulp chamber."""
    _, _, m, d = local_key(tooth)
    width, v0 = abs(d[0] - m[0]), (m[1] + d[1]) / 2
    half = 0.2 * width if tooth.roots > 1 else 0.10 * width
    c = (m[0] + d[0]) / 2
    top, low = 0.62 * v0, v0 + 0.12 * width
    m2, d2 = (c - 0.7 * half, low), (c + 0.7 * half, low)
    horns = (c - 0.75 * half, top), (c + 0.75 * half, top)
    mid = (top + low) / 2
    return _cap_outline(*horns, m2, d2, (c - half, mid), (c + half, mid), 0.06 * width, 0.0)


def filling_outline(tooth: Tooth) -> np.ndarray:
    """(n, 2) uv of an occlusal filling; it may stand out of the crown, where it is cut off."""
    a, b, m, d = local_key(tooth)
    size, v0 = tooth.filling, (m[1] + d[1]) / 2
    c = (a[0] + b[0]) / 2 + 0.5 * (b[0] - a[0]) * np.sin(40 * size)  # any place, fixed by the size
    half = (0.12 + 0.35 * size) * abs(d[0] - m[0])
    deep = v0 * (0.3 + 0.3 * size)
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    x, y = np.cos(angle), np.sin(angle)
    return np.stack([c + half * np.sign(x) * abs(x) ** 0.6, deep * np.sign(y) * abs(y) ** 0.7], -1)


def _pieces(rings: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Starts and steps (n, 2) of the short pieces of all edges, every ring the same way round."""
    starts, steps = [], []
    for ring in rings:
        step = np.concatenate([ring[1:], ring[:1]]) - ring
        one_way = 1 if np.dot(ring[:, 0], step[:, 1]) <= np.dot(ring[:, 1], step[:, 0]) else -1
        starts.append(ring if one_way > 0 else ring + step)
        steps.append(one_way * step)
    start, step = np.concatenate(starts), np.concatenate(steps)
    count = np.ceil(np.sqrt((step**2).sum(axis=1)) / EDGE_STEP_PX).astype(int).clip(1)
    edge = np.repeat(np.arange(len(start)), count)
    k = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    step = step[edge] / count[edge, None]
    return start[edge] + step * k[:, None], step


def coverage(rings: np.ndarray | list[np.ndarray], box: tuple[int, int, int, int]) -> np.ndarray:
    """Share of each pixel's area inside a polygon, or inside the union of several.

    Args:
        rings: (n, 2) xy, px, pixel centres at integers, closed, any direction; or several.
        box: x0, y0, x1, y1, whole px, upper ends excluded.
    Returns: (y1 - y0, x1 - x0) float32 in [0, 1].
    Source: signed-area accumulation, as in font rasterisers (R. Levien, font-rs).
    """
    x0, y0, x1, y1 = box
    height, width = y1 - y0, x1 - x0
    start, step = _pieces(rings if isinstance(rings, list) else [rings])
    start_y = start[:, 1] - (y0 - 0.5)
    end_y = start_y + step[:, 1]
    row, end_row = np.floor(start_y).astype(int), np.floor(end_y).astype(int)
    cut = np.where(row == end_row, end_y, np.maximum(row, end_row))  # where it leaves its row
    rows = np.concatenate([row, end_row])
    rise = np.concatenate([cut - start_y, end_y - cut])
    x = np.clip(start[:, 0] + step[:, 0] / 2 - (x0 - 0.5), 0, width - 1e-6)
    x = np.concatenate([x, x])
    inside = (rows >= 0) & (rows < height)
    rows, rise, x = rows[inside], rise[inside], x[inside]
    column = x.astype(int)
    cell, right = rows * (width + 1) + column, rise * (x - column)
    area = np.bincount(
        np.concatenate([cell, cell + 1]),
        np.concatenate([rise - right, right]),
        minlength=height * (width + 1),
    )
    grid = np.cumsum(area.reshape(height, width + 1), axis=1)[:, :width]
    return np.clip(grid, 0, 1).astype(np.float32)


def clipped_box(points: np.ndarray, margin: int, hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Box x0, y0, x1, y1 around (n, 2) xy plus a margin, cut to the image; may be empty."""
    low = np.floor(points.min(axis=0)).astype(int) - margin
    high = np.ceil(points.max(axis=0)).astype(int) + margin + 1
    x0, y0 = np.clip(low, 0, (hw[1], hw[0]))
    x1, y1 = np.clip(high, 0, (hw[1], hw[0]))
    return int(x0), int(y0), int(x1), int(y1)
